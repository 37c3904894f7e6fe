"""Omni Duplex's core: tokens, audio, codec, models and engine. No network, no web framework.

`omni_core.load(source)` gives the Python face of `omni_core.api`; importing the package itself loads nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omni_core.api import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from omni_core.api import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

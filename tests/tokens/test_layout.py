"""Ids and offsets, and that no other module holds them as numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from omni_core.config import LayoutConfig
from omni_core.errors import ConfigError
from omni_core.tokens import RELEASED, STREAMS, TokenLayout


def test_released_ids() -> None:
    layout = TokenLayout.from_config(RELEASED)
    assert (layout.eot, layout.pad_t, layout.input_t, layout.answer_t, layout.asr, layout.n_irq, layout.irq) == tuple(range(151936, 151943))
    assert (layout.eoa, layout.pad_a, layout.input_a, layout.answer_a, layout.split, layout.image, layout.eoimage) == tuple(range(4096, 4103))
    assert layout.rows == 181_120
    assert layout.audio_id(6, layout.eoa) == 181_056


def test_global_and_local_ids() -> None:
    layout = TokenLayout.from_config(LayoutConfig(100, 110, 64, 80))
    columns = np.arange(STREAMS * 3).reshape(STREAMS, 3)
    tokens = layout.to_global(columns)
    assert tokens[2, 1] == layout.audio_id(2, int(columns[2, 1]))
    np.testing.assert_array_equal(tokens[7], columns[7])
    np.testing.assert_array_equal(layout.to_local(tokens), columns)


@pytest.mark.parametrize("config", [LayoutConfig(100, 106, 64, 80), LayoutConfig(100, 110, 64, 70)])
def test_special_ids_must_fit(config: LayoutConfig) -> None:
    with pytest.raises(ConfigError, match="special ids"):
        TokenLayout.from_config(config)


def test_one_home_for_magic_numbers(repository: Path) -> None:
    number = re.compile(r"\b(4_?097|151_?936|152_?000)\b")
    found = [
        f"{path.relative_to(repository)}:{line}"
        for package in ("omni_core", "server", "clients", "deploy")
        for path in (repository / package).rglob("*.py")
        if path != repository / "omni_core/tokens/layout.py"
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if number.search(text)
    ]
    assert not found, "take these from tokens.layout"

"""All that crosses between the engine's client and its worker, as plain values, so that a separate process can stand in the thread's place.

Commands are taken in order, between steps. An id names one response, one listener, one turn or one alignment, each once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omni_core.engine.request import EngineEvent, EngineInfo, GenerateRequest, ListenerEvent
from omni_core.errors import OmniError


@dataclass(frozen=True, eq=False)
class Submit:
    """Generate this."""

    request: GenerateRequest


@dataclass(frozen=True)
class Cancel:
    """End this response."""

    id: str


@dataclass(frozen=True)
class OpenListener:
    """Listen to a microphone."""

    id: str


@dataclass(frozen=True, eq=False)
class ListenerFrame:
    """The next frame of a microphone."""

    id: str
    frame: int  #: its number, counted from the listener's start; numbers left out were dropped
    pcm: NDArray[np.float32]  #: [2048], 24 kHz mono


@dataclass(frozen=True)
class CloseListener:
    """Nobody listens to it any more."""

    id: str


@dataclass(frozen=True)
class OpenTurn:
    """A turn begins."""

    id: str


@dataclass(frozen=True, eq=False)
class TurnAudio:
    """More of a turn."""

    id: str
    pcm: NDArray[np.float32]  #: [n], 24 kHz mono


@dataclass(frozen=True)
class CloseTurn:
    """No request will name this turn any more."""

    id: str


@dataclass(frozen=True, eq=False)
class Align:
    """How much of this text is in this audio?"""

    id: str
    text: str
    pcm: NDArray[np.float32]  #: [n], 24 kHz mono, from the text's beginning


@dataclass(frozen=True)
class Close:
    """Stop; nothing is published after it but `Died`."""


Command = Submit | Cancel | OpenListener | ListenerFrame | CloseListener | OpenTurn | TurnAudio | CloseTurn | Align | Close


@dataclass(frozen=True)
class Ready:
    """The model is loaded and warm."""

    info: EngineInfo


@dataclass(frozen=True)
class Events:
    """What one step gave, by request id, in order."""

    events: list[tuple[str, EngineEvent]]


@dataclass(frozen=True)
class ListenerEvents:
    """The same of listeners, by their ids."""

    events: list[tuple[str, ListenerEvent]]


@dataclass(frozen=True)
class Aligned:
    """Characters of the text, by alignment, or what went wrong."""

    results: list[tuple[str, int | OmniError]]


@dataclass(frozen=True)
class Died:
    """The last message: it could not load, an error ended it, or it was closed (None)."""

    error: BaseException | None


Message = Ready | Events | ListenerEvents | Aligned | Died

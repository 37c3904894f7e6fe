"""All that crosses between the engine's clients and the engine, as plain values: a separate process can stand in a thread's place (`wire`).

Commands are taken in order, between steps. An id names one response, one listener, one turn or one alignment of its client, each once.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from omni_core.engine.request import EngineEvent, EngineInfo, GenerateRequest, ListenerEvent


class Submit(msgspec.Struct, frozen=True, tag=True, eq=False):
    """Generate this."""

    request: GenerateRequest


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """End this response."""

    id: str


class OpenListener(msgspec.Struct, frozen=True, tag=True):
    """Listen to a microphone."""

    id: str


class ListenerFrame(msgspec.Struct, frozen=True, tag=True, eq=False):
    """The next frame of a microphone."""

    id: str
    frame: int  #: its number, counted from the listener's start; numbers left out were dropped
    pcm: NDArray[np.float32]  #: [2048], 24 kHz mono


class CloseListener(msgspec.Struct, frozen=True, tag=True):
    """Nobody listens to it any more."""

    id: str


class OpenTurn(msgspec.Struct, frozen=True, tag=True):
    """A turn begins."""

    id: str


class TurnAudio(msgspec.Struct, frozen=True, tag=True, eq=False):
    """More of a turn."""

    id: str
    pcm: NDArray[np.float32]  #: [n], 24 kHz mono


class CloseTurn(msgspec.Struct, frozen=True, tag=True):
    """No request will name this turn any more."""

    id: str


class Align(msgspec.Struct, frozen=True, tag=True, eq=False):
    """How much of this text is in this audio?"""

    id: str
    text: str
    pcm: NDArray[np.float32]  #: [n], 24 kHz mono, from the text's beginning


class Close(msgspec.Struct, frozen=True, tag=True):
    """The client leaves, and all that it had open ends. A thread's engine, which has no other, stops."""


Command = Submit | Cancel | OpenListener | ListenerFrame | CloseListener | OpenTurn | TurnAudio | CloseTurn | Align | Close
Closing = Cancel | CloseListener | CloseTurn  #: of what a client holds


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded and warm."""

    info: EngineInfo


class Aligned(msgspec.Struct, frozen=True, tag=True):
    """An alignment has ended."""

    characters: int  #: of the text that were said


class AlignmentFailed(msgspec.Struct, frozen=True, tag=True):
    """An alignment could not be made."""

    error: Exception  #: an OmniError


AlignmentEvent = Aligned | AlignmentFailed


class Events(msgspec.Struct, tag=True):
    """What one step gave, each by its id and in order."""

    responses: list[tuple[str, EngineEvent]] = []
    listeners: list[tuple[str, ListenerEvent]] = []
    alignments: list[tuple[str, AlignmentEvent]] = []
    refused_turns: list[str] = []  #: turns that are not heard: their audio has to come with the request


class Died(msgspec.Struct, frozen=True, tag=True):
    """The last message: it could not load, an error ended it, or it was closed (None)."""

    error: Exception | None


Message = Ready | Events | Died


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The first that a process hears of a client; it answers with Ready."""


class Beat(msgspec.Struct, frozen=True, tag=True):
    """Nothing but a sign of life, both ways: whoever can't be reached any more is found out by it."""


class Forgotten(msgspec.Struct, frozen=True, tag=True):
    """The process does not know this client (any more): it read too slowly, and all that it had open was ended. It has to begin anew."""


FromClient = Hello | Beat | Command
FromEngine = Message | Beat | Forgotten

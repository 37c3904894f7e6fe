"""What crosses between processes comes out as it went in."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from omni_core.config import ReadAloudConfig, SamplingParams
from omni_core.engine import messages, request
from omni_core.engine.messages import (
    Align,
    Aligned,
    AlignmentFailed,
    Beat,
    Cancel,
    Close,
    CloseListener,
    CloseTurn,
    Died,
    Events,
    Forgotten,
    FromClient,
    FromEngine,
    Hello,
    ListenerFrame,
    OpenListener,
    OpenTurn,
    Ready,
    Submit,
    TurnAudio,
)
from omni_core.engine.request import (
    AudioChunk,
    EngineInfo,
    Failed,
    Finished,
    FinishReason,
    GenerateRequest,
    ListenerEnded,
    Status,
    TextDelta,
    Timings,
    TurnEnded,
    Usage,
)
from omni_core.engine.wire import encode, from_client, from_engine, pack_error, unpack_error
from omni_core.errors import AudioError, EngineBusy, EngineError
from omni_core.tokens import Task

SOUND = np.array([0.0, -0.0, 1e-42, 1.0, -1.0, 0.1], np.float32)  # with a denormal number and a negative zero
REQUEST = GenerateRequest(
    "r",
    Task.VA1A2,
    audio=SOUND,
    sample_rate=16_000,
    turn=("turn", 7),
    image=b"\x89PNG\x00",
    text="é",
    history=(("", "a"), ("q", "b")),
    sampling=SamplingParams(0.5, 3, 0.9, 7),
    max_steps=5,
    paced=True,
    background=True,
)
INFO = EngineInfo("m", 24_000, 2048, (Task.A1A2, Task.T1T2), 30.0, True, False, 5, ReadAloudConfig("Say {text}", 9))
FINISHED = Finished(FinishReason.LENGTH, Usage(1, 2, 3), Timings(0.1, 0.2, None, 0.4, 5, 0.6, 0.7))

FROM_CLIENT = [
    Hello(),
    Beat(),
    Submit(REQUEST),
    Submit(GenerateRequest("plain", Task.T1T2)),
    Cancel("c"),
    OpenListener("l"),
    ListenerFrame("l", 3, SOUND),
    CloseListener("l"),
    OpenTurn("t"),
    TurnAudio("t", SOUND[::2]),
    CloseTurn("t"),
    Align("a", "words", SOUND),
    Close(),
]
FROM_ENGINE = [
    Ready(INFO),
    Events(
        [("r", TurnEnded(0.5)), ("r", TextDelta("é")), ("s", AudioChunk(SOUND)), ("r", FINISHED), ("s", Failed(EngineBusy("full")))],
        [("l", Status(2, True, 0.25)), ("l", ListenerEnded(EngineError("deaf")))],
        [("a", Aligned(5)), ("b", AlignmentFailed(AudioError("noise")))],
        ["t"],
    ),
    Died(EngineError("fell")),
    Died(None),
    Beat(),
    Forgotten(),
]


def _same(one: object, other: object) -> bool:
    """Bit by bit for sound, by class and text for errors, by their fields for all else."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()  # type: ignore[attr-defined]
    if isinstance(one, Exception):
        return str(one) == str(other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))  # type: ignore[arg-type]
    names = getattr(one, "__struct_fields__", None) or getattr(one, "__dataclass_fields__", None)
    return all(_same(getattr(one, name), getattr(other, name)) for name in names) if names else one == other


def test_every_message_and_every_event_crosses() -> None:
    for message in FROM_CLIENT:
        assert _same(from_client(encode(message)), message), message
    for message in FROM_ENGINE:
        assert _same(from_engine(encode(message)), message), message
    assert {type(message) for message in FROM_CLIENT} == set(get_args(FromClient))
    assert {type(message) for message in FROM_ENGINE} == set(get_args(FromEngine))
    step = FROM_ENGINE[1]
    assert isinstance(step, Events)
    crossed = {type(event) for _, event in [*step.responses, *step.listeners, *step.alignments]}
    unions = (request.EngineEvent, request.ListenerEvent, messages.AlignmentEvent)
    assert crossed == {kind for union in unions for kind in get_args(union)}


def test_sound_that_has_crossed_can_be_written_to() -> None:
    frame = from_client(encode(ListenerFrame("l", 0, SOUND)))
    assert isinstance(frame, ListenerFrame)
    frame.pcm[0] = 1.0


def test_figures_of_numpy_cross_as_numbers() -> None:
    status = from_engine(encode(Events(listeners=[("l", Status(np.int64(1), np.bool_(True), np.float32(0.5)))])))  # type: ignore[arg-type]
    assert _same(status, Events(listeners=[("l", Status(1, True, 0.5))]))


def test_an_error_that_is_not_ours_is_an_engine_error_that_names_it() -> None:
    error = unpack_error(*pack_error(ZeroDivisionError("by zero")))
    assert type(error) is EngineError
    assert str(error) == "ZeroDivisionError: by zero"


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", b"nonsense", encode(Hello())[:-1]])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    for read in (from_client, from_engine):
        with pytest.raises(EngineError, match="can't be read"):
            read(data)

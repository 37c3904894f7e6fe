"""The microphone of a connection whose loudspeaker it hears: what the speech detector is told of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from omni_core.audio import read_audio, resample, to_s16le
from omni_core.errors import EngineError
from server import ears
from server.ears import Ears
from server.session.messages import DetectSpeech, Hear, Hearing, Played

RATE = 24_000
CHUNK = 960  # 40 ms
QUESTIONS = Path(__file__).parents[1] / "assets" / "questions"


def said(name: str) -> NDArray[np.float32]:
    samples, rate = read_audio(QUESTIONS / f"{name}.flac")
    return resample(samples, rate, RATE)


class Room:
    """Time, and what happens in it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        patch.setattr(ears.time, "monotonic", lambda: self.now)
        self.ears = Ears(cast(Any, None), "session")
        self._sent = 0

    def play(self, sound: NDArray[np.float32]) -> None:
        """As the server does: in pieces, up to a second ahead."""
        for at in range(0, len(sound), RATE // 2):
            self.ears.played(Played(to_s16le(sound[at : at + RATE // 2]), self.now + at / RATE))

    async def hear(self, sound: NDArray[np.float32], late_s: float = 0.0) -> int:
        """The microphone's sound as it is recorded, each chunk so late; gives the windows that are taken for speech."""
        windows = 0
        for at in range(0, len(sound), CHUNK):
            chunk = to_s16le(sound[at : at + CHUNK])
            self.now += len(chunk) / 2 / RATE
            self.now += late_s
            told = await self.ears.detect(DetectSpeech(self._sent, chunk))
            self.now -= late_s
            self._sent += len(chunk) // 2
            windows += sum(probability.probability > 0.5 for probability in told)
        return windows


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(monkeypatch)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * RATE), np.float32)


def echo(answer: NDArray[np.float32], after_s: float) -> NDArray[np.float32]:
    """At -6 dB."""
    return np.concatenate([silence(after_s), answer * np.float32(0.5), silence(1)])


async def test_the_answer_that_comes_back_is_no_speech_and_the_user_is(room: Room) -> None:
    answer = said("story-annie")
    await room.hear(silence(3))
    room.play(answer)
    assert await room.hear(echo(answer, 0.25)) <= 1
    assert await room.hear(said("joke-linda")) > 10


async def test_sound_that_is_held_up_on_its_way_is_still_the_echo(room: Room) -> None:
    answer = said("story-annie")
    await room.hear(silence(1))
    room.play(answer)
    assert await room.hear(echo(answer, 0.1), late_s=0.15) <= 1


async def test_a_microphone_that_was_off_is_known_to_have_been(room: Room) -> None:
    await room.hear(silence(2))
    room.now += 7  # nothing comes from a client that is muted
    await room.hear(silence(1.2))
    answer = said("story-annie")
    room.play(answer)
    assert await room.hear(echo(answer, 0.2)) <= 1


def test_a_turn_whose_first_part_was_refused_is_not_heard_in_part() -> None:
    opened: list[str] = []

    class FullOnce:
        def hear(self, id: str) -> Any:
            opened.append(id)
            if len(opened) == 1:
                raise EngineError("full")
            return SimpleNamespace(id=id, push=lambda samples: None, close=lambda: None)

    ears = Ears(cast(Any, FullOnce()), "session")
    for name in ("first", "first", "second", "second"):
        ears.hear(Hear(name, to_s16le(silence(0.04))))
    assert opened == ["session-first", "session-second"]
    assert ears.heard(Hearing("first", 1920)) is None, "it is heard at once when it is answered"
    assert ears.heard(Hearing("second", 1920)) == ("session-second", 1920)

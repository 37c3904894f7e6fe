"""A loudspeaker beside the microphone: what speech detection believes of an echo, with the guard and without, and of somebody who talks over it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from omni_core.audio import EchoGuard, VoiceActivity, read_audio, resample
from omni_core.audio.echo import FURTHEST_AHEAD, LONGEST_DELAY
from omni_core.audio.vad import RATE, WINDOW
from omni_core.datagen.augment import coloured_noise, reverberate

Wave = NDArray[np.float32]
QUESTIONS = Path(__file__).parents[1] / "assets" / "questions"
ANSWER = ("story", "bees", "days-week", "capital-egypt")  # what the assistant says, in one voice
DELAY_S = 0.18
CHUNK = 960  # a client's 40 ms


@cache
def said(name: str) -> Wave:
    """A recorded question, as loud as any."""
    samples, rate = read_audio(QUESTIONS / f"{name}.flac")
    wave = resample(samples, rate, RATE)
    return (wave * (0.1 / np.sqrt(np.mean(np.square(wave))))).astype(np.float32)


@cache
def answer() -> Wave:
    return np.concatenate([said(f"{name}-annie") for name in ANSWER])


def room(sound: Wave, decibels: float = -6.0) -> Wave:
    """What a microphone hears of a loudspeaker, and the noise of the room."""
    rng = np.random.default_rng(1)
    echo = reverberate(sound, 0.3, 0.3, rng, RATE) * 10 ** (decibels / 20)
    return (echo + 0.0003 * coloured_noise(len(sound), 1.0, rng, RATE)).astype(np.float32)


def later(wave: Wave, seconds: float) -> Wave:
    return np.concatenate([np.zeros(round(seconds * RATE), np.float32), wave])


def onsets(microphone: Wave, guard: EchoGuard) -> list[float]:
    """When two windows in a row are speech, s, and were not just before."""
    detector, found, speech = VoiceActivity(), [], 0
    for at in range(0, len(microphone), CHUNK):
        for end, probability in detector.push(guard.push(microphone[at : at + CHUNK], at)):
            speech = speech + 1 if probability > 0.5 and not guard.explains(end - WINDOW, end) else 0
            if speech == 2:
                found.append(end / RATE)
    return found


def guarded(sound: Wave) -> EchoGuard:
    guard = EchoGuard()
    guard.played(sound, 0)
    return guard


def test_nothing_played_is_the_same_sound() -> None:
    sound, guard = said("bees-linda"), EchoGuard()
    for at in range(0, len(sound), 1_000):
        assert np.array_equal(guard.push(sound[at : at + 1_000], at), sound[at : at + 1_000])
        assert not guard.explains(at, at + WINDOW)


@pytest.mark.parametrize("decibels", [0.0, -6.0, -12.0])
def test_an_answer_that_comes_back_is_nobodys_speech(decibels: float) -> None:
    echo = room(later(answer(), DELAY_S), decibels)
    assert onsets(echo, EchoGuard())
    assert not onsets(echo, guarded(answer()))


def test_a_delay_that_jumps_is_found_again() -> None:
    half = len(answer()) // 2
    heard = np.concatenate([later(answer()[:half], DELAY_S), later(answer()[half:], 0.04)])
    assert not onsets(room(heard), guarded(answer()))


def test_who_talks_over_it_is_heard() -> None:
    echo = room(later(answer(), DELAY_S))
    user = later(said("bored-michael") / np.float32(2), 2.5)  # as loud as the echo
    user = np.pad(user, (0, len(echo) - len(user)))
    alone = onsets(user, EchoGuard())[0]
    assert alone - 0.04 <= onsets(echo + user, guarded(answer()))[0] <= alone + 0.1


def test_who_wears_headphones_is_heard() -> None:
    user = later(said("bored-michael"), 1.0)[: len(answer())]
    alone = onsets(user, EchoGuard())[0]
    assert onsets(user, guarded(answer()))[0] <= alone + 0.1


def test_what_is_cut_off_does_not_come_back() -> None:
    guard = guarded(answer())
    guard.played(np.zeros(0, np.float32), RATE)
    sound = room(later(answer()[:RATE], DELAY_S))
    silence = np.zeros(LONGEST_DELAY + RATE, np.float32)
    assert not onsets(np.concatenate([sound, silence]), guard)
    more = said("bees-linda")[:CHUNK]
    assert np.array_equal(guard.push(more, len(sound) + len(silence))[-CHUNK:], more)


def test_sound_that_does_not_follow_is_a_new_beginning() -> None:
    guard = guarded(answer())
    guard.push(answer()[:1_000], 0)
    given = guard.push(answer()[:1_000], 10 * RATE)  # long after all of it
    assert np.array_equal(given, answer()[:1_000])


def test_an_hour_played_at_once_is_not_kept() -> None:
    guard = guarded(np.ones(FURTHEST_AHEAD * 2, np.float32))
    guard.played(np.ones(10, np.float32), 3_600 * RATE)
    assert len(guard._playback[1]) < FURTHEST_AHEAD + 2 * RATE

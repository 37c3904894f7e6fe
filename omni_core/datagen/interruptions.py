"""Interruption scenes: what the microphone hears while the assistant speaks, with "stop omni" in half of them, and near misses.

Owns what is in a scene and where the command ends. Everything comes from the generator that the caller seeds. Waves are 24 kHz. What is spoken
is in `skills/interruptions.yaml`; the clips are made before (`omni data`). See model-facts section 5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import soxr

from omni_core.datagen import music
from omni_core.datagen.augment import NOISES, babble, band_limit, coloured_noise, reverberate

SAMPLE_RATE = 24_000
END_DB = -40.0  #: the phrase ends at its last sample above this, of its peak
BEDS = ("talk", "babble", "music", "noise", "quiet")  #: quiet is the last: nothing to be heard over
N_IRQ, IRQ, EITHER = 0, 1, -1  #: labels of a frame
FAINT = 0.2  #: to the RMS of a bed that isn't quiet
GAP_S = 0.8  #: at least, before a near miss: "stop" and "omni" any closer are the command


class Clips(Protocol):
    """Spoken clips, such as a `SpeechSet`."""

    rate: int
    rows: list[dict[str, Any]]  #: each with its `text`

    def __len__(self) -> int: ...

    def wave(self, index: int) -> np.ndarray:
        """float32 [N] at `rate`."""
        ...


class Answers(Protocol):
    """What the assistant says, such as an `AnswerSet`."""

    @property
    def texts(self) -> Sequence[str]: ...

    def wave(self, text: str) -> np.ndarray:
        """float32 [N] at 24 kHz."""
        ...


@dataclass(frozen=True)
class Material:
    """What scenes are made of; one split's."""

    talk: Clips  #: other people; clips with the command in them are passed over
    commands: Clips
    near_misses: Clips
    answers: Answers


@dataclass(frozen=True)
class SceneConfig:
    """What `draw_scene` draws from."""

    seconds: tuple[float, float] = (35.0, 60.0)
    command_share: float = 0.5  #: of scenes
    near_misses: int = 4  #: at most, in one scene
    beds: tuple[str, ...] = BEDS
    echo_share: float = 0.7  #: of scenes in which the assistant is heard
    snr_db: tuple[float, float] | None = None  #: of command and near misses to what else is heard; None: mostly 5 to 25, at times -5 to 30
    warp: float = 0.0  #: speakers are made smaller or larger (formants, pitch and tempo together) by a factor up to e ** this
    tilt_db: float = 0.0  #: at most, from the lowest to the highest octave of what the microphone hears


@dataclass(frozen=True)
class Phrase:
    """A near miss in a scene."""

    text: str
    end: float  #: s


@dataclass(frozen=True, eq=False)
class Scene:
    """What a microphone hears; with a command it ends soon after it."""

    wave: np.ndarray  #: float32 [N] at 24 kHz
    irq_at: float | None  #: where the command ends, s; None: there is none
    near_misses: tuple[Phrase, ...]
    bed: str  #: of BEDS
    echo_db: float | None  #: the assistant's level, to the bed's (to nothing much where the bed is quiet)


AFTER_S = 0.9  #: a scene goes on this long after its command


def draw_scene(rng: np.random.Generator, material: Material, config: SceneConfig) -> Scene:
    """One scene."""
    samples = round(10 * rng.uniform(*config.seconds)) * SAMPLE_RATE // 10  # tenths of a second: lengths that transform fast
    bed_name = config.beds[rng.integers(len(config.beds))]
    wave = _bed(bed_name, samples, material, config, rng)
    echo_db = None
    if rng.random() < config.echo_share:
        echo_db = float(rng.uniform(-30, -3))
        loudest = 10 ** ((echo_db if bed_name != "quiet" else echo_db + 10) / 20)
        wave = wave + _echo(samples, material.answers, rng) * loudest
    room = (rng.uniform(0.1, 0.5), rng.uniform(0.05, 0.5)) if rng.random() < 0.5 else None
    speech = np.zeros_like(wave)
    command = _wave(material.commands, int(rng.integers(len(material.commands))), config, rng) if rng.random() < config.command_share else None
    latest = samples if command is None else samples - len(command) - int(AFTER_S * SAMPLE_RATE)
    phrases, irq_at, quiet_until = [], None, 0
    for number in range(int(rng.integers(config.near_misses + 1))):
        index = int(rng.integers(len(material.near_misses)))
        clip = _wave(material.near_misses, index, config, rng)
        start = quiet_until + int(rng.uniform(GAP_S, GAP_S + samples / SAMPLE_RATE / (number + 2)) * SAMPLE_RATE)
        if start + len(clip) > latest:
            break
        _place(speech, wave, clip, start, _snr(config, rng), room, rng)
        phrases.append(Phrase(material.near_misses.rows[index]["text"], (start + phrase_end(clip)) / SAMPLE_RATE))
        quiet_until = start + len(clip)
    if command is not None:
        start = int(rng.integers(quiet_until, latest + 1))
        _place(speech, wave, command, start, _snr(config, rng), room, rng)
        end = start + phrase_end(command)
        irq_at = end / SAMPLE_RATE
        samples = end + int(AFTER_S * SAMPLE_RATE)
    heard = wave + speech
    if config.tilt_db:
        heard = _tilt(heard, rng.uniform(-config.tilt_db, config.tilt_db))
    heard = heard[:samples]
    return Scene(_levelled(heard, bool(speech.any()) or echo_db is not None or bed_name != "quiet", rng), irq_at, tuple(phrases), bed_name, echo_db)


def phrase_end(wave: np.ndarray) -> int:
    """Samples of `wave` up to the last one above END_DB of its peak."""
    return int(np.flatnonzero(np.abs(wave) > 10 ** (END_DB / 20) * np.abs(wave).max())[-1]) + 1


def holds_command(text: str) -> bool:
    """True where "stop omni" is said in `text`."""
    return re.search(r"\bstop\W+omni\b", text.lower()) is not None


def frame_labels(irq_at: float | None, frames: int, frame_samples: int) -> np.ndarray:
    """What each frame should say, int8 [frames]: N_IRQ before the command's end, IRQ from the frame in which it ends.

    The frame before that one may say EITHER: what is left of the phrase there is a fading vowel.
    """
    labels = np.full(frames, N_IRQ, np.int8)
    if irq_at is not None:
        last = (round(irq_at * SAMPLE_RATE) - 1) // frame_samples
        labels[last:] = IRQ
        labels[max(0, last - 1) : last] = EITHER
    return labels


def _wave(clips: Clips, index: int, config: SceneConfig, rng: np.random.Generator) -> np.ndarray:
    """A clip at 24 kHz, its speaker warped."""
    return soxr.resample(clips.wave(index), clips.rate * np.exp(rng.uniform(-config.warp, config.warp)), SAMPLE_RATE).astype(np.float32)


def _snr(config: SceneConfig, rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(14, 7), -5, 30) if config.snr_db is None else rng.uniform(*config.snr_db))


def _place(
    speech: np.ndarray, bed: np.ndarray, clip: np.ndarray, start: int, snr_db: float, room: tuple[float, float] | None, rng: np.random.Generator
) -> None:
    """Add `clip` to `speech` from `start`, `snr_db` over what the bed is there, or over 10 dB below its mean where it pauses.

    People don't whisper where it is quiet: next to nothing counts as FAINT, so that the clip is clean there.
    """
    around = bed[max(0, start - SAMPLE_RATE // 2) : start + len(clip) + SAMPLE_RATE // 2]
    level = max(_rms(around), _rms(bed) * 0.3, FAINT) * 10 ** (snr_db / 20) / _rms(clip)
    if room is not None:
        clip = reverberate(np.pad(clip, (0, int(room[0] * SAMPLE_RATE))), *room, rng, SAMPLE_RATE)
    stop = min(len(speech), start + len(clip))
    speech[start:stop] += clip[: stop - start] * np.float32(level)


def _bed(name: str, samples: int, material: Material, config: SceneConfig, rng: np.random.Generator) -> np.ndarray:
    """[samples] of RMS about 1, but for "quiet": a faint hiss, or nothing at all."""
    if name == "quiet":
        return coloured_noise(samples, rng.uniform(0, 2), rng, SAMPLE_RATE) * np.float32(rng.choice([1e-4, 0.003, 0.01, 0.03]))
    if name == "noise":
        noise = coloured_noise(samples, rng.uniform(*_span(NOISES.values())), rng, SAMPLE_RATE)
        return noise * _swell(samples, rng) if rng.random() < 0.5 else noise
    if name == "music":
        wave = music.compose(samples, rng)
    elif name == "babble":
        wave = babble([_talk(10 * SAMPLE_RATE, material.talk, config, rng) for _ in range(rng.integers(3, 7))], samples, rng)
    else:
        wave = _talk(samples, material.talk, config, rng)
    wave = wave / max(_rms(wave), 1e-6) + coloured_noise(samples, 1.0, rng, SAMPLE_RATE) * np.float32(10 ** (rng.uniform(-60, -20) / 20))
    return band_limit(wave, rng.uniform(50, 200), rng.uniform(4000, 12000), SAMPLE_RATE) if rng.random() < 0.3 else wave


def _talk(samples: int, clips: Clips, config: SceneConfig, rng: np.random.Generator) -> np.ndarray:
    """People talking one after the other, with pauses, [samples]."""
    wave, at = np.zeros(samples, np.float32), 0
    while at < samples:
        index = int(rng.integers(len(clips)))
        if holds_command(clips.rows[index]["text"]):
            continue
        clip = _wave(clips, index, config, rng)[: samples - at]
        wave[at : at + len(clip)] = clip * np.float32(rng.uniform(0.5, 1.5))
        at += len(clip) + int(rng.exponential(0.4) * SAMPLE_RATE)
    return wave


def _echo(samples: int, answers: Answers, rng: np.random.Generator) -> np.ndarray:
    """The assistant through loudspeaker, room and microphone, 20 to 250 ms late, [samples] of RMS about 1."""
    wave, at = np.zeros(samples, np.float32), int(rng.uniform(0.02, 0.25) * SAMPLE_RATE)
    while at < samples:
        text = answers.texts[int(rng.integers(len(answers.texts)))]
        if holds_command(text):
            continue
        clip = answers.wave(text)[: samples - at]
        wave[at : at + len(clip)] = clip
        at += len(clip) + int(rng.uniform(0.1, 1.5) * SAMPLE_RATE)
    wave = reverberate(wave, rng.uniform(0.1, 0.4), rng.uniform(0.05, 0.6), rng, SAMPLE_RATE)
    wave = band_limit(wave, rng.uniform(80, 400), rng.uniform(3000, 8000), SAMPLE_RATE)
    return (wave / max(_rms(wave), 1e-6)).astype(np.float32)


def _levelled(wave: np.ndarray, loud: bool, rng: np.random.Generator) -> np.ndarray:
    """`wave` with its peak at -30 to -1 dB of full scale, at times clipped; what is not `loud` stays 30 dB lower."""
    peak = rng.uniform(-30, -1) if loud else rng.uniform(-75, -40)
    if loud and rng.random() < 0.05:
        peak = rng.uniform(0, 6)
    return np.clip(wave * (10 ** (peak / 20) / max(float(np.abs(wave).max()), 1e-6)), -1, 1).astype(np.float32)


def _tilt(wave: np.ndarray, decibels: float) -> np.ndarray:
    """`wave` through a microphone whose response rises by `decibels` over the seven octaves above 90 Hz."""
    spectrum = np.fft.rfft(wave)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE), 90.0) / 1000)
    return np.fft.irfft(spectrum * 10 ** (decibels / 7 * octaves / 20), len(wave)).astype(np.float32)


def _swell(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A slow rise and fall of loudness over some 20 dB, [samples]."""
    knots = rng.uniform(-14, 6, 2 + samples // (2 * SAMPLE_RATE))
    return (10 ** (np.interp(np.linspace(0, len(knots) - 1, samples), np.arange(len(knots)), knots) / 20)).astype(np.float32)


def _rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave)))) if len(wave) else 0.0


def _span(values: Any) -> tuple[float, float]:
    return min(values), max(values)

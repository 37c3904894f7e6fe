"""Music-like sound: chords, a melody and a beat, each synthesised from a seed. Something to talk over; nobody need like it."""

from __future__ import annotations

import numpy as np

SAMPLE_RATE = 24_000
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10))  # major, minor, pentatonic
_TABLE = 2048


def compose(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Music [samples] float32 at 24 kHz; any of chords, melody and beat may be missing, not all."""
    wave = np.zeros(samples, np.float32)
    beat = int(SAMPLE_RATE * 60 / rng.uniform(70, 160))
    scale, root = _SCALES[rng.integers(len(_SCALES))], 110 * 2 ** (rng.integers(12) / 12)
    parts = rng.random(3) < (0.8, 0.7, 0.6)
    if not parts.any():
        parts[0] = True
    if parts[0]:
        _chords(wave, beat, scale, root, rng)
    if parts[1]:
        _melody(wave, beat, scale, root * 2, rng)
    if parts[2]:
        _percussion(wave, beat, rng)
    return wave


def _chords(wave: np.ndarray, beat: int, scale: tuple[int, ...], root: float, rng: np.random.Generator) -> None:
    """Triads of the scale, four beats each, in a progression that repeats."""
    table, decay = _timbre(rng), rng.uniform(0.3, 3.0)
    progression = rng.integers(len(scale), size=4)
    for number, start in enumerate(range(0, len(wave), 4 * beat)):
        for step in (0, 2, 4):
            _add(wave, start, _note(table, _pitch(scale, root, progression[number % 4] + step), 4 * beat, decay), 0.25)


def _melody(wave: np.ndarray, beat: int, scale: tuple[int, ...], root: float, rng: np.random.Generator) -> None:
    """A random walk over the scale in notes of half a beat to two."""
    table, decay, level = _timbre(rng), rng.uniform(0.2, 1.0), rng.uniform(0.2, 0.7)
    start, degree = 0, int(rng.integers(7))
    while start < len(wave):
        length = int(beat * rng.choice([0.5, 1, 1, 2]))
        degree = int(np.clip(degree + rng.integers(-2, 3), -5, 12))
        if rng.random() < 0.85:
            _add(wave, start, _note(table, _pitch(scale, root, degree), length, decay), level)
        start += length


def _percussion(wave: np.ndarray, beat: int, rng: np.random.Generator) -> None:
    """A drum on the beat, a burst of noise on the off-beat, ticks in between."""
    time = np.arange(SAMPLE_RATE // 5) / SAMPLE_RATE
    drum = np.sin(2 * np.pi * 25 * (1 - np.exp(-time * 18))) * np.exp(-time * 20)
    snare = rng.standard_normal(len(time)) * np.exp(-time * rng.uniform(15, 40))
    tick = np.diff(rng.standard_normal(len(time) + 1)) * np.exp(-time * 120)
    for number, start in enumerate(range(0, len(wave), max(beat // 2, 1))):
        _add(wave, start, tick, 0.15)
        if number % 2 == 0:
            _add(wave, start, snare if number % 4 else drum, 0.5)


def _timbre(rng: np.random.Generator) -> np.ndarray:
    """One period of a tone with up to 12 harmonics."""
    harmonics = np.arange(1, rng.integers(2, 13))
    weights = rng.uniform(0.3, 1, len(harmonics)) * harmonics ** -rng.uniform(0.6, 2)
    phases = np.arange(_TABLE)[:, None] * harmonics * (2 * np.pi / _TABLE)
    return np.sin(phases + rng.uniform(0, 2 * np.pi, len(harmonics))) @ weights


def _note(table: np.ndarray, hertz: float, length: int, decay_s: float) -> np.ndarray:
    time = np.arange(length)
    tone = table[(time * (hertz * _TABLE / SAMPLE_RATE)).astype(np.int64) % _TABLE]
    fade = np.minimum(1, np.minimum(time, length - time) / 240)  # 10 ms in and out
    return tone * fade * np.exp(-time / (decay_s * SAMPLE_RATE))


def _pitch(scale: tuple[int, ...], root: float, degree: int) -> float:
    octave, step = divmod(int(degree), len(scale))
    return root * 2 ** (octave + scale[step] / 12)


def _add(wave: np.ndarray, start: int, sound: np.ndarray, level: float) -> None:
    piece = sound[: len(wave) - start]
    wave[start : start + len(piece)] += (piece * level).astype(np.float32)

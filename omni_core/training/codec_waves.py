"""What codec training hears: clips cut out of recorded speech, and the held-out sentences that validation tells of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from omni_core.audio import read_audio, resample
from omni_core.codec.base import SAMPLE_RATE
from omni_core.datagen.answers import AnswerSet
from omni_core.datagen.augment import NOISES, coloured_noise
from omni_core.errors import DataError

HELD_OUT = "held_out"
_MOST_ANSWERS = 3000  # that are kept in memory
_GAIN_DB = (-9.0, 1.0)  # answers are levelled 6 dB below the recordings; a microphone is anywhere
_SNR_DB = (0.0, 25.0)


class Waves:
    """Recordings in one row, kept in memory: int16 at 24 kHz.

    folder: WAV or FLAC files at any rate. answers: a folder of `omni data answers`, the share of clips that are cut from it.
    Raises DataError when there is nothing to train on.
    """

    def __init__(self, folder: Path, answers: Path | None, answer_share: float, seed: int) -> None:
        self.speech = np.concatenate([_int16(wave) for wave in _read_folder(folder)])
        self.answers, self.answer_share = self.speech, 0.0
        if answers is not None and answer_share:
            spoken = AnswerSet(answers)
            texts = np.random.default_rng(seed).permutation(np.array(spoken.texts, dtype=object))[:_MOST_ANSWERS]
            self.answers, self.answer_share = np.concatenate([_int16(2 * spoken.wave(text)) for text in texts]), answer_share

    def draw(self, rng: np.random.Generator, batch: int, length: int, noise_share: float = 0.0) -> torch.Tensor:
        """[batch, length] float32 at levels such as microphones give; `noise_share` of the clips with noise or another speaker under them."""
        clips = np.stack([self._cut(rng, length) for _ in range(batch)])
        for clip in clips:
            if rng.random() < noise_share:
                other = self._cut(rng, length) if rng.random() < 0.5 else coloured_noise(length, rng.choice(list(NOISES.values())), rng, SAMPLE_RATE)
                clip += other * (_rms(clip) / _rms(other) * 10 ** (-rng.uniform(*_SNR_DB) / 20))
        return torch.from_numpy(clips * 10 ** (rng.uniform(*_GAIN_DB, (batch, 1)) / 20).astype(np.float32))

    def _cut(self, rng: np.random.Generator, length: int) -> NDArray[np.float32]:
        source = self.answers if rng.random() < self.answer_share else self.speech
        start = int(rng.integers(max(1, len(source) - length)))
        return np.resize(source[start : start + length], length).astype(np.float32) / np.float32(32768)


def held_out_waves(folder: Path, most: int) -> list[torch.Tensor]:
    """The first `most` files of `folder`/held_out: [N] float32 at 24 kHz. Raises DataError when there are none."""
    return [torch.from_numpy(wave) for wave in _read_folder(folder / HELD_OUT, most)]


def _read_folder(folder: Path, most: int | None = None) -> Iterator[NDArray[np.float32]]:
    files = sorted(path for path in folder.glob("*") if path.suffix in (".wav", ".flac"))[:most]
    if not files:
        raise DataError(f"{folder}: no WAV or FLAC files; make some with `omni data codec`")
    for file in files:
        yield resample(*read_audio(file), SAMPLE_RATE)


def _int16(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    return (wave.clip(-1, 1) * 32767).round().astype(np.int16)


def _rms(wave: NDArray[np.float32]) -> float:
    return max(float(np.sqrt(np.mean(np.square(wave)))), 1e-4)

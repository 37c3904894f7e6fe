"""Spoken clips for the audio encoder's transcription: distorted anew each time, in batches of about one length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omni_core.datagen import augment
from omni_core.datagen.sentences import spoken_form
from omni_core.datagen.speech import UNCLEAR, SpeechSet
from omni_core.datagen.voices import FLITE
from omni_core.encoders.ctc import character_ids
from omni_core.encoders.mel import LogMel, log_power
from omni_core.errors import ConfigError, DataError

_FRAMES_PER_FEATURE = 4
POOL = 12  #: batches that are cut from one pool of clips sorted by length
_TALKERS = 64  # clips that babble is made of


@dataclass(frozen=True)
class Batch:
    """Clips of about one length."""

    mel: Tensor  #: [B, T, mels]
    lengths: Tensor  #: [B] features
    targets: Tensor  #: [B, U] character ids
    target_lengths: Tensor  #: [B]

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in (self.mel, self.lengths, self.targets, self.target_lengths)))


class Clips:
    """Pools of batches of spoken clips with their characters; a pool depends on the seed and its number alone.

    sets: name -> share of the clips. flite_share: of the clips of every set.
    Raises ConfigError for shares that can't be, DataError when clips are missing.
    """

    def __init__(self, folder: Path, sets: Mapping[str, float], flite_share: float, batch: int, mels: int, seed: int) -> None:
        self.sets, self.shares = open_sets(folder, sets)
        self.flite_share, self.batch, self.seed, self.mel = flite_share, batch, seed, LogMel(mels)
        self._by_engine = [by_engine(clips) for clips in self.sets]
        rng, first = np.random.default_rng(seed), self.sets[0]
        self.noises = augment.noise_bank([first.wave(int(index)) for index in rng.integers(len(first), size=_TALKERS)], rng)

    def make(self, pool: int) -> list[Batch]:
        """The batches of the steps from POOL * `pool` on, POOL of them, in the order of the steps."""
        rng = np.random.default_rng((self.seed, pool))
        clips = sorted((self._clip(rng) for _ in range(POOL * self.batch)), key=lambda clip: len(clip[0]))
        return [collate(clips[cut * self.batch : (cut + 1) * self.batch]) for cut in rng.permutation(POOL)]

    def _clip(self, rng: np.random.Generator) -> tuple[Tensor, list[int]]:
        number = rng.choice(len(self.sets), p=self.shares)
        clips, by_engine = self.sets[number], self._by_engine[number]
        index = int(rng.choice(by_engine[int(rng.random() < self.flite_share)]))
        wave = augment.distort_wave(clips.wave(index), self.noises, rng)
        power = augment.distort_mel(self.mel.power(torch.from_numpy(wave)), rng)
        return log_power(power), character_ids(spoken_form(clips.rows[index]["text"]))


def pad_mels(mels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Log-mels [T, mels], padded with the quietest value to whole features and one length: [B, T, mels], and features [B]."""
    lengths = torch.tensor([-(-len(mel) // _FRAMES_PER_FEATURE) for mel in mels])
    frames = int(lengths.max()) * _FRAMES_PER_FEATURE
    silence = float(log_power(torch.zeros(())))
    return torch.stack([F.pad(mel, (0, 0, 0, frames - len(mel)), value=silence) for mel in mels]), lengths


def collate(clips: Sequence[tuple[Tensor, list[int]]]) -> Batch:
    """(log-mel [T, mels], character ids) to a padded batch."""
    mel, lengths = pad_mels([mel for mel, _ in clips])
    target_lengths = torch.tensor([len(ids) for _, ids in clips])
    targets = torch.stack([F.pad(torch.tensor(ids), (0, int(target_lengths.max()) - len(ids))) for _, ids in clips])
    return Batch(mel, lengths, targets, target_lengths)


def open_sets(folder: Path, sets: Mapping[str, float]) -> tuple[list[SpeechSet], NDArray[np.float64]]:
    """The sets of clips in `folder` that `sets` names, and their shares. Raises ConfigError and DataError as `Clips` does."""
    if UNCLEAR in sets or not sets or min(sets.values()) < 0 or not sum(sets.values()):
        raise ConfigError(f"sets: needs names with shares above 0, and not {UNCLEAR!r}, which says nothing; got {dict(sets)}")
    found = [SpeechSet(folder, name) for name in sets]
    for clips in found:
        if not len(clips):
            raise DataError(f"{folder}: no clips of {clips.name!r} there: make them with `omni data speech`, or take it out of `sets`")
    return found, np.array(list(sets.values())) / sum(sets.values())


def by_engine(clips: SpeechSet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clip numbers of espeak-ng's voices and of flite's; all clips where one of them has none."""
    flite = np.array([row["voice"]["engine"] == FLITE for row in clips.rows])
    if flite.all() or not flite.any():
        return np.arange(len(clips)), np.arange(len(clips))
    return np.flatnonzero(~flite), np.flatnonzero(flite)

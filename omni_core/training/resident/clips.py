"""Batches for the audio encoder from clips on the device: what `encoders_clips.Clips` gives, thousands a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from omni_core.datagen.sentences import spoken_form
from omni_core.encoders.ctc import character_ids
from omni_core.training.encoders_clips import POOL, Batch, by_engine, open_sets
from omni_core.training.resident.bank import joined
from omni_core.training.resident.hearing import Hearing, plan
from omni_core.training.settings import generator_of


class ResidentClips:
    """Pools of batches; a pool depends on the seed and its number alone. Arguments and errors as `encoders_clips.Clips`, and the device."""

    def __init__(
        self, folder: Path, sets: Mapping[str, float], flite_share: float, batch: int, mels: int, seed: int, device: torch.device
    ) -> None:
        found, self.shares = open_sets(folder, sets)
        bank, starts = joined(found, device, "speech")
        self.flite_share, self.batch, self.seed, self.device = flite_share, batch, seed, device
        self.hearing = Hearing(bank, len(found[0]), mels, seed)
        self._choices = [[start + part for part in by_engine(clips)] for clips, start in zip(found, starts, strict=False)]
        texts = [character_ids(spoken_form(row["text"])) for clips in found for row in clips.rows]
        self._target_lengths = np.array([len(ids) for ids in texts])
        targets = np.zeros((len(texts), int(self._target_lengths.max())), np.int64)
        for row, ids in zip(targets, texts, strict=True):
            row[: len(ids)] = ids
        self._targets = torch.from_numpy(targets).to(device)

    def make(self, pool: int) -> list[Batch]:
        """The batches of the steps from POOL * `pool` on, POOL of them, in the order of the steps."""
        rng = np.random.default_rng((self.seed, pool))
        generator = generator_of(self.device, self.seed, pool)
        size = POOL * self.batch
        numbers = rng.choice(len(self.shares), size, p=self.shares)
        engines = (rng.random(size) < self.flite_share).astype(int)
        clips = np.zeros(size, np.int64)
        for number, choices in enumerate(self._choices):
            for engine, listed in enumerate(choices):
                at = np.flatnonzero((numbers == number) & (engines == engine))
                clips[at] = listed[rng.integers(len(listed), size=len(at))]
        planned = plan(self.hearing.bank.lengths, clips, rng)
        order = np.argsort(planned.samples, kind="stable")
        return [self._batch(planned[order[cut * self.batch : (cut + 1) * self.batch]], generator) for cut in rng.permutation(POOL)]

    def _batch(self, planned, generator: torch.Generator) -> Batch:
        mel, lengths = self.hearing.mels(planned, generator)
        longest = int(self._target_lengths[planned.clips].max())
        rows: Tensor = torch.from_numpy(planned.clips).to(self.device)
        target_lengths = torch.from_numpy(self._target_lengths[planned.clips]).to(self.device)
        return Batch(mel, lengths, self._targets[rows, :longest], target_lengths)

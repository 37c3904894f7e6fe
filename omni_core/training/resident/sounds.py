"""What the codec's encoder learns to listen from, made on the device: what `codec_listening.Sounds` gives, and scenes that never come again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from omni_core.codec.base import FRAME_SAMPLES, SAMPLE_RATE
from omni_core.datagen.sentences import spoken_form
from omni_core.encoders.ctc import character_ids
from omni_core.training.dataset import IGNORE
from omni_core.training.encoders_clips import open_sets
from omni_core.training.listening import DECISION_WEIGHT
from omni_core.training.resident import sound
from omni_core.training.resident.bank import joined
from omni_core.training.resident.scenes import WARP, Scenes
from omni_core.training.settings import generator_of

_ENDS = 0.6  # share of the scenes' commands after which nothing more comes
_MOST = 6  # clips in a row


class ResidentSounds:
    """Waves, characters and labels of a step (`codec_listening.Heard`'s fields); they depend on the seed and the step alone."""

    def __init__(self, folder: Path, sets: dict[str, float], frames: int, seed: int, device: torch.device) -> None:
        found, self.shares = open_sets(folder / "speech", sets)
        self.bank, self._starts = joined(found, device, "speech")
        self.scenes = Scenes(folder, device, seed)
        self.frames, self.seed, self.device = frames, seed, device
        self._texts = [character_ids(spoken_form(row["text"])) for clips in found for row in clips.rows]

    @torch.no_grad()
    def make(self, step: int, clips: int, scenes: int, answers: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """waves [clips + scenes + answers, F * 2048], targets [clips, U], their lengths, labels and weights [clips + scenes, F]."""
        rng, generator = np.random.default_rng((self.seed, step)), generator_of(self.device, self.seed, step)
        spoken, targets, lengths = self._clips(clips, rng, generator)
        heard = self.scenes.draw(scenes, self.frames, _ENDS, rng, generator)
        quiet = torch.zeros(clips, self.frames, dtype=torch.int64, device=self.device)
        labels = torch.cat([quiet, heard.labels])
        weights = torch.where(torch.cat([quiet > 0, heard.decisions]), DECISION_WEIGHT, 1.0) * (labels != IGNORE)
        return torch.cat([spoken, heard.waves, self.answers(answers, rng)]), targets, lengths, labels, weights

    def answers(self, rows: int, rng: np.random.Generator) -> Tensor:
        """Stretches of answers at levels that microphones give: [rows, F * 2048]."""
        bank, samples = self.scenes.answers, self.frames * FRAME_SAMPLES
        clips = rng.integers(len(bank), size=rows)
        starts = (rng.random(rows) * np.maximum(bank.lengths[clips] - samples, 1)).astype(np.int64)
        waves = bank.read(self.bank.at(clips), self.bank.at(-starts), samples)
        return waves * sound.decibels(torch.from_numpy(rng.uniform(-3, 7, (rows, 1)).astype(np.float32)).to(self.device))

    def _clips(self, rows: int, rng: np.random.Generator, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Distorted clips one after the other, as many as there is room for, and their characters."""
        samples = self.frames * FRAME_SAMPLES
        sets = rng.choice(len(self.shares), (rows, _MOST), p=self.shares)
        first, last = np.array(self._starts[:-1])[sets], np.array(self._starts[1:])[sets]
        clips = first + (rng.random(sets.shape) * (last - first)).astype(np.int64)
        speeds = np.exp(rng.uniform(-WARP, WARP, clips.shape))
        taken = np.ceil(self.bank.lengths[clips] * SAMPLE_RATE / self.bank.rate / speeds).astype(np.int64)
        taken += (rng.uniform(0.02, 0.3, clips.shape) * SAMPLE_RATE).astype(np.int64)
        ends = np.cumsum(taken, axis=1)
        inside = ends <= samples  # a first clip that is too long leaves its row silent
        waves = torch.zeros(rows, samples, device=self.device)
        texts: list[list[int]] = [[] for _ in range(rows)]
        for place in range(_MOST):
            at = np.flatnonzero(inside[:, place])
            if not len(at):
                break
            starts = self.bank.at(ends[at, place] - taken[at, place])
            speed = torch.from_numpy(speeds[at, place]).to(self.device)
            waves[self.bank.at(at)] += self.bank.resampled(self.bank.at(clips[at, place]), starts, samples, SAMPLE_RATE, speed)
            for row in at:
                texts[row] += ([1] if texts[row] else []) + self._texts[clips[row, place]]  # a space between
        lengths = torch.tensor([len(text) for text in texts], device=self.device)
        targets = torch.zeros(rows, max(map(len, texts)), dtype=torch.int64)
        for row, text in enumerate(texts):
            targets[row, : len(text)] = torch.tensor(text, dtype=torch.int64)
        return self._distorted(waves, generator), targets.to(self.device), lengths

    def _distorted(self, waves: Tensor, generator: torch.Generator) -> Tensor:
        rows = len(waves)
        level = sound.rms(waves)
        waves = sound.where(
            sound.chance(generator, 0.25, rows), sound.reverberate(generator, waves, (0.1, 0.5), (0.05, 0.6), SAMPLE_RATE), waves
        )
        noise = sound.coloured_noise(generator, sound.uniform(generator, 0, 2, rows), waves.shape[1], SAMPLE_RATE)
        others = waves[torch.randperm(rows, generator=generator, device=self.device)]  # somebody else, at the same time
        noise = sound.where(sound.chance(generator, 0.4, rows), others / sound.rms(others).clamp(min=1e-6), noise)
        noisy = sound.chance(generator, 0.5, rows)[:, None]
        waves = waves + noisy * noise * level * sound.decibels(-sound.uniform(generator, 3, 28, rows))[:, None]
        waves = sound.tilt(waves, sound.uniform(generator, -10, 10, rows), SAMPLE_RATE)
        return (waves * sound.decibels(sound.uniform(generator, -18, 6, rows))[:, None]).clamp(-1, 1)

"""Training clips as the audio encoder takes them: read from a bank, distorted anew, log-mel, all on the device.

The recipes are `datagen.augment`'s `distort_wave` and `distort_mel`. What decides a clip's length is drawn first (`Plan`), so that a
sequence may be laid out before anything is heard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.encoders.chunked import FEATURE_SAMPLES
from omni_core.encoders.mel import HOP, LogMel, log_power
from omni_core.training.resident import sound
from omni_core.training.resident.bank import Bank, add

RATE = 16_000
_NOISE_S = 20
_COLOURS = (0.0, 1.0, 2.0, 0.5, 1.5)
_BABBLES = 24
_MEL_PER_FEATURE = FEATURE_SAMPLES // HOP


@dataclass(frozen=True)
class Plan:
    """Where clips lie in their rows, and how long they take: arrays [B]."""

    clips: NDArray[np.int64]  #: numbers in the bank
    before: NDArray[np.int64]  #: samples of silence
    samples: NDArray[np.int64]  #: of the row: whole features
    stretch: NDArray[np.float32]  #: of the mel frames

    @property
    def features(self) -> NDArray[np.int64]:
        """Features that the audio encoder makes of each row."""
        return -(-np.rint(self.samples // HOP * self.stretch).astype(np.int64) // _MEL_PER_FEATURE)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> Plan:
        return Plan(self.clips[rows], self.before[rows], self.samples[rows], self.stretch[rows])


def plan(lengths: NDArray[np.int64], clips: NDArray[np.int64], rng: np.random.Generator) -> Plan:
    """Draw the silence around `clips` and their speed; lengths: of all clips of the bank."""
    before = (rng.uniform(0, 0.3, len(clips)) * RATE).astype(np.int64)
    after = (rng.uniform(0, 0.4, len(clips)) * RATE).astype(np.int64)
    samples = -(-(before + lengths[clips] + after) // FEATURE_SAMPLES) * FEATURE_SAMPLES
    stretched = rng.random(len(clips)) < 0.5
    factors = np.where(stretched, np.exp(rng.uniform(-0.12, 0.12, len(clips))), 1.0)
    return Plan(clips, before, samples, factors.astype(np.float32))


class Hearing:
    """Distorted log-mels of planned clips."""

    def __init__(self, bank: Bank, talkers: int, mels: int, seed: int) -> None:
        """talkers: the bank's first so many clips are what babble is made of."""
        self.bank, self.device = bank, bank.device
        self.mel = LogMel(mels).to(bank.device)
        generator = torch.Generator(bank.device).manual_seed(seed)
        samples = _NOISE_S * RATE
        colours = sound.coloured_noise(generator, torch.tensor(_COLOURS, device=bank.device), samples, RATE)
        self.noises = torch.cat([colours, babbles(bank, talkers, _BABBLES, samples, np.random.default_rng(seed))])
        self._babbles = len(colours)

    @torch.no_grad()
    def mels(self, planned: Plan, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Log-mels [B, 4 L, mels] of `planned`, L the most features of a row, and features [B]. What lies beyond a row's own is of no meaning."""
        clips, before, samples, stretch = (
            torch.from_numpy(part).to(self.device) for part in (planned.clips, planned.before, planned.samples, planned.stretch)
        )
        features = torch.from_numpy(planned.features).to(self.device)
        waves = self._distorted(self.bank.read(clips, before, int(planned.samples.max())), samples, generator)
        power = self._other_speakers(self.mel.power(waves), stretch, int(planned.features.max()) * _MEL_PER_FEATURE, generator)
        return log_power(power), features

    def _distorted(self, waves: Tensor, samples: Tensor, generator: torch.Generator) -> Tensor:
        rows, width = waves.shape
        level = (waves.square().sum(-1) / samples).sqrt()[:, None]
        roomy = sound.chance(generator, 0.2, rows).nonzero()[:, 0]
        if len(roomy):
            waves[roomy] = sound.reverberate(generator, waves[roomy], (0.1, 0.5), (0.05, 0.6), RATE)
        kinds = torch.randint(len(self.noises), (rows,), generator=generator, device=waves.device)
        coloured = torch.randint(self._babbles, (rows,), generator=generator, device=waves.device)
        kinds = torch.where(sound.chance(generator, 0.45, rows), coloured, kinds)  # as often as babble
        starts = torch.randint(self.noises.shape[1], (rows, 1), generator=generator, device=waves.device)
        noise = self.noises[kinds[:, None], (starts + torch.arange(width, device=waves.device)) % self.noises.shape[1]]
        snr = triangular(generator, -5, 18, 30, rows)[:, None]
        noisy = sound.chance(generator, 0.45, rows)[:, None]
        waves = waves + noisy * noise * level * sound.decibels(-snr)
        narrow = sound.chance(generator, 0.05, rows).nonzero()[:, 0]
        if len(narrow):
            low, high = sound.uniform(generator, 50, 250, len(narrow)), sound.uniform(generator, 3400, 7500, len(narrow))
            waves[narrow] = sound.band_limit(waves[narrow], low, high, RATE)
        waves = sound.where(sound.chance(generator, 0.05, rows), sound.overdrive(waves, sound.uniform(generator, 3, 15, rows)), waves)
        return waves * sound.decibels(sound.uniform(generator, -18, 6, rows))[:, None]

    def _other_speakers(self, power: Tensor, stretch: Tensor, frames: int, generator: torch.Generator) -> Tensor:
        """Mel power [B, T, mels] at other speeds, from other speakers, through other channels: [B, frames, mels]."""
        rows, length, bands = power.shape
        places = (torch.arange(frames, device=power.device) / stretch[:, None]).clamp(max=length - 1)  # [B, frames]
        below = places.long()
        index = torch.arange(rows, device=power.device)[:, None]
        power = torch.lerp(power[index, below], power[index, (below + 1).clamp(max=length - 1)], (places - below)[..., None])
        warp = torch.where(sound.chance(generator, 0.5, rows), sound.uniform(generator, -0.1, 0.1, rows), 0.0).exp()
        bins = (torch.arange(bands, device=power.device) / warp[:, None]).clamp(max=bands - 1)  # [B, bands]
        low = bins.long()
        left = power.gather(2, low[:, None].expand(-1, frames, -1))
        right = power.gather(2, (low + 1).clamp(max=bands - 1)[:, None].expand(-1, frames, -1))
        power = torch.lerp(left, right, (bins - low)[:, None])
        slope = sound.uniform(generator, -10, 10, rows)[:, None] * torch.linspace(-0.05, 0.05, bands, device=power.device)
        power = power * (10**slope)[:, None]
        hidden = torch.randint(bands, (rows, 1), generator=generator, device=power.device)
        wide = torch.randint(1, 12, (rows, 1), generator=generator, device=power.device)
        band = torch.arange(bands, device=power.device)
        gone = sound.chance(generator, 0.15, rows)[:, None] & (band >= hidden) & (band < hidden + wide)
        return power.masked_fill(gone[:, None], 0)


def babbles(bank: Bank, talkers: int, count: int, samples: int, rng: np.random.Generator) -> Tensor:
    """Three to seven people at once, `count` times: [count, samples] of RMS 1 at the bank's rate."""
    total = torch.zeros(count, samples, device=bank.device)
    gap = int(bank.lengths[:talkers].mean())
    for row in range(count):  # one after the other: together they would take gigabytes
        starts = np.concatenate([np.arange(-int(rng.integers(gap)), samples, gap) for _ in range(rng.integers(3, 8))])
        clips, speeds = rng.integers(min(talkers, len(bank)), size=len(starts)), np.exp(rng.uniform(-0.1, 0.1, len(starts)))
        add(total[row : row + 1], np.zeros_like(starts), starts, bank.alone(clips, speeds, bank.rate))
    return total / sound.rms(total).clamp(min=1e-6)


def triangular(generator: torch.Generator, low: float, mode: float, high: float, rows: int) -> Tensor:
    """[rows], as numpy's `triangular`."""
    share = torch.rand(rows, generator=generator, device=generator.device)
    turn = (mode - low) / (high - low)
    rising = low + (share * (high - low) * (mode - low)).sqrt()
    return torch.where(share < turn, rising, high - ((1 - share) * (high - low) * (high - mode)).sqrt())

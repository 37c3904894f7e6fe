"""Clips of sets on a device: 16 bits a sample, any of them read at any speed by one batched pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from omni_core.errors import DataError
from omni_core.training.prefetch import batches

_FULL = 32767.0
_CHUNK = 250  # clips that a process reads at a time
_FEW = 8  # chunks that aren't worth other processes
_TAPS = 16  # of the windowed sinc between samples


class Bank:
    """Waveforms one after the other. Clip numbers are 0 .. len - 1 in the order they were given."""

    def __init__(self, count: int, wave: Callable[[int], NDArray[np.float32]], rate: int, device: torch.device, name: str) -> None:
        """`wave(n)`: clip n of `count`, [N] float32 at `rate`; read by all cores. Raises DataError when there are none."""
        if not count:
            raise DataError(f"{name}: no clips there: make them with `omni data`")

        def chunk(number: int) -> tuple[Tensor, Tensor]:
            waves = [_whole_numbers(wave(clip)) for clip in range(number * _CHUNK, min((number + 1) * _CHUNK, count))]
            return torch.from_numpy(np.concatenate(waves)), torch.tensor([len(part) for part in waves])

        chunks = -(-count // _CHUNK)
        read = batches(chunk, 0, chunks, len(os.sched_getaffinity(0)) if chunks > _FEW else 0)
        parts = list(tqdm(read, total=chunks, desc=f"{name} to {device.type}", unit=f"x {_CHUNK} clips", dynamic_ncols=True, mininterval=2.0))
        self.rate, self.device = rate, device
        self.lengths = torch.cat([lengths for _, lengths in parts]).numpy()  #: samples of each clip
        self._lengths = torch.from_numpy(self.lengths).to(device)
        self._starts = torch.from_numpy(np.cumsum(self.lengths) - self.lengths).to(device)
        self._samples = torch.cat([samples.to(device) for samples, _ in parts])

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, clips: Tensor, at: Tensor, samples: int) -> Tensor:
        """Clips [B] (numbers), each beginning at sample `at` [B] (any sign) of a row that is silent elsewhere: [B, samples] float32."""
        places = torch.arange(samples, device=self.device) - at[:, None]
        return self._sample(clips, places) / _FULL

    def resampled(self, clips: Tensor, at: Tensor, samples: int, rate: int, speed: Tensor) -> Tensor:
        """As `read`, at `rate` and `speed` [B] times as fast (and so higher); the result is not above the slower of both rates' bands."""
        step = speed.double() * (self.rate / rate)
        places = (torch.arange(samples, device=self.device) - at[:, None]) * step[:, None]  # [B, samples], in the clip's samples
        first = places.floor()
        fraction = (places - first).float()
        first = first.long() - (_TAPS // 2 - 1)
        total = torch.zeros(fraction.shape, device=self.device)
        for tap in range(_TAPS):
            away = fraction + (_TAPS // 2 - 1 - tap)  # samples from the place asked for
            weight = torch.sinc(away) * torch.cos(torch.pi / _TAPS * away).square()
            total += weight * self._sample(clips, first + tap)
        return total / _FULL

    def at(self, numbers: NDArray[np.int64]) -> Tensor:
        """Numbers such as those of clips, on the device."""
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)

    def taken(self, clips: NDArray[np.int64], speeds: NDArray[np.float64], rate: int) -> NDArray[np.int64]:
        """Samples that clips take at `rate`, played `speeds` times as fast."""
        return np.ceil(self.lengths[clips] * rate / self.rate / speeds).astype(np.int64)

    def alone(self, clips: NDArray[np.int64], speeds: NDArray[np.float64], rate: int, more: int = 0) -> Tensor:
        """Clips [P] by themselves, at `rate` and `speeds` [P] times as fast: [P, samples of the longest and `more`]."""
        longest = int(self.taken(clips, speeds, rate).max()) + more
        numbers = self.at(clips)
        zeros = torch.zeros_like(numbers)
        if rate == self.rate and (speeds == 1).all():
            return self.read(numbers, zeros, longest)
        return self.resampled(numbers, zeros, longest, rate, torch.from_numpy(speeds).to(self.device))

    def ends(self, clips: NDArray[np.int64], decibels: float) -> NDArray[np.int64]:
        """Samples of each of `clips` [P] up to the last one above `decibels` of its peak (`datagen.interruptions.phrase_end`)."""
        found = []
        for part in np.array_split(clips, -(-len(clips) // _CHUNK)):
            waves = self.alone(part, np.ones(len(part)), self.rate).abs()
            loud = waves > 10 ** (decibels / 20) * waves.amax(-1, keepdim=True)
            found.append((loud * torch.arange(1, waves.shape[1] + 1, device=self.device)).amax(-1))
        return torch.cat(found).cpu().numpy()

    def _sample(self, clips: Tensor, places: Tensor) -> Tensor:
        """Sample `places` [B, N] of clips [B], 0 outside of them: float32."""
        inside = (places >= 0) & (places < self._lengths[clips, None])
        found = self._samples[torch.where(inside, places + self._starts[clips, None], 0)]
        return torch.where(inside, found, 0).float()


def add(track: Tensor, rows: NDArray[np.int64], starts: NDArray[np.int64], waves: Tensor) -> Tensor:
    """Add `waves` [P, L] to the `rows` of `track` [B, N] from sample `starts` [P] on, in place; what lies outside is dropped."""
    row, start = (torch.from_numpy(part).to(track.device)[:, None] for part in (rows, starts))
    places = start + torch.arange(waves.shape[1], device=track.device)
    inside = (places >= 0) & (places < track.shape[1])
    flat = row * track.shape[1] + places.clamp(0, track.shape[1] - 1)
    track.view(-1).scatter_add_(0, flat.flatten(), torch.where(inside, waves, 0).flatten())
    return track


def joined(sets: Sequence, device: torch.device, name: str) -> tuple[Bank, list[int]]:
    """Several sets of one rate (`ShardSet`) as one bank, and where each begins in it (and where the last ends)."""
    starts = np.cumsum([0, *(len(clips) for clips in sets)]).tolist()
    rates = {clips.rate for clips in sets if len(clips)}
    if len(rates) > 1:
        raise DataError(f"{name}: clips of several rates {sorted(rates)}: make them again")

    def wave(number: int) -> NDArray[np.float32]:
        part = int(np.searchsorted(starts, number, side="right")) - 1
        return sets[part].wave(number - starts[part])

    return Bank(starts[-1], wave, next(iter(rates), 0), device, name), starts


def _whole_numbers(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.rint(np.clip(wave, -1, 1) * _FULL).astype(np.int16)

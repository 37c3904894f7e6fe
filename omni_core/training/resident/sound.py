"""Rooms, noises, bands and levels for a batch of waves [B, N] on their device; `datagen.augment` does the same to one.

Every function takes the generator of the device. What is drawn for a row is drawn for all rows, and used where `chosen` [B] says so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from omni_core.datagen.augment import fft_size

_DECAY = 6.907755  # 60 dB, as the natural logarithm of an amplitude


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """[shape] float32, evenly between `low` and `high`."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def chance(generator: torch.Generator, share: float, rows: int) -> Tensor:
    """bool [rows], true for `share` of them on average."""
    return torch.rand(rows, generator=generator, device=generator.device) < share


def rms(waves: Tensor) -> Tensor:
    """[B, N] -> [B, 1]."""
    return waves.square().mean(-1, keepdim=True).sqrt()


def decibels(value: Tensor) -> Tensor:
    """Decibels as a factor of amplitude."""
    return 10 ** (value / 20)


def coloured_noise(generator: torch.Generator, exponents: Tensor, samples: int, rate: int) -> Tensor:
    """Noise [B, samples] of RMS 1 whose power falls as frequency ** -`exponents` [B], flat below 50 Hz."""
    bins = samples // 2 + 1
    spectrum = torch.randn(len(exponents), bins, 2, generator=generator, device=generator.device)
    frequencies = torch.linspace(0, rate / 2, bins, device=generator.device).clamp(min=50.0)
    noise = torch.fft.irfft(torch.view_as_complex(spectrum) * (frequencies / 1000) ** (-exponents[:, None] / 2), samples)
    return noise / rms(noise).clamp(min=1e-9)


def reverberate(generator: torch.Generator, waves: Tensor, decay_s: tuple[float, float], wet: tuple[float, float], rate: int) -> Tensor:
    """`waves` in simple rooms, each its own: exponentially decaying noise (60 dB in `decay_s`) at `wet` times the direct sound's energy."""
    length = int(decay_s[1] * rate)
    times = torch.arange(length, device=waves.device) / rate
    decays = uniform(generator, *decay_s, len(waves))[:, None]
    tails = torch.randn(len(waves), length, generator=generator, device=waves.device) * torch.exp(-_DECAY * times / decays) * (times < decays)
    tails[:, : int(0.002 * rate)] = 0
    energy = tails.square().sum(-1, keepdim=True).clamp(min=1e-9)
    tails = tails * (uniform(generator, *wet, len(waves))[:, None] / energy).sqrt()
    tails[:, 0] = 1
    size = fft_size(waves.shape[1] + length)
    return torch.fft.irfft(torch.fft.rfft(waves, size) * torch.fft.rfft(tails, size), size)[:, : waves.shape[1]]


def band_limit(waves: Tensor, low_hz: Tensor, high_hz: Tensor, rate: int) -> Tensor:
    """`waves` with what lies below `low_hz` [B] or above `high_hz` [B] gone."""
    size = fft_size(waves.shape[1])
    frequencies = torch.linspace(0, rate / 2, size // 2 + 1, device=waves.device)
    kept = (frequencies >= low_hz[:, None]) & (frequencies <= high_hz[:, None])
    return torch.fft.irfft(torch.fft.rfft(waves, size) * kept, size)[:, : waves.shape[1]]


def tilt(waves: Tensor, slope_db: Tensor, rate: int) -> Tensor:
    """`waves` through microphones whose response rises by `slope_db` [B] over the seven octaves above 90 Hz."""
    size = fft_size(waves.shape[1])
    octaves = torch.log2(torch.linspace(0, rate / 2, size // 2 + 1, device=waves.device).clamp(min=90.0) / 1000)
    return torch.fft.irfft(torch.fft.rfft(waves, size) * decibels(slope_db[:, None] / 7 * octaves), size)[:, : waves.shape[1]]


def overdrive(waves: Tensor, by_db: Tensor) -> Tensor:
    """`waves` with their peaks cut off, `by_db` [B] below the highest."""
    limit = waves.abs().amax(-1, keepdim=True) * decibels(-by_db[:, None])
    return torch.maximum(torch.minimum(waves, limit), -limit)


def where(chosen: Tensor, changed: Tensor, waves: Tensor) -> Tensor:
    """`changed` in the rows `chosen` [B], else `waves`."""
    return torch.where(chosen[:, None], changed, waves)

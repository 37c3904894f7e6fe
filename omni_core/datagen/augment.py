"""Augmentation: rooms, noise, loudness and bandwidth on waveforms; speed, speaker and channel on mel power.

Waves are at 16 kHz unless a `rate` is given. Everything draws from a `numpy` generator that the caller seeds.
Mel-level changes are the cheapest: use those freely.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr
import torch

SAMPLE_RATE = 16_000
_FFT_STEP = 512  # lengths that are multiples of it are quick to transform
NOISES = {"white": 0.0, "pink": 1.0, "brown": 2.0}  #: exponent of the fall of power with frequency


def coloured_noise(samples: int, exponent: float, rng: np.random.Generator, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Noise [samples] float32 of RMS 1 whose power falls as frequency ** -exponent, flat below 50 Hz."""
    size = fft_size(samples)
    spectrum = rng.standard_normal(size // 2 + 1) + 1j * rng.standard_normal(size // 2 + 1)
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / rate), 50.0)
    noise = np.fft.irfft(spectrum * frequencies ** (-exponent / 2), size)[:samples]
    return (noise / noise.std()).astype(np.float32)


def babble(clips: Sequence[np.ndarray], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Several people at once: `clips`, each repeated from a random place, summed to [samples] float32 of RMS 1."""
    total = np.sum([np.resize(np.roll(clip, rng.integers(len(clip))), samples) for clip in clips], axis=0)
    return (total / max(float(np.std(total)), 1e-6)).astype(np.float32)


def noise_bank(talkers: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Noises to draw from: five colours of 20 s and six babbles of 10 s made of the clips `talkers`."""
    colours = [coloured_noise(20 * SAMPLE_RATE, exponent, rng) for exponent in (*NOISES.values(), 0.5, 1.5)]
    babbles = []
    for _ in range(6):
        heard = [talkers[int(index)] for index in rng.integers(len(talkers), size=rng.integers(3, 8))]
        babbles.append(babble(heard, 10 * SAMPLE_RATE, rng))
    return colours + babbles


def add_noise(wave: np.ndarray, noise: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """`wave` [N] with a random stretch of `noise` (at least one sample, any RMS), `snr_db` below the wave's RMS level."""
    start = int(rng.integers(len(noise)))
    piece = noise[start : start + len(wave)]
    if len(piece) < len(wave):
        piece = np.resize(np.roll(noise, -start), len(wave))
    wanted = np.sqrt(np.mean(np.square(wave))) * 10 ** (-snr_db / 20)
    return (wave + piece * (wanted / max(float(np.sqrt(np.mean(np.square(piece)))), 1e-9))).astype(np.float32)


def reverberate(wave: np.ndarray, decay_s: float, wet: float, rng: np.random.Generator, rate: int = SAMPLE_RATE) -> np.ndarray:
    """`wave` [N] in a simple room: exponentially decaying noise (60 dB in `decay_s`) at `wet` times the direct sound's energy."""
    length = int(decay_s * rate)
    tail = rng.standard_normal(length, np.float32) * np.exp(np.linspace(0, -3 * np.log(10), length, dtype=np.float32))
    tail[: int(0.002 * rate)] = 0
    response = tail * np.float32(np.sqrt(wet / np.square(tail).sum()))
    response[0] += 1
    size = fft_size(len(wave) + length)
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(response, size), size)[: len(wave)].astype(np.float32)


def band_limit(wave: np.ndarray, low_hz: float, high_hz: float, rate: int = SAMPLE_RATE) -> np.ndarray:
    """`wave` [N] with what lies below `low_hz` or above `high_hz` gone: a telephone or a small microphone."""
    spectrum = np.fft.rfft(wave)
    frequencies = np.fft.rfftfreq(len(wave), 1 / rate)
    spectrum[(frequencies < low_hz) | (frequencies > high_hz)] = 0
    return np.fft.irfft(spectrum, len(wave)).astype(np.float32)


def fft_size(samples: int) -> int:
    """The next size of at least `samples` that a Fourier transform is fast at: 2, 3, 5, 9 or 15 times a power of two."""
    return min(factor << max(0, -(-samples // factor) - 1).bit_length() for factor in (2, 3, 5, 9, 15))


def overdrive(wave: np.ndarray, decibels: float) -> np.ndarray:
    """`wave` [N] through a microphone turned up `decibels` too far: its peaks are cut off, so much below the highest."""
    limit = np.abs(wave).max(initial=0.0) * 10 ** (-decibels / 20)
    return np.clip(wave, -limit, limit)


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """`wave` [N] at 16 kHz played `factor` times as fast, and so higher: [N / factor]."""
    return soxr.resample(wave, SAMPLE_RATE * factor, SAMPLE_RATE, quality="LQ")


def distort_wave(wave: np.ndarray, noises: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """A training clip [N] as a microphone might hear it, about 2 ms for 3 s: now and then at another speed; silence around; sometimes in a
    room; nearly half the time noise (-5 to 30 dB, mostly above 8); now and then a narrow band or peaks cut off; any loudness.
    """
    if rng.random() < 0.1:
        wave = change_speed(wave, rng.uniform(0.9, 1.1))
    before, after = int(rng.uniform(0, 0.3) * SAMPLE_RATE), int(rng.uniform(0, 0.4) * SAMPLE_RATE)
    wave = np.pad(wave, (before, after + -(before + len(wave) + after) % _FFT_STEP))
    if rng.random() < 0.2:
        wave = reverberate(wave, rng.uniform(0.1, 0.5), rng.uniform(0.05, 0.6), rng)
    if rng.random() < 0.45:
        wave = add_noise(wave, noises[int(rng.integers(len(noises)))], rng.triangular(-5, 18, 30), rng)
    if rng.random() < 0.05:
        wave = band_limit(wave, rng.uniform(50, 250), rng.uniform(3400, 7500))
    if rng.random() < 0.05:
        wave = overdrive(wave, rng.uniform(3, 15))
    return wave * np.float32(10 ** (rng.uniform(-18, 6) / 20))


def stretch_mel(power: torch.Tensor, factor: float) -> torch.Tensor:
    """Mel power [T, mels] made `factor` times as long, by interpolation: [round(T * factor), mels]."""
    return _interpolate(power, max(1, round(power.shape[0] * factor)), 1 / factor)


def warp_mel(power: torch.Tensor, factor: float) -> torch.Tensor:
    """Mel power [T, mels] with the band axis stretched `factor` times: formants rise above 1, a smaller speaker."""
    return _interpolate(power.T, power.shape[1], 1 / factor).T


def tilt_mel(power: torch.Tensor, decibels: float) -> torch.Tensor:
    """Mel power [T, mels], from -`decibels` / 2 at the lowest band to +`decibels` / 2 at the highest."""
    return power * 10 ** (torch.linspace(-decibels / 20, decibels / 20, power.shape[1]))


def distort_mel(power: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """A training clip's mel power [T, mels], often at another speed and from another speaker, through another channel, at times with bands hidden."""
    if rng.random() < 0.5:
        power = stretch_mel(power, float(np.exp(rng.uniform(-0.12, 0.12))))
    if rng.random() < 0.5:
        power = warp_mel(power, float(np.exp(rng.uniform(-0.1, 0.1))))
    power = tilt_mel(power, rng.uniform(-10, 10))
    if rng.random() < 0.15:
        low = int(rng.integers(power.shape[1]))
        power = power.clone()
        power[:, low : low + int(rng.integers(1, 12))] = 0
    return power


def _interpolate(rows: torch.Tensor, length: int, step: float) -> torch.Tensor:
    """Rows 0, step, 2 step ... of `rows` [R, C], linearly between neighbours, the last row beyond the end: [length, C]."""
    places = (torch.arange(length) * step).clamp(max=rows.shape[0] - 1)
    below = places.long()
    above = (below + 1).clamp(max=rows.shape[0] - 1)
    return torch.lerp(rows[below], rows[above], (places - below)[:, None].to(rows.dtype))

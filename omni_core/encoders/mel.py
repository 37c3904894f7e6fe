"""Causal log-mel spectrogram with a fixed floor: 80 bands, 25 ms windows, 100 frames a second at 16 kHz.

Frame t looks at the 400 samples that end with sample 160 * (t + 1); before the start there is silence. Nothing depends on
the clip's loudness or end (as Whisper's log-mel does), so a stream gives the same frames as the whole clip.
"""

from __future__ import annotations

import math

import torch
from torch import nn

SAMPLE_RATE = 16_000
HOP = 160
WINDOW = 400
HISTORY = WINDOW - HOP  #: samples before a frame's own hop that its window covers
_FFT = 512
_LOW_HZ, _HIGH_HZ = 60.0, 7600.0
FLOOR = 1e-6  #: power added before the logarithm: what is quieter counts as silence
_CENTRE, _SCALE = 7.0, 0.25  # bring silence to about -1.7 and loud speech to about 2


class LogMel(nn.Module):
    """Waveforms [..., N] float32 to scaled log-mel [..., T, mels], T = N // 160."""

    window: torch.Tensor
    bands: torch.Tensor

    def __init__(self, mels: int) -> None:
        super().__init__()
        window = torch.hann_window(WINDOW, periodic=True)
        self.register_buffer("window", window / window.square().sum().sqrt(), persistent=False)
        self.register_buffer("bands", mel_bands(mels), persistent=False)  # [FFT/2+1, mels]

    def forward(self, wave: torch.Tensor, history: torch.Tensor | None = None) -> torch.Tensor:
        """`history`: the 240 samples before `wave` (default: silence)."""
        return log_power(self.power(wave, history))

    def power(self, wave: torch.Tensor, history: torch.Tensor | None = None) -> torch.Tensor:
        """Mel power [..., T, mels] before the logarithm, for augmentation."""
        if history is None:
            history = wave.new_zeros((*wave.shape[:-1], HISTORY))
        frames = torch.cat([history, wave], dim=-1).unfold(-1, WINDOW, HOP)  # [..., T, WINDOW]
        spectrum = torch.fft.rfft(frames * self.window, n=_FFT)
        return (spectrum.real.square() + spectrum.imag.square()) @ self.bands


def log_power(power: torch.Tensor) -> torch.Tensor:
    """Mel power to the encoder's input scale."""
    return ((power + FLOOR).log() + _CENTRE) * _SCALE


def mel_bands(mels: int) -> torch.Tensor:
    """Triangular bands [257, mels], evenly spaced on Slaney's mel scale (linear below 1 kHz), each averaging its bins' power."""
    hz = _from_mel(torch.linspace(_to_mel(_LOW_HZ), _to_mel(_HIGH_HZ), mels + 2, dtype=torch.float64))
    bins = torch.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - hz[:-2]) / (hz[1:-1] - hz[:-2])
    falling = (hz[2:] - bins) / (hz[2:] - hz[1:-1])
    bands = torch.minimum(rising, falling).clamp_min(0)
    return (bands / bands.sum(0)).float()


_MEL_HZ, _LOG_HZ = 200.0 / 3, 1000.0
_LOG_MEL = _LOG_HZ / _MEL_HZ
_LOG_STEP = math.log(6.4) / 27


def _to_mel(hz: float) -> float:
    return hz / _MEL_HZ if hz < _LOG_HZ else _LOG_MEL + math.log(hz / _LOG_HZ) / _LOG_STEP


def _from_mel(mel: torch.Tensor) -> torch.Tensor:
    return torch.where(mel < _LOG_MEL, mel * _MEL_HZ, _LOG_HZ * torch.exp((mel - _LOG_MEL) * _LOG_STEP))

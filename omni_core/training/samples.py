"""What a listener can look at while a run goes on: spectrograms as pictures."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray

from omni_core.codec.causal import mel_filters

_FFT, _HOPS_PER_S, _BANDS = 1024, 100, 80
_RANGE_DB = 80.0  #: below the loudest point: black
_PIXELS = 3  # height of a band
#: Dark to bright with even steps of lightness, as matplotlib's "magma": sRGB at equal distances.
_COLOURS = ((0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97), (254, 194, 135), (252, 253, 191))


def spectrogram(wave: NDArray[np.float32], rate: int) -> NDArray[np.uint8]:
    """A log-mel picture [3, 240, T] of `wave` [N] at `rate` Hz: 10 ms a column, low sounds at the bottom, 80 dB from black to white."""
    hop = rate // _HOPS_PER_S
    padded = torch.nn.functional.pad(torch.from_numpy(np.ascontiguousarray(wave, np.float32)), (_FFT // 2, _FFT // 2))
    power = torch.fft.rfft(padded.unfold(-1, _FFT, hop) * torch.hann_window(_FFT)).abs().square()  # [T, FFT/2+1]
    level = 10 * (power @ _filters(rate)).clamp(min=1e-10).log10()  # [T, bands]
    shade = ((level - level.max()) / _RANGE_DB + 1).clamp(0, 1).numpy()
    steps = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(shade, steps, [colour[channel] for colour in _COLOURS]) for channel in range(3)])  # [3, T, bands]
    return colours.transpose(0, 2, 1)[:, ::-1].round().astype(np.uint8).repeat(_PIXELS, axis=1)


@functools.cache
def _filters(rate: int) -> torch.Tensor:
    return mel_filters(_BANDS, _FFT, rate)

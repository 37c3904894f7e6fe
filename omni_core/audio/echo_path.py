"""The way of sound from a loudspeaker to a microphone: how long it takes, and what a room makes of it.

Owns the search for the delay and the adaptive filter. Whether what is left is somebody's voice, `echo` decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
Powers = NDArray[np.float32]  #: by band, or by bin
Spectra = NDArray[np.complex64]

RATE = 24_000  #: Hz, of microphone and playback
BLOCK = 384  #: samples that are taken apart at once: half a window of the speech detector (16 ms)
PARTITIONS = 10  #: blocks of room that the filter covers (160 ms)

_MARGIN = 192  # samples that the filter begins before the delay found: the loudest path isn't always the first
_BINS = 257  # of 385: up to 8 kHz, all that the speech detector hears
_PRIOR = np.exp(-0.5 * np.arange(PARTITIONS, dtype=np.float32))[:, None]  # the power of an unknown room, block by block
_KEPT = np.float32(0.995)  # how much of what is known about the room is still true a block later
_SMOOTHING = np.float32(0.7)  # a block, of the power of what is no echo: fast, so that another voice stops the filter at once
_LEARNT = np.float32(0.2)  # of the certainty that theory gives to a block: its frequencies aren't independent
_SILENCE = np.float32(1e-9)  # power of a bin: never divide by 0

_DECIMATION, _SEARCH_SIZE = 3, 8192  # the search works at 8 kHz
_LOWEST = 150 * _SEARCH_SIZE * _DECIMATION // RATE  # bin of 150 Hz: below is rumble
_EDGES = np.array([5, 8, 11, 14, 18, 22, 27, 32, 37, 44, 51, 59, 69, 80, 93, 109, 128, 154, 186, 224])  # bins of 31.25 Hz: 150 Hz to 7 kHz
BANDS = len(_EDGES) - 1


class Split(NamedTuple):
    """A block of the microphone without its echo [384], and by band the power of that, of the echo, and of what the echo may be wrong by."""

    rest: Wave
    power: Powers
    echo: Powers
    doubt: Powers


class Path:
    """A filter from `delay` samples on, how sure its weights are, and the playback that it needs."""

    def __init__(self, delay: int, weights: Spectra | None = None, variance: Powers | None = None) -> None:
        self.delay = delay
        self._weights = np.zeros((PARTITIONS, _BINS), np.complex64) if weights is None else weights
        self._variance = np.repeat(_PRIOR, _BINS, axis=1) if variance is None else variance
        self._playback = np.zeros_like(self._weights)  # the newest blocks, newest first
        self._other: Powers | None = None  # of what is no echo, by bin
        self._turn = 0

    def moved(self, samples: int) -> Path:
        """The same room, heard so much later."""
        return Path(self.delay + samples, self._weights, self._variance)

    def needs(self, begin: int, blocks: int = 1) -> tuple[int, int]:
        """Where the playback lies that `follow` needs for the block of the microphone from `begin` on, or that `restart` needs before it."""
        end = begin - self.delay + _MARGIN + BLOCK
        return end - (blocks + 1) * BLOCK, end

    def restart(self, played: Wave) -> None:
        """Go on after a gap: `played` is what is needed for `PARTITIONS` blocks."""
        self._playback = _windows(played)

    def follow(self, microphone: Wave, played: Wave) -> Split:
        """Take one block apart and learn from it: a partitioned Kalman filter in the frequency domain (Enzner and Vary, Signal Processing, 2006)."""
        self._playback = np.concatenate([_windows(played), self._playback[:-1]])
        spectrum = (self._weights * self._playback).sum(0)
        rest = microphone - _irfft(spectrum, 2 * BLOCK)[BLOCK:]
        error = _spectra(rest)
        power = _power(error)
        if self._other is None:
            self._other = power
        self._other += (1 - _SMOOTHING) * (power - self._other)
        playback_power = _power(self._playback)
        doubt = np.float32(0.5) * (self._variance * playback_power).sum(0)  # half of each window of two blocks is the block
        gain = self._variance / (doubt + self._other + _SILENCE)
        self._weights = self._weights + gain * self._playback.conj() * error
        self._turn = (self._turn + 1) % PARTITIONS
        room = _irfft(self._weights[self._turn], 2 * BLOCK)
        room[BLOCK:] = 0  # a partition is one block long: one at a time, which costs less than all and follows faster
        self._weights[self._turn] = _rfft(room)[:_BINS]
        self._variance = self._variance * (_KEPT - _KEPT * _LEARNT * gain * playback_power) + (1 - _KEPT) * _power(self._weights)
        return Split(rest, _bands(power), _bands(np.float32(0.5) * _power(spectrum)), _bands(doubt))


def find(sound: Wave, played: Wave, near: int | None, reach: int, far: float) -> tuple[int, float]:
    """Where in `played` [L + m] is `sound` [m]? Samples from the ends of both back to there, at most L, and the correlation there, 0..1.

    Spectra are flattened, playback's more, so that a voice's harmonics are not taken for a delay. Correlation more than `reach` samples
    from `near` counts `far` times.
    """
    sound, played = (wave[::3] + wave[1::3] + wave[2::3] for wave in (sound, played))
    first, second = (_rfft(wave, _SEARCH_SIZE) for wave in (sound, played))
    first /= _flattening(first) ** 2
    second /= _flattening(second) ** 3
    first[:_LOWEST] = second[:_LOWEST] = 0
    lags = len(played) - len(sound)
    product = _irfft(first * second.conj(), _SEARCH_SIZE)
    product = np.abs(np.concatenate([product[-lags:], product[:1]]))
    sound, played = _irfft(first, _SEARCH_SIZE)[: len(sound)], _irfft(second, _SEARCH_SIZE)[: len(played)]
    sums = np.concatenate([[0.0], np.cumsum(np.square(played, dtype=np.float64))])
    energy = (sums[len(sound) :] - sums[: lags + 1])[::-1]
    correlation = product / np.sqrt(float(sound @ sound) * np.maximum(energy, 0.1 * energy.max()) + 1e-20)
    if near is not None:
        correlation[: max(0, (near - reach) // _DECIMATION)] *= far
        correlation[(near + reach) // _DECIMATION :] *= far
    lag = int(correlation.argmax())
    return lag * _DECIMATION, float(correlation[lag])


def _spectra(blocks: Wave) -> Spectra:
    """Of blocks [..., 384] after as many zeros: [..., bins]."""
    return _rfft(np.concatenate([np.zeros_like(blocks), blocks], axis=-1))[..., :_BINS]


def band_powers(blocks: Wave) -> Powers:
    """Of blocks [..., 384]: [..., BANDS]."""
    return _bands(_power(_spectra(blocks)))


def _rfft(wave: Wave, size: int | None = None) -> Spectra:
    return np.fft.rfft(wave, size).astype(np.complex64, copy=False)


def _irfft(spectrum: Spectra, size: int) -> Wave:
    return np.fft.irfft(spectrum, size).astype(np.float32, copy=False)


def _windows(played: Wave) -> Spectra:
    """Of each two blocks that follow each other, the newest first: [blocks - 1, bins]."""
    blocks = played.reshape(-1, BLOCK)
    return _rfft(np.concatenate([blocks[:-1], blocks[1:]], axis=1)[::-1])[:, :_BINS]


def _flattening(spectrum: Spectra) -> Powers:
    """The fourth root of a spectrum's magnitude, never 0."""
    power = _power(spectrum)
    return (power + np.float32(1e-6) * power.max() + np.float32(1e-20)) ** np.float32(0.125)


def _power(spectrum: Spectra) -> Powers:
    return spectrum.real**2 + spectrum.imag**2


def _bands(power: Powers) -> Powers:
    return np.add.reduceat(power[..., : _EDGES[-1]], _EDGES[:-1], axis=-1)

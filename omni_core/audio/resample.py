"""Change of sample rate with soxr, for a whole sound at once and chunk by chunk."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from omni_core.errors import AudioError


def resample(samples: NDArray[np.float32], source_rate: int, target_rate: int) -> NDArray[np.float32]:
    """float32 [n] at `source_rate` Hz -> float32 [about n * target / source]. Raises AudioError for a rate that is not positive."""
    _check_rates(source_rate, target_rate)
    if source_rate == target_rate or not len(samples):
        return samples
    return soxr.resample(samples, source_rate, target_rate).astype(np.float32, copy=False)


class Resampler:
    """The same for sound that arrives in pieces: what `push` and `flush` give, joined, is one continuous sound.

    `quality` is soxr's: "HQ" trails its input by about 25 ms, "LQ" by about 6 ms (24 -> 16 kHz), which is enough for a detector.
    """

    def __init__(self, source_rate: int, target_rate: int, quality: str = "HQ") -> None:
        _check_rates(source_rate, target_rate)
        self._rates = (source_rate, target_rate, quality)
        self.reset()

    def reset(self) -> None:
        """Forget what was pushed."""
        source, target, quality = self._rates
        self._stream = None if source == target else soxr.ResampleStream(source, target, 1, dtype="float32", quality=quality)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The samples at the new rate that are ready now, possibly none."""
        return samples if self._stream is None else self._stream.resample_chunk(np.ascontiguousarray(samples, np.float32))

    def flush(self) -> NDArray[np.float32]:
        """The rest; ready for another sound afterwards."""
        empty = np.zeros(0, np.float32)
        rest = empty if self._stream is None else self._stream.resample_chunk(empty, last=True)
        self.reset()
        return rest


def _check_rates(*rates: int) -> None:
    for rate in rates:
        if rate <= 0:
            raise AudioError(f"a sample rate of {rate} Hz is impossible: give the rate of the recording, for example 24000")

"""G.711, as telephones carry speech: one byte per sample on a logarithmic scale, mu-law or A-law (ITU-T G.711), by table.

Samples are int16, as everywhere here; mu-law's 14 bits and A-law's 13 are their upper bits.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np

Law = Literal["audio/pcmu", "audio/pcma"]

RATE = 8_000  #: Hz

_MU_BIAS = 0x84  # makes every segment begin at a power of two
_MU_CLIP = 32_635  # more would leave the last segment
_A_FLIP = 0x55  # A-law inverts every other bit on the line


def decode(law: Law, data: bytes) -> np.ndarray:
    """Samples [N] int16 of N bytes."""
    return _levels(law)[np.frombuffer(data, np.uint8)]


def encode(law: Law, samples: np.ndarray) -> bytes:
    """N bytes of samples [N] int16."""
    return _codes(law)[samples.view(np.uint16)].tobytes()


@cache
def _levels(law: Law) -> np.ndarray:
    """The sample that each byte stands for: [256] int16."""
    code = np.arange(256)
    if law == "audio/pcmu":
        code = ~code & 0xFF
        magnitude = (((code & 0x0F) << 3) + _MU_BIAS << (code >> 4 & 7)) - _MU_BIAS
        return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)
    code ^= _A_FLIP
    segment, step = code >> 4 & 7, (code & 0x0F) << 4
    magnitude = np.where(segment == 0, step + 8, step + 0x108 << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


@cache
def _codes(law: Law) -> np.ndarray:
    """The byte for each sample, by its bits as uint16: [65536] uint8."""
    sample = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)
    if law == "audio/pcmu":
        magnitude = np.minimum(np.abs(sample), _MU_CLIP) + _MU_BIAS
        segment = _log2(magnitude) - 7
        code = segment << 4 | (magnitude >> (segment + 3) & 0x0F)
        return (~(code | np.where(sample < 0, 0x80, 0)) & 0xFF).astype(np.uint8)
    magnitude = np.where(sample < 0, ~sample, sample)
    segment = np.maximum(_log2(np.maximum(magnitude, 1)) - 7, 0)
    code = segment << 4 | (magnitude >> (np.maximum(segment, 1) + 3) & 0x0F)
    return ((code | np.where(sample < 0, 0, 0x80)) ^ _A_FLIP).astype(np.uint8)


def _log2(values: np.ndarray) -> np.ndarray:
    """The number of each value's highest bit."""
    return np.frexp(values)[1] - 1

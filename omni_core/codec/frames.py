"""Frames of 7 codes <-> SNAC's three levels, and what to do with an id that is no code (model-facts section 3).

Frame f holds c1[f], c2[2f], c3[4f], c3[4f+1], c2[2f+1], c3[4f+2], c3[4f+3]. Everything here takes and returns numpy arrays or tensors alike.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import torch

Array = TypeVar("Array", np.ndarray, torch.Tensor)

LEVEL_COLUMNS = ((0,), (1, 4), (2, 3, 5, 6))  #: columns of a frame that hold levels 1, 2 and 3, in the order of time


def unpack_frames(frames: Array) -> tuple[Array, Array, Array]:
    """Frames [..., F, 7] -> levels ([..., F], [..., 2F], [..., 4F]). ValueError unless the last axis is 7."""
    if frames.shape[-1] != 7:
        raise ValueError(f"a frame has 7 codes, got an array of shape {tuple(frames.shape)}")
    c1, c2, c3 = (cast(Array, frames[..., list(columns)].reshape(*frames.shape[:-2], -1)) for columns in LEVEL_COLUMNS)
    return c1, c2, c3


def pack_frames(c1: Array, c2: Array, c3: Array) -> Array:
    """Levels ([..., F], [..., 2F], [..., 4F]) -> frames [..., F, 7]. ValueError when the lengths don't fit."""
    count = c1.shape[-1]
    if c2.shape[-1] != 2 * count or c3.shape[-1] != 4 * count:
        raise ValueError(f"levels must be F, 2F and 4F long, got {count}, {c2.shape[-1]} and {c3.shape[-1]}")
    columns = (c1, c2[..., 0::2], c3[..., 0::4], c3[..., 1::4], c2[..., 1::2], c3[..., 2::4], c3[..., 3::4])
    stack: Any = torch.stack if isinstance(c1, torch.Tensor) else np.stack
    return stack(columns, -1)


def repair_frames(frames: Array, codes: int, previous: Array | None = None) -> Array:
    """Replace every id that is no code by the same layer's code of the frame before; no frame is dropped, so text and time stay aligned.

    frames [F, 7] of ids local to their layer; an id outside 0 .. codes-1 is no code. previous [7] is the (repaired) frame before the first; without
    it the fallback is 0. Returns a new array [F, 7].
    """
    repaired = frames.clone() if isinstance(frames, torch.Tensor) else frames.copy()
    bad = (repaired < 0) | (repaired >= codes)
    for f in range(len(repaired)):
        if bad[f].any():
            before = repaired[f - 1] if f else previous
            repaired[f][bad[f]] = 0 if before is None else before[bad[f]]
    return repaired

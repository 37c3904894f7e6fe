"""The delay pattern: audio layer k (0..6) starts at step k + 1, so one step holds codes of seven different frames.

    step     0      1      2     ...   F+1    F+2
    layer 0  pad_a  c[0,0] c[1,0] ...  eoa    pad_a
    layer 1  pad_a  pad_a  c[0,1] ...  c[F-1] eoa
    text     t0     t1     t2     ...

Source: Mini-Omni2's paper, section on delayed-parallel decoding, and the reference's de-delayed frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from omni_core.tokens.layout import AUDIO_LAYERS, TokenLayout


def apply_delay(frames: NDArray[np.integer], layout: TokenLayout) -> NDArray[np.int64]:
    """[F, 7] codes -> [7, F + 8] steps: each layer's pad_a, its codes, its eoa, then pad_a.

    Layer 6 starts at step 7, so its eoa, which ends the answer, is at step F + 7.
    """
    count = len(frames)
    steps = np.full((AUDIO_LAYERS, count + AUDIO_LAYERS + 1), layout.pad_a, np.int64)
    for layer in range(AUDIO_LAYERS):
        start = layer + 1
        steps[layer, start : start + count] = frames[:, layer]
        steps[layer, start + count] = layout.eoa
    return steps


def revert_delay(steps: NDArray[np.integer], layout: TokenLayout) -> NDArray[np.int64]:
    """[7, S] steps -> [F, 7]: the finished frames before the first one whose layer 0 is eoa."""
    buffer = DelayBuffer(layout)
    for step in np.asarray(steps).T:
        buffer.push(step)
    return buffer.pop()


class DelayBuffer:
    """Turns steps into frames as they are generated.

    Push one step's seven ids, pop the frames that are finished: frame f once step f + 7 is in. A frame whose layer 0 is eoa ends the audio: it and
    all after it are never popped, and `ended` is True.
    """

    def __init__(self, layout: TokenLayout) -> None:
        self._eoa = layout.eoa
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next push is step 0."""
        self._steps: deque[Sequence[int] | NDArray[np.integer]] = deque(maxlen=AUDIO_LAYERS)
        self._frames: list[list[int]] = []
        self._pushed = 0
        self.ended = False

    def push(self, step: Sequence[int] | NDArray[np.integer]) -> None:
        """One step's seven ids, local to their layers."""
        self._steps.append(step)
        self._pushed += 1
        if self._pushed <= AUDIO_LAYERS or self.ended:
            return
        frame = [int(self._steps[layer][layer]) for layer in range(AUDIO_LAYERS)]
        if frame[0] == self._eoa:
            self.ended = True
        else:
            self._frames.append(frame)

    def pop(self) -> NDArray[np.int64]:
        """[k, 7]: the frames finished since the last pop, k >= 0."""
        frames = np.array(self._frames, np.int64).reshape(-1, AUDIO_LAYERS)
        self._frames.clear()
        return frames

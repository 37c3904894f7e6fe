"""The delay pattern: whole, and step by step."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from omni_core.config import LayoutConfig
from omni_core.tokens import AUDIO_LAYERS, DelayBuffer, TokenLayout, apply_delay, revert_delay

LAYOUT = TokenLayout.from_config(LayoutConfig(100, 110, 64, 80))
frames_of_codes = st.integers(0, 20).flatmap(lambda n: arrays(np.int64, (n, AUDIO_LAYERS), elements=st.integers(0, LAYOUT.codes - 1)))


def test_each_layer_starts_a_step_later() -> None:
    steps = apply_delay(np.arange(14).reshape(2, 7), LAYOUT)
    pad, eoa = LAYOUT.pad_a, LAYOUT.eoa
    assert steps[0].tolist() == [pad, 0, 7, eoa, pad, pad, pad, pad, pad, pad]
    assert steps[6].tolist() == [pad, pad, pad, pad, pad, pad, pad, 6, 13, eoa]


@given(frames_of_codes)
def test_revert_undoes_apply(frames: np.ndarray) -> None:
    steps = apply_delay(frames, LAYOUT)
    assert steps.shape == (AUDIO_LAYERS, len(frames) + 8)
    np.testing.assert_array_equal(revert_delay(steps, LAYOUT), frames)


@given(frames_of_codes, st.lists(st.booleans(), min_size=40, max_size=40))
def test_any_rhythm_of_pops_gives_the_same_frames(frames: np.ndarray, pops: list[bool]) -> None:
    buffer, popped = DelayBuffer(LAYOUT), []
    for step, pop in zip(apply_delay(frames, LAYOUT).T, pops, strict=False):
        buffer.push(step)
        if pop:
            popped.append(buffer.pop())
    popped.append(buffer.pop())
    np.testing.assert_array_equal(np.concatenate(popped), frames)
    assert buffer.ended


@given(frames_of_codes, st.integers(0, 30))
def test_a_frame_is_ready_seven_steps_after_its_first_step(frames: np.ndarray, cut: int) -> None:
    steps = apply_delay(frames, LAYOUT)[:, :cut]
    ready = revert_delay(steps, LAYOUT)
    np.testing.assert_array_equal(ready, frames[: max(0, cut - AUDIO_LAYERS)])


def test_ids_that_are_no_codes_stay_for_the_codec() -> None:
    frames = np.full((3, 7), 5)
    frames[1, 2:5] = LAYOUT.eoa, LAYOUT.pad_a, LAYOUT.audio_rows - 1
    np.testing.assert_array_equal(revert_delay(apply_delay(frames, LAYOUT), LAYOUT), frames)


def test_nothing_comes_after_the_end_until_reset() -> None:
    buffer = DelayBuffer(LAYOUT)
    for _ in range(2):
        for step in apply_delay(np.zeros((2, 7), np.int64), LAYOUT).T:
            buffer.push(step)
        for _ in range(9):
            buffer.push([1] * 7)
        assert buffer.ended
        assert len(buffer.pop()) == 2
        buffer.reset()
        assert not buffer.ended

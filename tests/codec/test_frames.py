"""7 codes of a frame <-> SNAC's three levels, and ids that are no code."""

import numpy as np
import pytest
import torch

from omni_core.codec.frames import pack_frames, repair_frames, unpack_frames


def test_a_frame_lists_its_codes_in_the_order_of_the_released_model():
    c1, c2, c3 = np.array([10, 11]), np.array([20, 21, 22, 23]), np.arange(30, 38)
    frames = pack_frames(c1, c2, c3)
    # c1[f], c2[2f], c3[4f], c3[4f+1], c2[2f+1], c3[4f+2], c3[4f+3]
    assert frames.tolist() == [[10, 20, 30, 31, 21, 32, 33], [11, 22, 34, 35, 23, 36, 37]]


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("shape", [(0, 7), (1, 7), (5, 7), (3, 4, 7)])
def test_unpacking_and_packing_are_inverse(kind, shape):
    frames = kind(np.random.default_rng(0).integers(0, 1024, shape))
    levels = unpack_frames(frames)
    assert [tuple(level.shape) for level in levels] == [(*shape[:-2], n * shape[-2]) for n in (1, 2, 4)]
    assert (pack_frames(*levels) == frames).all()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="7 codes"):
        unpack_frames(np.zeros((3, 8), int))
    with pytest.raises(ValueError, match="F, 2F and 4F"):
        pack_frames(np.zeros(2, int), np.zeros(3, int), np.zeros(8, int))


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_an_id_that_is_no_code_takes_the_code_before_and_no_frame_is_dropped(kind):
    eoa, pad = 100, 101
    frames = kind(np.array([[1, pad, 3, 4, 5, 6, 7], [10, 11, eoa, 13, -1, 15, 16], [20, 21, pad, 23, 24, 25, eoa]]))
    repaired = repair_frames(frames, 100)
    assert repaired.tolist() == [[1, 0, 3, 4, 5, 6, 7], [10, 11, 3, 13, 5, 15, 16], [20, 21, 3, 23, 24, 25, 16]]
    assert frames[0, 1] == pad  # the argument is left alone


def test_the_frame_before_a_chunk_serves_its_first_frame():
    frames = torch.tensor([[1, 200, 3, 4, 5, 6, 7]])
    assert repair_frames(frames, 100, previous=torch.arange(50, 57)).tolist() == [[1, 51, 3, 4, 5, 6, 7]]
    assert repair_frames(frames[:0], 100).shape == (0, 7)

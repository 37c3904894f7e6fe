"""The figures of `omni bench`, on nano: that they are there, and hang together. What they are is the machine's business."""

import numpy as np
import pytest
import torch

from omni_core.bench import measure_agreement, measure_batch, measure_machine, measure_parts, measure_users
from omni_core.bench.floor import bytes_per_position, step_bytes, step_operations
from omni_core.checkpoint import Bundle, load_bundle
from omni_core.checkpoint.precision import load_to_serve
from omni_core.checkpoint.random import FULL
from omni_core.config import Precision
from omni_core.models import OmniModel
from omni_core.models.int8 import supported


@pytest.fixture(scope="module")
def nano() -> Bundle:
    return load_bundle("nano", "cpu")


@pytest.fixture(scope="module")
def full() -> OmniModel:
    """The released size, without weights."""
    with torch.device("meta"):
        return OmniModel(FULL).to(torch.bfloat16)


def test_the_arithmetic_of_the_released_size(full):
    """As in the released model's paper: 24 layers of width 896, two key-value heads of 64; 358 M weights in layers, 136 M and 26 M in heads."""
    assert bytes_per_position(full) == 12_288
    assert step_bytes(full, Precision.BFLOAT16, rows=2, positions=0) == pytest.approx(1.04e9, rel=0.01)
    assert step_bytes(full, Precision.INT8, rows=2, positions=0) == pytest.approx(0.52e9, rel=0.01)
    assert step_bytes(full, Precision.BFLOAT16, rows=2, positions=500) - step_bytes(full, Precision.BFLOAT16, 2, 0) == 1000 * 12_288
    assert step_operations(full, users=1, positions=0) == pytest.approx(1.76e9, rel=0.01)


def test_a_batch_is_measured_beside_what_the_machine_allows(nano):
    machine = measure_machine(torch.device("cpu"), Precision.FLOAT32)
    figures = measure_batch(nano, machine, Precision.FLOAT32, users=2, question_s=0.5, steps=5)
    assert (figures.users, figures.rows) == (2, 4)
    assert 0 < figures.step_ms <= figures.step_ms_p99
    assert figures.floor_share == pytest.approx(figures.floor_ms / figures.step_ms)
    assert figures.rtf == pytest.approx(figures.frame_ms / (2048 / 24), rel=1e-6)


def test_the_parts_of_a_cold_answer_are_in_it(nano):
    parts = measure_parts(nano, 0.5)
    assert None not in (parts.encode_ms, parts.see_ms, parts.codec_encode_ms, parts.codec_decode_ms, parts.first_audio_ms)
    assert (parts.first_audio_ms or 0) > parts.prefill_ms > 0


def test_users_talk_in_real_time_and_are_listened_to(nano):
    shares: list[float] = []
    talk = measure_users(nano, users=2, seconds=8.0, question_s=0.5, progress=shares.append)
    assert talk.listening
    assert talk.answers > 0
    assert talk.chunks >= talk.late_chunks
    assert talk.keeps_up == (talk.late_ms_p99 <= 0)
    assert talk.status_ms_p99 is not None
    assert shares[-1] <= 1
    assert np.all(np.diff(shares) >= 0)


@pytest.mark.skipif(not supported(), reason="int8 needs an x86 processor with AVX2")
def test_nano_says_the_same_in_fewer_bits(nano):
    """The guard on what is chosen by default; `omni bench --agreement` asks forty questions."""
    bundle, _ = load_to_serve("nano", "cpu", Precision.INT8)
    agreement = measure_agreement(nano, bundle.model, ["Who are you?", "Tell me a joke."])
    assert agreement.steps > 50
    assert agreement.text > 0.97
    assert agreement.audio > 0.97

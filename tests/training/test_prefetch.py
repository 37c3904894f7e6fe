"""Batches made ahead: order, start, errors."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from omni_core.errors import DataError
from omni_core.training.prefetch import batches


@dataclass(frozen=True)
class Made:
    step: int
    values: torch.Tensor


def make(step: int) -> Made:
    if step == 9:
        raise DataError("row 9 is empty")
    return Made(step, torch.full((3,), float(step)))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_step_order_from_any_start_and_leave_the_global_generator_alone(workers: int) -> None:
    before = torch.get_rng_state()
    made = list(batches(make, 2, 9, workers))
    assert [batch.step for batch in made] == list(range(2, 9))
    assert all(torch.equal(batch.values, torch.full((3,), float(batch.step))) for batch in made)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_data_arrives_as_it_was_raised(workers: int) -> None:
    with pytest.raises(DataError, match=r"^row 9 is empty$"):
        list(batches(make, 8, 12, workers))

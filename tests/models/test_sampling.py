"""Drawing ids: greedy exactly, chances as asked for, and each row on its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from omni_core.config import SamplingParams
from omni_core.models.sampling import CANDIDATES, Sampling, candidates, sample

LOGITS = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))


def table(*params: SamplingParams) -> Sampling:
    sampling = Sampling.greedy(len(params), "cpu")
    for row, each in enumerate(params):
        sampling.set(row, each)
    return sampling


def draw(logits: Tensor, *params: SamplingParams, step: int = 0) -> Tensor:
    """[R, V] -> [R]"""
    return sample(logits[:, None], table(*params), torch.full((len(logits),), step))[:, 0]


def drawn(params: SamplingParams, times: int = 4000, logits: Tensor = LOGITS[0]) -> Tensor:
    """Share of each id in many steps."""
    sampling = table(params).of(torch.zeros(times, dtype=torch.int64))
    ids = sample(logits.expand(times, 1, -1), sampling, torch.arange(times))
    return torch.bincount(ids[:, 0], minlength=len(logits)) / times


def test_greedy_is_argmax_and_the_lowest_id_on_a_tie() -> None:
    logits = LOGITS.clone()
    logits[0, [7, 30]] = 9.0
    ids = draw(logits, SamplingParams(), SamplingParams(1.0, top_k=1), SamplingParams(), SamplingParams(1.0, seed=1))
    assert ids[0] == 7
    assert torch.equal(ids[:3], logits.argmax(-1)[:3])


def test_rows_do_not_see_their_neighbours() -> None:
    params = [SamplingParams(), SamplingParams(1.0, seed=1), SamplingParams(0.7, top_k=5, seed=2), SamplingParams(2.0, top_p=0.8, seed=2)]
    for step in range(20):
        together = draw(LOGITS, *params, step=step)
        assert torch.equal(together, torch.cat([draw(LOGITS[row : row + 1], params[row], step=step) for row in range(4)]))


def test_seeds_steps_and_streams_each_have_their_own_noise() -> None:
    same = torch.zeros(64, 7, 900)
    sampling = table(*(SamplingParams(1.0, seed=seed) for seed in (0, 1, -1, 1 << 63))).of(torch.arange(64) % 4)
    ids = sample(same, sampling, torch.arange(64) // 4)
    assert len(ids.unique()) > 0.7 * 900 * (1 - 2.718 ** (-ids.numel() / 900))  # as many different ones as independent draws give
    assert torch.equal(sample(same[..., 2:3, :], sampling, torch.arange(64) // 4, first_stream=2), ids[:, 2:3])


def test_frequencies_follow_the_softmax() -> None:
    assert (drawn(SamplingParams(1.0, seed=5)) - LOGITS[0].softmax(-1)).abs().max() < 0.03
    assert (drawn(SamplingParams(0.5, seed=5)) - (LOGITS[0] / 0.5).softmax(-1)).abs().max() < 0.03


def test_limits_keep_the_likeliest() -> None:
    order = LOGITS[0].argsort(descending=True)
    assert set(drawn(SamplingParams(1.0, top_k=4)).nonzero()[:, 0].tolist()) == set(order[:4].tolist())
    probabilities = LOGITS[0].softmax(-1)[order]
    kept = int((probabilities.cumsum(0) < 0.5).sum()) + 1
    assert set(drawn(SamplingParams(1.0, top_p=0.5)).nonzero()[:, 0].tolist()) == set(order[:kept].tolist())
    assert drawn(SamplingParams(1.0, top_p=1e-6)).argmax() == order[0]
    few = probabilities[:4] / probabilities[:4].sum()  # top-p is a share of what top-k left
    kept = int((few.cumsum(0) < 0.6).sum()) + 1
    assert set(drawn(SamplingParams(1.0, top_k=4, top_p=0.6)).nonzero()[:, 0].tolist()) == set(order[:kept].tolist())


@pytest.mark.parametrize("params", [SamplingParams(10.0, top_p=0.999, seed=3), SamplingParams(10.0, top_k=CANDIDATES + 50, seed=3)])
def test_a_limit_leaves_so_many_candidates_at_most(params: SamplingParams) -> None:
    logits = torch.arange(CANDIDATES + 100, 0, -1) * 1e-4
    found = drawn(params, 3000, logits).nonzero()[:, 0]
    assert found.max() < CANDIDATES
    assert len(found) > CANDIDATES * 0.9


def test_no_more_candidates_are_looked_for_than_are_needed() -> None:
    needed = {SamplingParams(): -1, SamplingParams(1.0, top_k=1): -1, SamplingParams(1.0): 0, SamplingParams(1.0, top_k=9, top_p=0.5): 9}
    for params, count in {**needed, SamplingParams(1.0, top_p=0.5): CANDIDATES}.items():
        assert candidates(params) == count
        if count >= 0:
            sampling, steps = table(params).of(torch.zeros(30, dtype=torch.int64)), torch.arange(30)
            logits = LOGITS[:1, None].expand(30, 1, 50)
            assert torch.equal(sample(logits, sampling, steps, most=count), sample(logits, sampling, steps))

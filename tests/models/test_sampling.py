"""Drawing ids."""

from __future__ import annotations

import torch

from omni_core.config import SamplingParams
from omni_core.models import sample

LOGITS = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_greedy_is_argmax_and_the_lowest_id_on_a_tie() -> None:
    logits = LOGITS.clone()
    logits[0, [7, 30]] = 9.0
    ids = sample(logits, [SamplingParams()] * 4, [None] * 4)
    assert ids[0] == 7
    assert torch.equal(ids, logits.argmax(-1))


def test_rows_do_not_see_their_neighbours() -> None:
    params = [SamplingParams(), SamplingParams(1.0), SamplingParams(0.7, top_k=5), SamplingParams(2.0, top_p=0.8)]
    together = sample(LOGITS, params, generators(0, 1, 2, 3))
    alone = [sample(LOGITS[row : row + 1], params[row : row + 1], generators(row)) for row in range(4)]
    assert torch.equal(together, torch.cat(alone))


def test_several_draws_per_row() -> None:
    logits = torch.randn(2, 7, 50)
    ids = sample(logits, [SamplingParams(), SamplingParams(1.0, top_k=1)], generators(0, 1))
    assert torch.equal(ids, logits.argmax(-1))


def drawn(params: SamplingParams, times: int = 4000) -> torch.Tensor:
    """Share of each id of LOGITS[0] in many draws."""
    logits = LOGITS[:1, None].expand(1, times, 50)
    return torch.bincount(sample(logits, [params], generators(5))[0], minlength=50) / times


def test_frequencies_follow_the_softmax() -> None:
    assert (drawn(SamplingParams(1.0)) - LOGITS[0].softmax(-1)).abs().max() < 0.03
    assert (drawn(SamplingParams(0.5)) - (LOGITS[0] / 0.5).softmax(-1)).abs().max() < 0.03


def test_limits_keep_the_likeliest() -> None:
    order = LOGITS[0].argsort(descending=True)
    assert set(drawn(SamplingParams(1.0, top_k=4)).nonzero()[:, 0].tolist()) == set(order[:4].tolist())
    probabilities = LOGITS[0].softmax(-1)[order]
    kept = int((probabilities.cumsum(0) < 0.5).sum()) + 1
    assert set(drawn(SamplingParams(1.0, top_p=0.5)).nonzero()[:, 0].tolist()) == set(order[:kept].tolist())
    assert drawn(SamplingParams(1.0, top_p=1e-6)).argmax() == order[0]

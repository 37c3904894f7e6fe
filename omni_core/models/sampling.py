"""Drawing token ids from logits, each row by its own parameters and its own generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omni_core.config import SamplingParams


def sample(logits: Tensor, params: Sequence[SamplingParams], generators: Sequence[torch.Generator | None]) -> Tensor:
    """logits [R, V] (or [R, K, V]: K draws with the same parameters) -> ids [R] (or [R, K]).

    params and generators: one per row. Temperature 0 is exactly argmax, the lowest id on a tie. What a row draws depends on its own logits and
    generator alone, not on its neighbours.
    """
    ids = logits.argmax(dim=-1)
    drawn = [row for row, p in enumerate(params) if p.temperature > 0]
    for row in drawn:
        ids[row] = _draw(logits[row].float(), params[row], generators[row])
    return ids


def _draw(logits: Tensor, params: SamplingParams, generator: torch.Generator | None) -> Tensor:
    """[..., V] -> [...]: temperature first, then top-k, then top-p over what is left."""
    logits = logits / params.temperature
    if 0 < params.top_k < logits.shape[-1]:
        top = logits.topk(params.top_k, dim=-1)
        logits = torch.full_like(logits, float("-inf")).scatter(-1, top.indices, top.values)
    if params.top_p < 1.0:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities  # mass of all likelier ids: 0 for the first, so one always stays
        tail = before >= params.top_p
        logits = logits.masked_fill(tail.scatter(-1, order, tail), float("-inf"))
    # The exponential race: argmax of p / Exp(1) is a draw from p, with no copy to the host.
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (logits.softmax(dim=-1) / noise).argmax(dim=-1)

"""Drawing token ids from logits: all rows at once, each by its own limits and its own noise, in shapes that no parameter changes.

The noise is no generator's state but a hash of (seed, step, stream, id), so what a row draws depends on these and its logits alone: not on its
neighbours, on its place in the batch, or on padding beside it. It is splitmix64 (Steele, Lea, Flood 2014) counted by the id, from a start that
seed, step and stream are mixed into. A draw is the exponential race: the id of the smallest E / p with E = -log(1 - u) exponential.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import torch
from torch import Tensor

from omni_core.config import SamplingParams

CANDIDATES = 1024  #: where top-k or top-p limits, ids are drawn from the likeliest so many at most

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # splitmix64's constants, as int64
_MIX = ((30, 0xBF58476D1CE4E5B9 - (1 << 64)), (27, 0x94D049BB133111EB - (1 << 64)))


@dataclass(frozen=True)
class Sampling:
    """`SamplingParams` of R rows, as tensors."""

    temperature: Tensor  #: [R] float32; 0: greedy
    top_k: Tensor  #: [R] int64; 0: no limit
    top_p: Tensor  #: [R] float32
    seed: Tensor  #: [R] int64

    @classmethod
    def greedy(cls, rows: int, device: torch.device | str) -> Sampling:
        """`rows` rows that draw nothing yet."""
        zeros = torch.zeros(rows, dtype=torch.int64, device=device)
        return cls(zeros.float(), zeros, zeros.float() + 1, zeros.clone())

    def set(self, row: int, params: SamplingParams) -> None:
        """Row `row` draws by `params`; without a seed by one that nobody knows."""
        self.temperature[row] = params.temperature if candidates(params) >= 0 else 0.0
        self.top_k[row], self.top_p[row] = params.top_k, params.top_p
        seed = secrets.randbits(64) if params.seed is None else params.seed % (1 << 64)
        self.seed[row] = seed - (1 << 64) if seed >> 63 else seed

    def of(self, rows: Tensor) -> Sampling:
        """These rows."""
        return Sampling(self.temperature[rows], self.top_k[rows], self.top_p[rows], self.seed[rows])


def candidates(params: SamplingParams) -> int:
    """How many of the likeliest ids have to be known to draw by `params`: 0 where nothing limits them, -1 where all is greedy.

    A top_k of 1 is greedy, and among equals must not be a draw.
    """
    if params.temperature == 0 or params.top_k == 1:
        return -1
    return min(params.top_k or CANDIDATES, CANDIDATES) if params.top_k or params.top_p < 1 else 0


def greedy(logits: Tensor) -> Tensor:
    """logits [..., V] -> ids [...]: exactly argmax, the lowest id on a tie."""
    return logits.argmax(dim=-1)


def sample(logits: Tensor, sampling: Sampling, steps: Tensor, first_stream: int = 0, most: int = CANDIDATES) -> Tensor:
    """logits [R, K, V], the streams first_stream .. first_stream+K-1 of each row in its step `steps` [R] -> ids [R, K].

    Temperature first, then top-k, then top-p over what is left; ids that a limit leaves are the likeliest `CANDIDATES` at most.
    most: the largest of the rows' `candidates`, or more, which changes nothing but the work.
    """
    temperature = sampling.temperature[:, None, None]
    scaled = logits.float() / temperature.masked_fill(temperature == 0, 1.0)  # [R, K, V]
    race = scaled - _exponential(sampling.seed, steps, first_stream, scaled).log_()  # log(p / E), but for a constant
    drawn = race.argmax(-1)
    if most > 0:
        has_limit = (sampling.top_k > 0) | (sampling.top_p < 1)
        drawn = torch.where(has_limit[:, None], _among_likeliest(scaled, race, sampling, most), drawn)
    return torch.where(sampling.temperature[:, None] > 0, drawn, greedy(logits))


def _among_likeliest(scaled: Tensor, race: Tensor, sampling: Sampling, most: int) -> Tensor:
    """Who is ahead in `race` of those that top-k and top-p leave: [R, K, V] -> [R, K]."""
    top_k, top_p = sampling.top_k[:, None, None], sampling.top_p[:, None, None]
    likeliest, ids = scaled.topk(min(most, scaled.shape[-1]), dim=-1)  # [R, K, C], best first
    within_k = (top_k == 0) | (torch.arange(ids.shape[-1], device=ids.device) < top_k)
    among = likeliest.masked_fill(~within_k, float("-inf")).logsumexp(-1, keepdim=True)
    total = torch.where(top_k == 0, scaled.logsumexp(-1, keepdim=True), among)  # what top-p is a share of
    mass = (likeliest - total).exp_()
    kept = within_k & (mass.cumsum(-1) - mass < top_p)  # less than top_p is likelier: so for the first, which always stays
    return ids.gather(-1, race.gather(-1, ids).masked_fill(~kept, float("-inf")).argmax(-1, keepdim=True))[..., 0]


def _exponential(seed: Tensor, steps: Tensor, first_stream: int, like: Tensor) -> Tensor:
    """Exp(1) noise of `like`'s shape [R, K, V], float32, above 0."""
    _, streams, ids = like.shape
    stream = torch.arange(first_stream, first_stream + streams, device=like.device)
    start = _mixed(_mixed(seed + _GOLDEN)[:, None] + (steps[:, None] * 8 + stream) * _GOLDEN)  # [R, K]; 8 streams at most
    bits = _mixed(start[..., None] + torch.arange(1, ids + 1, device=like.device) * _GOLDEN)
    uniform = (_shifted(bits, 11).float() + 0.5) * 2.0**-53  # in (0, 1], fine near 0, where races are won
    return uniform.neg_().log1p_().neg_()


def _mixed(x: Tensor) -> Tensor:
    """splitmix64's output function, on int64 that wrap round."""
    for bits, factor in _MIX:
        x = (x ^ _shifted(x, bits)) * factor
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: int64's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)

"""Codebooks in training: k-means seeding, moving averages, rebirth of dead codes. Gradients never reach them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from omni_core.codec.causal import Quantizer


class BookKeeper:
    """Moves one level's codebook: k-means seeding, moving averages of the vectors each code won, rebirth of dead codes."""

    def __init__(self, quantizer: Quantizer, decay: float) -> None:
        self.quantizer, self.decay = quantizer, decay
        self.counts = quantizer.codebook.new_ones(len(quantizer.codebook))
        self.sums = quantizer.codebook.clone()

    @torch.no_grad()
    def seed(self, vectors: torch.Tensor, generator: torch.Generator, rounds: int = 12) -> None:
        """Spherical k-means of [N, code_dim], N at least the number of codes."""
        book = vectors[torch.randperm(len(vectors), generator=generator, device=vectors.device)[: len(self.counts)]].clone()
        for _ in range(rounds):
            index = (vectors @ book.t()).argmax(-1)
            counts = torch.bincount(index, minlength=len(book)).float()
            sums = torch.zeros_like(book).index_add_(0, index, vectors)
            empty = counts == 0
            sums[empty] = _any_of(vectors, int(empty.sum()), generator)
            book = F.normalize(sums, dim=-1)
        self.quantizer.codebook.copy_(book)
        self.counts.fill_(0.1)  # about a batch's share, so that the averages soon count real use
        self.sums.copy_(book * 0.1)

    @torch.no_grad()
    def centre(self, pooled: torch.Tensor, first: bool) -> None:
        """Follow mean and spread of [N, code_dim], without gradient: an encoder that shrinks its latents onto few codes gains nothing."""
        keep = 1.0 if first else 0.02
        self.quantizer.mean.lerp_(pooled.mean(0), keep)
        self.quantizer.scale.lerp_(pooled.std(0).clamp(min=1e-3), keep)

    def correlation(self, pooled: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mean square correlation between the dimensions of [N, code_dim], with gradient.

        Left alone the dimensions of a level follow each other, and its bits go into few of them, finer than anyone hears.
        """
        jitter = 1e-4 * torch.randn(pooled.shape, generator=generator, device=pooled.device)  # a dimension that stands still has no correlation
        correlation = torch.corrcoef((pooled + jitter).t())
        return (correlation - torch.eye(len(correlation), device=pooled.device)).square().mean()

    @torch.no_grad()
    def update(self, vectors: torch.Tensor, index: torch.Tensor) -> None:
        """Take one batch's vectors [N, code_dim] and the codes [N] they were given."""
        keep = 1 - self.decay
        self.counts.mul_(self.decay).add_(torch.bincount(index, minlength=len(self.counts)), alpha=keep)
        self.sums.mul_(self.decay).index_add_(0, index, vectors, alpha=keep)
        self.quantizer.codebook.copy_(F.normalize(self.sums, dim=-1))

    @torch.no_grad()
    def revive(self, vectors: torch.Tensor, generator: torch.Generator) -> int:
        """Put codes that win less than a tenth of their share onto random ones of [N, code_dim]; returns how many."""
        share = self.counts.mean()
        dead = self.counts < share / 10
        count = int(dead.sum())
        if count:
            chosen = _any_of(vectors, count, generator)
            self.quantizer.codebook[dead] = chosen
            self.counts[dead] = share / 2
            self.sums[dead] = chosen * share / 2
        return count


def _any_of(vectors: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    return vectors[torch.randint(len(vectors), (count,), generator=generator, device=vectors.device)]


def usage(index: torch.Tensor, codes: int) -> tuple[int, float]:
    """How many of a level's codes the indices [N] name, and their perplexity: how many codes would carry as much if all were as frequent."""
    counts = torch.bincount(index.flatten(), minlength=codes).double()
    shares = counts[counts > 0] / counts.sum()
    return len(shares), math.exp(-float((shares * shares.log()).sum()))

"""Has the speaker ended, or only paused? One number from what the language model made of the turn so far."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EndOfTurn(nn.Module):
    """A linear head on the backbone's output at the last position of a prompt, where the first word of the answer is about to be chosen."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., width], of the row that gives text -> the logit that the turn has ended, [...] float32."""
        return self.head(hidden.float()).squeeze(-1)

    @torch.inference_mode()
    def probability(self, hidden: Tensor) -> Tensor:
        """[..., width] -> [...] in 0..1."""
        return self.forward(hidden).sigmoid()

"""What a stream keeps between two pushes, in one flat tensor: any set of streams is joined for a pass, and parted again, at the cost of a copy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor


class Place(NamedTuple):
    """Where in a state one layer keeps what it needs again."""

    start: int
    shape: tuple[int, ...]  #: of one stream's part

    def of(self, state: Tensor) -> Tensor:
        """The layer's part [B, *shape] of the states [B, size]: a view, to be read and written."""
        return state[:, self.start : self.start + math.prod(self.shape)].view(-1, *self.shape)


class StateLayout:
    """Hands out places to layers while they are put together. At the start of a stream everything kept is zero."""

    def __init__(self) -> None:
        self.size = 0  #: numbers of one stream

    def keep(self, *shape: int) -> Place:
        """A new place."""
        place = Place(self.size, shape)
        self.size += math.prod(shape)
        return place


@contextmanager
def joined(states: Sequence[Tensor]) -> Iterator[Tensor]:
    """The states [size] of B streams as one tensor [B, size] whose changes reach them when the block ends; if it raises, more than one keep theirs.

    Each stream owns its memory, so that one that rests holds nothing of the others it was joined with.
    """
    if len(states) == 1:
        yield states[0][None]
        return
    state = torch.stack(list(states))
    yield state
    torch._foreach_copy_(list(states), list(state.unbind()))

"""Batches made ahead of the training step that takes them, in worker processes, always in step order.

A batch is a function of its step alone, so a run may start anywhere and the number of workers changes nothing but the speed.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from omni_core.errors import OmniError

T = TypeVar("T")
_AHEAD = 2  # batches that wait, each worker's


def batches(make: Callable[[int], T], start: int, stop: int, workers: int) -> Iterator[T]:
    """`make(step)` for start <= step < stop, in order; `workers` processes make them ahead, 0: made in place when asked for.

    What `make` gives must be picklable and on the CPU (a dataclass of tensors), and drawn from the step, never from a global generator.
    An OmniError of `make` comes out here as it was raised.
    """
    if not workers:
        yield from map(make, range(start, stop))
        return
    own = torch.Generator().manual_seed(0)  # the loader would draw from the global one, and training with it
    steps = range(start, stop)
    loader = DataLoader(
        _Made(make), batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=_AHEAD, generator=own, worker_init_fn=_ignore_interrupts
    )
    for made in loader:
        if isinstance(made, OmniError):
            raise made
        yield made


class _Made(Dataset[T | OmniError], Generic[T]):
    def __init__(self, make: Callable[[int], T]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> T | OmniError:
        try:
            return self.make(step)
        except OmniError as error:  # the loader would bury its message under a traceback
            return error


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal: the loop finishes its step first, and ends the workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # of the loop's own handler there is a copy here

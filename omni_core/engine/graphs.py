"""Decode steps recorded once per batch size and replayed: on an accelerator a step's hundreds of kernels are then one launch.

A recording holds shapes and addresses, so a batch is padded to the next size that was recorded, and its indices go into fixed buffers. What goes in
is one copy to the device, what comes out one copy back, and waiting for that copy is a step's only wait. Where nothing can be recorded the plain
function runs in its place: so it is on a CPU, where tests hold padded steps against unpadded ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.engine.decode import Batch, DecodeStep
from omni_core.models.sampling import CANDIDATES
from omni_core.tokens import AUDIO_LAYERS, STREAMS


@dataclass(frozen=True)
class Due:
    """Who is due, on the host. Indices are int64."""

    listeners: NDArray[np.int64]  #: [L] rows of the cache
    codes: Sequence[Tensor]  #: [L] of [7], what they hear
    slots: NDArray[np.int64]  #: [N]
    first_rows: NDArray[np.int64]  #: [N] a response's only or audio row; the row behind it gives its text where it has two
    paired: NDArray[np.bool_]  #: [N] it has two
    speaks: NDArray[np.bool_]  #: [N] it is not text alone
    candidates: int  #: the most that any response needs (`sampling.candidates`); below 0 all are greedy
    length: int  #: places of the cache to read


@dataclass(frozen=True)
class Answered:
    """What a step gave, on the host."""

    columns: NDArray[np.int64]  #: [N, 8]
    margins: list[float]  #: [L]
    turn_ended: NDArray[np.float32]  #: [N]


def run_exactly(step: DecodeStep, due: Due) -> Answered:
    """A step of just the rows that are due, a response's side by side."""
    heard = len(due.listeners)
    who = (due.listeners, due.slots, due.first_rows, due.paired, due.speaks)
    indices = _exact_indices(*(each.tobytes() for each in who), step.device)
    codes = torch.stack(list(due.codes)).to(step.device) if heard else torch.zeros(0, AUDIO_LAYERS, dtype=torch.int64, device=step.device)
    outcome = step(Batch(codes=codes, candidates=due.candidates, length=due.length, **indices))
    return Answered(outcome.columns.cpu().numpy(), outcome.margins.tolist(), outcome.turn_ended.cpu().numpy())


@functools.lru_cache(maxsize=256)  # mostly it is those who were due the last time
def _exact_indices(listeners: bytes, slots: bytes, first_rows: bytes, paired: bytes, speaks: bytes, device: torch.device) -> dict[str, Tensor]:
    """A `Batch`'s indices, of the arrays of a `Due`."""
    heard, index, first = (np.frombuffer(each, np.int64) for each in (listeners, slots, first_rows))
    counts = 1 + np.frombuffer(paired, bool)
    ends = len(heard) + np.cumsum(counts)
    slot_at = np.repeat(np.arange(len(index)), counts)
    second = np.arange(len(heard), len(heard) + len(slot_at)) - (ends - counts)[slot_at]  # [R - L] 1 where it is a response's second row
    speaker = np.flatnonzero(np.frombuffer(speaks, bool))
    indices = {
        "rows": np.concatenate([heard, first[slot_at] + second]),
        "slots": index,
        "slot_at": slot_at,
        "text_at": ends - 1,
        "audio_at": (ends - counts)[speaker],
        "speaker": speaker,
    }
    return {name: torch.tensor(each, device=device) for name, each in indices.items()}


def bucket_sizes(slots: int) -> list[int]:
    """Numbers of responses that are recorded: close where a row counts, then 1.5 times apart at most, `slots` the last."""
    sizes = [1, 2, 4, *range(8, 65, 8), *range(96, 257, 32), *range(384, slots, 128)]
    return [size for size in sizes if size < slots] + [slots]


class StepGraphs:
    """Every size's recording. Sizes count responses, and as many listeners where one is due at all."""

    def __init__(self, step: DecodeStep, slots: int, listening: bool, max_positions: int) -> None:
        """Records all there will ever be, the largest first, so that the others' memory fits into its pool. Takes seconds on an accelerator.

        listening: there are listeners, as many as slots. max_positions: places that a step reads where attention can't tell how many are used.
        """
        self._sizes = bucket_sizes(slots)
        pool = torch.cuda.graph_pool_handle() if step.device.type == "cuda" else None
        self._buckets = {
            (size, heard, draws): _Bucket(step, size, size if heard else 0, CANDIDATES if draws else -1, max_positions, pool)
            for size in reversed(self._sizes)
            for heard in ((True, False) if listening else (False,))
            for draws in (True, False)
        }

    def run(self, due: Due) -> Answered:
        """A step of the rows that are due, padded to the smallest size that holds them."""
        needed = max(len(due.slots), len(due.listeners))
        size = next(size for size in self._sizes if size >= needed)
        return self._buckets[size, len(due.listeners) > 0, due.candidates >= 0].run(due)


class _Bucket:
    """One size: its inputs and outputs, which stay where they are, and its recording.

    Rows: L listeners, then N responses' first rows, then their second ones; a response without a second row has the scratch row there.
    """

    def __init__(self, step: DecodeStep, size: int, listeners: int, candidates: int, max_positions: int, pool: Any) -> None:
        self._step, self._size, self._listeners = step, size, listeners
        parts = (listeners + 2 * size, size, size)  # rows, slots, text_at
        self._host = torch.zeros(sum(parts), dtype=torch.int64, pin_memory=pool is not None)
        self._inputs = torch.zeros(sum(parts), dtype=torch.int64, device=step.device)
        rows, slots, text_at = self._inputs.split(parts)
        self._rows, self._slots, self._text_at = (each.numpy() for each in self._host.split(parts))
        each = torch.arange(size, device=step.device)
        self._batch = Batch(
            rows=rows,
            codes=torch.zeros(listeners, AUDIO_LAYERS, dtype=torch.int64, device=step.device),
            slots=slots,
            slot_at=each.repeat(2),
            text_at=text_at,
            audio_at=listeners + each,
            speaker=each,
            candidates=candidates,
            length=max_positions,
        )
        self._fill(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool))
        self._inputs.copy_(self._host)
        self._replay, self._outputs = self._plain() if pool is None else self._record(pool)
        self._fetched = torch.zeros(self._outputs.shape, dtype=torch.int32, pin_memory=pool is not None)

    def run(self, due: Due) -> Answered:
        answered, heard = len(due.slots), len(due.listeners)
        self._fill(due.listeners, due.slots, due.first_rows, due.paired)
        self._inputs.copy_(self._host, non_blocking=True)
        if heard:
            torch.stack([codes.to(self._step.device) for codes in due.codes], out=self._batch.codes[:heard])
        self._replay()
        self._fetched.copy_(self._outputs, non_blocking=True)
        if self._outputs.is_cuda:
            torch.cuda.current_stream().synchronize()
        columns, margins, ended = np.split(self._fetched.numpy(), [self._size * STREAMS, self._size * STREAMS + self._listeners])
        return Answered(
            columns.reshape(-1, STREAMS)[:answered].astype(np.int64),
            margins.view(np.float32)[:heard].tolist(),
            ended.view(np.float32)[:answered].copy(),
        )

    def _fill(self, listeners: NDArray[np.int64], slots: NDArray[np.int64], first: NDArray[np.int64], paired: NDArray[np.bool_]) -> None:
        count, size, heard = len(slots), self._size, self._listeners
        self._rows[:], self._slots[:], self._text_at[:] = self._step.scratch_row, self._step.scratch_slot, heard
        self._rows[: len(listeners)] = listeners
        self._rows[heard : heard + count] = first
        self._rows[heard + size : heard + size + count] = np.where(paired, first + 1, self._step.scratch_row)
        self._slots[:count] = slots
        self._text_at[:count] = heard + np.arange(count) + size * paired

    def _run(self) -> Tensor:
        """The step, and all that it gave in one tensor, int32."""
        outcome = self._step(self._batch)
        floats = (outcome.margins.float().view(torch.int32), outcome.turn_ended.float().view(torch.int32))
        return torch.cat([outcome.columns.int().flatten(), *floats])

    def _plain(self) -> tuple[Callable[[], object], Tensor]:
        outputs = self._run()
        return lambda: outputs.copy_(self._run()), outputs

    def _record(self, pool: Any) -> tuple[Callable[[], object], Tensor]:
        """A first run on another stream compiles kernels and sets up libraries, which must not happen while recording."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):  # what other threads do meanwhile is no matter
            outputs = self._run()
        return graph.replay, outputs

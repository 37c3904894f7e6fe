"""Open listeners: which row each has, its microphone's encoder, and the frames that wait for a decode step. The rows are the runner's."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.engine.request import ListenerEnded, ListenerEvent, Status
from omni_core.engine.runner import Runner
from omni_core.errors import AudioError, EngineBusy, EngineError, TaskError

if TYPE_CHECKING:
    from omni_core.checkpoint import Bundle
    from omni_core.codec.base import StreamEncoder

log = logging.getLogger(__name__)

_COMPANY_S = 0.02  # a quarter of a frame: four steps a frame at most, however many listen


@dataclass(eq=False)
class _Listener:
    id: str
    encoder: StreamEncoder
    waiting: deque[tuple[int, NDArray[np.float32]]] = field(default_factory=deque)  # frame number, samples; as few as the client lets be
    frame: int = 0  #: the one that the step in progress hears


class Listeners:
    """As many as there are slots, each a microphone's stream of frames. Not thread-safe: the engine's thread alone."""

    def __init__(self, bundle: Bundle, runner: Runner, rows: int) -> None:
        self._bundle, self._runner = bundle, runner
        self._margin = 0.0 if bundle.listener is None else bundle.listener.margin
        self._free = list(range(rows))[::-1]  # the lowest is given out first
        self._open: dict[int, _Listener] = {}  # by row
        self._events: list[tuple[str, ListenerEvent]] = []
        self._since: float | None = None  # from when on a frame has been waiting

    def wait_s(self, now: float) -> float | None:
        """Seconds until frames have to be heard, though nothing else makes a step due: where others listen too, one waits for theirs a moment.

        None when no frame waits.
        """
        if not any(listener.waiting for listener in self._open.values()):
            return None
        self._since = now if self._since is None else self._since
        return max(0.0, self._since + (_COMPANY_S if len(self._open) > 1 else 0.0) - now)

    def open(self, id: str) -> None:
        """Begin to listen. Raises TaskError where the model has no trained listener, EngineBusy when every row is taken."""
        if self._bundle.listener is None or self._bundle.codec is None:
            raise TaskError(f"model {self._bundle.name} has no trained listener: use a checkpoint whose config.json has one")
        if self._find(id) is not None:
            raise EngineError(f"listener {id!r} is open already: use a new id for each")
        if not self._free:
            raise EngineBusy(f"{len(self._open)} listeners are open, as many as there are rows: close one first")
        row = self._free.pop()
        self._runner.listen(row)
        self._open[row] = _Listener(id, self._bundle.codec.stream_encoder())

    def push(self, id: str, frame: int, pcm: NDArray[np.float32]) -> None:
        """One frame of a listener that is open; of others nothing is heard."""
        row = self._find(id)
        if row is not None:
            self._open[row].waiting.append((frame, pcm))

    def close(self, id: str) -> None:
        """Free the row. An id that is unknown or has ended is fine."""
        row = self._find(id)
        if row is not None:
            del self._open[row]
            self._free.append(row)

    def take(self) -> dict[int, Tensor]:
        """The oldest waiting frame of each listener, encoded with what came before it alone: [7] codes, by row; all in one pass of the codec."""
        taken: dict[int, NDArray[np.float32]] = {}
        self._since = None
        for row, listener in list(self._open.items()):
            if listener.waiting:
                listener.frame, pcm = listener.waiting.popleft()
                try:
                    taken[row] = self._one_frame(pcm)
                except AudioError as error:
                    self._fail(listener, error)
        if not taken:
            return {}
        encoders = [self._open[row].encoder for row in taken]
        try:
            codes = encoders[0].push_all(encoders, torch.from_numpy(np.stack(list(taken.values()))))[:, 0]
        except Exception:
            return self._each_alone(taken)
        return dict(zip(taken, codes, strict=True))

    def read(self, margins: dict[int, float]) -> None:
        """What the step gave for the frames it took."""
        for row, margin in margins.items():
            listener = self._open[row]
            self._events.append((listener.id, Status(listener.frame, margin > self._margin, margin)))

    def events(self) -> list[tuple[str, ListenerEvent]]:
        """What came since the last call, by listener, in order."""
        events, self._events = self._events, []
        return events

    def _find(self, id: str) -> int | None:
        return next((row for row, listener in self._open.items() if listener.id == id), None)

    def _each_alone(self, taken: dict[int, NDArray[np.float32]]) -> dict[int, Tensor]:
        """What `take` does, for when a pass has failed: it ends those for whom it fails again."""
        codes: dict[int, Tensor] = {}
        for row, pcm in taken.items():
            listener = self._open[row]
            try:
                (codes[row],) = listener.encoder.push(torch.from_numpy(pcm))
            except Exception as error:
                self._fail(listener, error)
        return codes

    def _one_frame(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """The samples, checked one by one: in a pass with others they must harm nobody else."""
        assert self._bundle.codec is not None
        if pcm.shape != (self._bundle.codec.frame_samples,) or not np.isfinite(pcm).all():
            raise AudioError(f"a frame is {self._bundle.codec.frame_samples} finite samples, got {pcm.shape}, or NaN among them")
        return pcm

    def _fail(self, listener: _Listener, error: Exception) -> None:
        log.error("listener %s failed", listener.id, exc_info=error)
        self.close(listener.id)
        self._events.append((listener.id, ListenerEnded(EngineError(f"the microphone could not be heard ({type(error).__name__}: {error})"))))

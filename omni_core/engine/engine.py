"""The engine: requests and microphones in, events out, one step at a time. It owns their state; nobody else may touch it while it runs.

`Engine.step` is the architecture in order: schedule, prefill, decode, codec, emit. It never waits: `wait_s` tells how long there is nothing
to do. A request whose inputs can't be used ends with `Failed` and harms no other; an error of the shared decode step is the engine's end.
Listeners are rows of the same decode steps: a frame of a microphone makes a step due, and is heard by whichever comes next.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.config import EngineConfig
from omni_core.engine.alignment import Alignments
from omni_core.engine.checks import check_request, check_turn
from omni_core.engine.inputs import info_of, prepare
from omni_core.engine.listeners import Listeners
from omni_core.engine.request import (
    AudioChunk,
    EngineEvent,
    EngineInfo,
    Failed,
    Finished,
    FinishReason,
    GenerateRequest,
    ListenerEnded,
    Timings,
    TurnEnded,
)
from omni_core.engine.response import Response, decode_all
from omni_core.engine.runner import Runner
from omni_core.engine.scheduler import Scheduler, Ticket
from omni_core.engine.turns import Turn, Turns
from omni_core.errors import CheckpointError, EngineBusy, EngineError, OmniError, TaskError
from omni_core.tokens import AUDIO_LAYERS, Task

if TYPE_CHECKING:
    from omni_core.checkpoint import Bundle

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Running:
    """A response with its place and its times, s on the engine's clock."""

    response: Response
    ticket: Ticket
    turn: Turn | None
    submitted_at: float
    admitted_at: float | None = None
    prefilled_at: float | None = None
    first_audio_at: float | None = None
    compute_s: float = 0.0


class Engine:
    """Serves many responses with one model. Not thread-safe: one thread submits, cancels and steps."""

    def __init__(self, bundle: Bundle, config: EngineConfig | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives the figures in `Timings`; scheduling goes by the `now` of each step. Both count seconds from the same start."""
        self.info: EngineInfo = info_of(bundle)
        self._config = config or EngineConfig()
        self._bundle, self._clock = bundle, clock
        self._scheduler = Scheduler(self._config)
        band = None if bundle.listener is None else bundle.listener.band_frames
        self._runner = Runner(bundle.model, self._config.slots, band=band, end_of_turn=bundle.end_of_turn)
        self.listeners = Listeners(bundle, self._runner, self._config.slots)
        places = self._config.slots + self._config.queue
        self.turns = Turns(bundle.audio_encoder, self._runner.device, places)
        self.alignments = Alignments(bundle.audio_encoder, self._runner.device, places)
        self._running: dict[str, _Running] = {}
        self._reading: dict[str, _Running] = {}  # those whose prompt is being read, the oldest first
        self._outbox: list[tuple[str, EngineEvent]] = []  # what happened between steps

    @property
    def first_audio_steps(self) -> int | None:
        """Decode steps before the first sample can leave: the delay of the last layer, and the codec's right context. None: it can't speak.

        A causal codec speaks after 8 (frame 0 is complete in column 7, the eighth), SNAC after 10 (with frame 2).
        """
        return None if self._bundle.codec is None else AUDIO_LAYERS + self._bundle.codec.first_audio_frames

    @property
    def speaking(self) -> int:
        """Responses that take decode steps now: admitted, their prompts read."""
        return self._scheduler.speaking

    def submit(self, request: GenerateRequest) -> Response:
        """Queue `request`. Raises InputError or EngineBusy at once. The response is for reading only."""
        check_request(request, self.info)
        turn = None
        if request.turn is not None:
            turn = self.turns.find(request.turn[0])
            check_turn(request.turn, None if turn is None else turn.pushed)
        tokenizer = self._bundle.tokenizer
        if tokenizer is None:
            raise TaskError(f"model {self.info.model} has no tokenizer: it can't answer")
        response = Response(request, self._bundle.model.layout, tokenizer, self._bundle.codec)
        ticket = self._scheduler.submit(request.id, request.paced, request.background)
        self._running[request.id] = _Running(response, ticket, turn, self._clock())
        return response

    def cancel(self, id: str) -> None:
        """End a response now and free its slot; the next step reports it. An id that is unknown or has ended is fine."""
        if running := self._running.get(id):
            self._outbox += self._finish(running, FinishReason.CANCELLED)

    def wait_s(self, now: float) -> float | None:
        """Seconds until the next step has something to do: 0 at once, None when only a new request can change that."""
        if self._outbox or self.turns.waiting or self.alignments.waiting:
            return 0.0
        return min((wait for wait in (self.listeners.wait_s(now), self._scheduler.wait_s(now)) if wait is not None), default=None)

    def step(self, now: float) -> list[tuple[str, EngineEvent]]:
        """Take in one waiting response, read a piece of the oldest prompt, move every response that is due and every listener that has a frame by
        one position.

        Reports what came of it, by request id; `listeners.events` has the statuses.
        """
        events, self._outbox = self._outbox, []
        for ticket in self._scheduler.expired(now):
            busy = EngineBusy(f"no slot became free within {self._config.max_wait_s:.0f} s: try again later")
            events += self._fail(self._running[ticket.id], busy)
        if admitted := self._scheduler.admit():
            events += self._begin(self._running[admitted.id])
        if self._reading:
            events += self._read_on(next(iter(self._reading.values())))
        due = self._scheduler.due(now)
        frames = self.listeners.take() if due or self.listeners.wait_s(now) == 0 else {}
        if due or frames:
            events += self._decode([self._running[ticket.id] for ticket in due], frames, now)
        return events

    def work_ahead(self) -> None:
        """One piece of what is less urgent than any answer: a chunk of a turn that is being spoken, or of an alignment. For after a step, when its
        events were given out; `alignments.results` has what was asked for.
        """
        if self._scheduler.urgent:
            return
        if self.turns.waiting:
            self.turns.encode_next()
        elif self.alignments.waiting:
            self.alignments.advance()

    def warm_up(self) -> None:
        """Run one short answer, listened to, so that the first caller does not pay for lazy loading and first allocations."""
        id = "warm-up"
        if self._runner.device.type == "cuda":
            self._runner.record()
        if self._bundle.codec is not None and self.info.listener:
            self.listeners.open(id)
            self.listeners.push(id, 0, np.zeros(self._bundle.codec.frame_samples, np.float32))
        order = (Task.A1A2, Task.T1A2, Task.A1T2, Task.T1T2)
        if task := next((task for task in order if task in self.info.tasks), None):
            if task.needs_audio:
                self.turns.open(id)
                self.turns.push(id, np.zeros(12_000, np.float32))
            turn = (id, 12_000) if task.needs_audio else None
            self.submit(GenerateRequest(id, task, turn=turn, text="a" if task.needs_text else None, max_steps=12))
        while self.wait_s(self._clock()) is not None:
            failed = [event.error for _, event in self.step(self._clock()) if isinstance(event, Failed)]
            failed += [event.error for _, event in self.listeners.events() if isinstance(event, ListenerEnded)]
            if failed:
                raise CheckpointError(f"model {self.info.model} can't answer: {failed[0]}") from failed[0]
            self.work_ahead()
        self.listeners.close(id)
        self.turns.close(id)

    def _begin(self, running: _Running) -> list[tuple[str, EngineEvent]]:
        """Encode its inputs."""
        response, slot = running.response, running.ticket.slot
        assert slot is not None
        running.admitted_at = self._clock()
        try:
            inputs = prepare(self._bundle, response.request, running.turn)
            room = self._runner.begin(slot, inputs, response.request.sampling)
        except Exception as error:
            return self._fail(running, error)
        response.prompt_tokens, response.limit = inputs.prompt.tokens.shape[1], min(response.limit, room)
        running.compute_s = self._clock() - running.admitted_at
        self._reading[running.ticket.id] = running
        return []

    def _read_on(self, running: _Running) -> list[tuple[str, EngineEvent]]:
        """Read more of a prompt: all of it where nobody waits, or a piece."""
        slot, begin = running.ticket.slot, self._clock()
        assert slot is not None
        try:
            done = self._runner.advance(slot, self._config.prompt_piece if self._scheduler.speaking else self._runner.max_positions)
        except Exception as error:
            return self._fail(running, error)
        running.compute_s += self._clock() - begin
        if done:
            del self._reading[running.ticket.id]
            running.ticket.reading, running.prefilled_at = False, self._clock()
        return []

    def _decode(self, due: list[_Running], frames: dict[int, Tensor], now: float) -> list[tuple[str, EngineEvent]]:
        """One step of the model, and what the codec makes of it."""
        begin = self._clock()
        try:
            columns, margins = self._runner.step_listening([each.ticket.slot for each in due if each.ticket.slot is not None], frames)
        except torch.OutOfMemoryError as error:
            if not due:
                raise
            newest = [each for each in self._running.values() if each in due][-1]
            return self._fail(newest, error)  # it makes room; the others' step is tried again
        self.listeners.read(margins)
        running, failed = self._read(due, columns)
        decoded = decode_all([each.response for each in running])
        took = self._clock() - begin
        events = self._turns_ended(running)
        for each, samples in zip(running, decoded, strict=True):
            each.compute_s += took
            events += self._emit(each, samples, now)
        return events + failed

    def _turns_ended(self, running: list[_Running]) -> list[tuple[str, EngineEvent]]:
        ended = self._runner.turn_ended
        return [
            (each.ticket.id, TurnEnded(ended[each.ticket.slot]))
            for each in running
            if each.ticket.slot in ended and each.response.request.task.needs_audio
        ]

    def _read(self, running: list[_Running], columns: NDArray[np.int64]) -> tuple[list[_Running], list[tuple[str, EngineEvent]]]:
        """Give each response its column; those that took it, and the reports of those that could not."""
        took: list[_Running] = []
        failed: list[tuple[str, EngineEvent]] = []
        for each, column in zip(running, columns, strict=True):
            try:
                each.response.read(column)
            except Exception as error:
                failed += self._fail(each, error)
            else:
                took.append(each)
        return took, failed

    def _emit(self, running: _Running, samples: Tensor | Exception | None, now: float) -> list[tuple[str, EngineEvent]]:
        response = running.response
        try:
            if isinstance(samples, Exception):
                raise samples
            events = response.emit(samples)
        except Exception as error:
            return self._fail(running, error)
        for event in events:
            if isinstance(event, AudioChunk):
                self._scheduler.emitted(running.ticket, len(event.pcm) / self.info.sample_rate, now)
                running.first_audio_at = running.first_audio_at or self._clock()
        done = [] if response.reason is None else self._finish(running, response.reason)
        return [(running.ticket.id, event) for event in events] + done

    def _finish(self, running: _Running, reason: FinishReason) -> list[tuple[str, EngineEvent]]:
        self._release(running)
        return [(running.ticket.id, Finished(reason, running.response.usage, self._timings(running)))]

    def _fail(self, running: _Running, error: Exception) -> list[tuple[str, EngineEvent]]:
        self._release(running)
        if isinstance(error, torch.OutOfMemoryError):
            log.error("response %s was refused: the device is out of memory", running.ticket.id)
            error = EngineBusy("the device is out of memory: try again later, or serve with fewer slots")
        if not isinstance(error, OmniError):
            log.error("response %s failed", running.ticket.id, exc_info=error)
            error = EngineError(f"the response could not be made ({type(error).__name__}: {error})")
        return [(running.ticket.id, Failed(error))]

    def _release(self, running: _Running) -> None:
        slot = running.ticket.slot
        self._scheduler.release(running.ticket.id)
        if slot is not None:
            self._runner.release(slot)
        self._reading.pop(running.ticket.id, None)
        del self._running[running.ticket.id]

    def _timings(self, running: _Running) -> Timings:
        now, start = self._clock(), running.submitted_at
        admitted = now if running.admitted_at is None else running.admitted_at
        prefilled = admitted if running.prefilled_at is None else running.prefilled_at
        return Timings(
            queued_s=admitted - start,
            prefill_s=prefilled - admitted,
            first_audio_s=None if running.first_audio_at is None else running.first_audio_at - start,
            total_s=now - start,
            steps=len(running.response.columns),
            audio_s=running.response.samples / self.info.sample_rate,
            compute_s=running.compute_s,
        )

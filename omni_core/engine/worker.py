"""The engine's loop: take commands, step the engine, publish what happens (`messages`). Here in a thread, in `process` in a process of its own."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from omni_core.config import EngineConfig
from omni_core.engine.engine import Engine
from omni_core.engine.messages import (
    Align,
    Aligned,
    AlignmentFailed,
    Cancel,
    Close,
    CloseListener,
    CloseTurn,
    Command,
    Died,
    Events,
    ListenerFrame,
    Message,
    OpenListener,
    OpenTurn,
    Ready,
    Submit,
    TurnAudio,
)
from omni_core.engine.request import Failed, ListenerEnded
from omni_core.errors import EngineError, OmniError

if TYPE_CHECKING:
    from omni_core.checkpoint import Bundle

log = logging.getLogger(__name__)



class Port(Protocol):
    """Where commands come from and messages go to."""

    def receive(self, wait_s: float | None) -> list[Command]:
        """Every command that is there; none after waiting `wait_s` for the first (None: as long as it takes)."""
        ...

    def publish(self, message: Message, /) -> None:
        """Send it to whom it concerns. Never waits."""
        ...


def load_engine(source: str | Path | Bundle, device: str, config: EngineConfig, threads: int | None) -> Engine:
    """An engine that is warm, and this process's number of threads set for it. A Bundle is served as it is. Raises CheckpointError, ConfigError."""
    from omni_core.checkpoint.precision import default_threads, load_to_serve  # bring every encoder with them

    if isinstance(source, str | Path):
        bundle, _ = load_to_serve(source, device, config.precision, threads)
    else:
        bundle = source
        torch.set_num_threads(threads or default_threads(bundle.model))
    engine = Engine(bundle, config)
    engine.warm_up()
    return engine


def serve(engine: Engine, port: Port) -> None:
    """Serve until a Close comes. Raises whatever the shared decode step raises."""
    port.publish(Ready(engine.info))
    while True:
        refused = Events()
        for command in port.receive(engine.wait_s(time.monotonic())):
            if isinstance(command, Close):
                return
            _obey(engine, command, refused)
        _publish(port, refused)
        _publish(port, Events(engine.step(time.monotonic()), engine.listeners.events()))
        engine.work_ahead()
        ended = engine.alignments.results()
        _publish(port, Events(alignments=[(id, Aligned(r) if isinstance(r, int) else AlignmentFailed(r)) for id, r in ended]))


def as_exception(error: BaseException) -> Exception:
    """What clients are told of the error that ended an engine."""
    return error if isinstance(error, Exception) else EngineError(f"{type(error).__name__}: {error}")


def _publish(port: Port, events: Events) -> None:
    if events != Events():
        port.publish(events)


def _obey(engine: Engine, command: Command, refused: Events) -> None:
    """Carry out a command. What can't be done is noted in `refused`."""
    try:
        match command:
            case Submit(request):
                engine.submit(request)
            case Cancel(id):
                engine.cancel(id)
            case OpenListener(id):
                engine.listeners.open(id)
            case ListenerFrame(id, frame, pcm):
                engine.listeners.push(id, frame, pcm)
            case CloseListener(id):
                engine.listeners.close(id)
            case OpenTurn(id):
                engine.turns.open(id)
            case TurnAudio(id, pcm):
                engine.turns.push(id, pcm)
            case CloseTurn(id):
                engine.turns.close(id)
            case Align(id, text, pcm):
                engine.alignments.start(id, text, pcm)
    except OmniError as error:
        match command:
            case Submit(request):
                refused.responses.append((request.id, Failed(error)))
            case OpenListener(id):
                refused.listeners.append((id, ListenerEnded(error)))
            case OpenTurn(id):
                log.info("turn %s is not heard: %s", id, error)
                refused.refused_turns.append(id)
            case Align(id):
                refused.alignments.append((id, AlignmentFailed(error)))
            case _:
                raise


class Worker:
    """A thread with an engine of its own. `publish` is called in that thread; the last that it is given is Died."""

    def __init__(self, load: Callable[[], Engine], publish: Callable[[Message], None]) -> None:
        self._load, self.publish = load, publish
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()  # bounded by its one sender, which counts what is open
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def send(self, command: Command) -> None:
        """Hand over a command. Never waits."""
        self._inbox.put(command)

    def receive(self, wait_s: float | None) -> list[Command]:
        """See `Port`."""
        commands: list[Command] = []
        try:
            commands.append(self._inbox.get_nowait() if wait_s == 0 else self._inbox.get(timeout=wait_s))
            while True:
                commands.append(self._inbox.get_nowait())
        except queue.Empty:
            return commands

    def close(self, timeout_s: float) -> None:
        """Stop, and wait for the end for so long."""
        self.send(Close())
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            serve(self._load(), self)
        except BaseException as error:
            log.error("the engine stopped: %s", error, exc_info=None if isinstance(error, OmniError) else error)
            self.publish(Died(as_exception(error)))
        else:
            self.publish(Died(None))

"""The engine's own thread: takes commands, steps the engine, publishes what happens. Commands and messages are plain values, so that a
separate process can stand in its place: all that crosses is below and in `request`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from omni_core.engine.engine import Engine
from omni_core.engine.request import EngineEvent, EngineInfo, Failed, GenerateRequest
from omni_core.errors import OmniError

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Submit:
    """Generate this."""

    request: GenerateRequest


@dataclass(frozen=True)
class Cancel:
    """End this response."""

    id: str


@dataclass(frozen=True)
class Close:
    """Stop; nothing is published after it but `Died`."""


Command = Submit | Cancel | Close


@dataclass(frozen=True)
class Ready:
    """The model is loaded and warm."""

    info: EngineInfo


@dataclass(frozen=True)
class Events:
    """What one step gave, by request id, in order."""

    events: list[tuple[str, EngineEvent]]


@dataclass(frozen=True)
class Died:
    """The last message: it could not load, an error ended it, or it was closed (None)."""

    error: BaseException | None


Message = Ready | Events | Died


class Worker:
    """A thread that owns one Engine. `publish` is called in that thread, once per step at most."""

    def __init__(self, load: Callable[[], Engine], publish: Callable[[Message], None]) -> None:
        self._load, self._publish = load, publish
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()  # bounded by its one sender, which counts its open requests
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin loading."""
        self._thread.start()

    def send(self, command: Command) -> None:
        """Hand over a command; commands are taken in order, between steps."""
        self._inbox.put(command)

    def join(self, timeout_s: float) -> bool:
        """Wait until the thread has ended; False if it has not in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            log.error("the engine stopped: %s", error, exc_info=None if isinstance(error, OmniError) else error)
            self._publish(Died(error))
        else:
            self._publish(Died(None))

    def _serve(self) -> None:
        engine = self._load()
        engine.warm_up()
        self._publish(Ready(engine.info))
        while self._take_commands(engine):
            if events := engine.step(time.monotonic()):
                self._publish(Events(events))

    def _take_commands(self, engine: Engine) -> bool:
        """Wait until there is something to do, then take every command that is there. False: stop."""
        wait = engine.wait_s(time.monotonic())
        try:
            command = self._inbox.get_nowait() if wait == 0 else self._inbox.get(timeout=wait)
            while True:
                match command:
                    case Submit(request):
                        self._submit(engine, request)
                    case Cancel(id):
                        engine.cancel(id)
                    case Close():
                        return False
                command = self._inbox.get_nowait()
        except queue.Empty:
            return True

    def _submit(self, engine: Engine, request: GenerateRequest) -> None:
        try:
            engine.submit(request)
        except OmniError as error:
            self._publish(Events([(request.id, Failed(error))]))

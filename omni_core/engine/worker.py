"""The engine's own thread: takes commands, steps the engine, publishes what happens (`messages`)."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from omni_core.engine.engine import Engine
from omni_core.engine.messages import (
    Align,
    Aligned,
    Cancel,
    Close,
    CloseListener,
    CloseTurn,
    Command,
    Died,
    Events,
    ListenerEvents,
    ListenerFrame,
    Message,
    OpenListener,
    OpenTurn,
    Ready,
    Submit,
    TurnAudio,
)
from omni_core.engine.request import Failed, GenerateRequest, ListenerEnded
from omni_core.errors import OmniError

log = logging.getLogger(__name__)


class Worker:
    """A thread that owns one Engine. `publish` is called in that thread."""

    def __init__(self, load: Callable[[], Engine], publish: Callable[[Message], None]) -> None:
        self._load, self._publish = load, publish
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()  # bounded by its one sender, which counts what is open
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
            if heard := engine.listeners.events():
                self._publish(ListenerEvents(heard))
            engine.work_ahead()
            if results := engine.alignments.results():
                self._publish(Aligned(results))

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
                    case OpenListener(id):
                        self._open_listener(engine, id)
                    case ListenerFrame(id, frame, pcm):
                        engine.listeners.push(id, frame, pcm)
                    case CloseListener(id):
                        engine.listeners.close(id)
                    case OpenTurn(id):
                        self._open_turn(engine, id)
                    case TurnAudio(id, pcm):
                        engine.turns.push(id, pcm)
                    case CloseTurn(id):
                        engine.turns.close(id)
                    case Align(id, text, pcm):
                        self._align(engine, id, text, pcm)
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

    def _open_listener(self, engine: Engine, id: str) -> None:
        try:
            engine.listeners.open(id)
        except OmniError as error:
            self._publish(ListenerEvents([(id, ListenerEnded(error))]))

    def _open_turn(self, engine: Engine, id: str) -> None:
        try:
            engine.turns.open(id)
        except OmniError as error:
            log.error("turn %s is not heard: %s", id, error)  # a request that names it will say so too

    def _align(self, engine: Engine, id: str, text: str, pcm: NDArray[np.float32]) -> None:
        try:
            engine.alignments.start(id, text, pcm)
        except OmniError as error:
            self._publish(Aligned([(id, error)]))

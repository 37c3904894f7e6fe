"""The asyncio side of the engine: one client per worker, one stream of events per response, one of statuses per microphone, one handle per
turn that is heard.

What can be refused is refused at once, in the caller's task: bad inputs, a full queue, an engine that is gone. What happens later comes as
the stream's last event. Streams may be closed at any time; that frees their place in the engine.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from omni_core.audio import check_samples
from omni_core.config import EngineConfig
from omni_core.engine.alignment import match
from omni_core.engine.checks import check_request
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
    Message,
    OpenListener,
    OpenTurn,
    Ready,
    Submit,
)
from omni_core.engine.request import EngineEvent, EngineInfo, Failed, Finished, GenerateRequest, ListenerEnded, ListenerEvent, TextDelta
from omni_core.engine.scheduler import check_places
from omni_core.engine.streams import Hearing, ListenerStream, ResponseStream
from omni_core.engine.turns import MAX_SAMPLES, SAMPLE_RATE, check_turn
from omni_core.engine.worker import Worker
from omni_core.errors import AudioError, EngineBusy, EngineClosed, EngineError, OmniError, TaskError
from omni_core.tokens import Task

if TYPE_CHECKING:
    from omni_core.checkpoint import Bundle

_CLOSE_S = 10.0  # a step in progress, and a prefill in front of it, may have to end first
_LARGE = 100_000_000  # parameters
_TRANSCRIPT_STEPS, _TRANSCRIPT_STEPS_PER_S = 32, 25  # speech never has more tokens: a transcription that goes on is a loop


class EngineClient:
    """Talks to one engine from one event loop."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None
        self._loaded: concurrent.futures.Future[EngineInfo] = concurrent.futures.Future()
        self._gone: EngineClosed | None = None  # why nothing works any more
        self._streams: dict[str, ResponseStream] = {}
        self._listeners: dict[str, ListenerStream] = {}
        self._turns: dict[str, Hearing] = {}
        self._alignments: dict[str, asyncio.Future[int]] = {}
        self._numbers = itertools.count()

    @classmethod
    def start_thread(
        cls,
        source: str | Path | Bundle,
        *,
        device: str = "auto",
        dtype: torch.dtype | None = None,
        config: EngineConfig | None = None,
        threads: int | None = None,
    ) -> EngineClient:
        """Start an engine in a thread of this process, which loads `source`: await `ready()`. The client belongs to the loop that first uses it.

        threads: of a CPU's cores for one operation; None: one for a small model, two for a large one.
        """
        config = config or EngineConfig()

        def load() -> Engine:
            bundle = _load(source, device, dtype) if isinstance(source, str | Path) else source
            torch.set_num_threads(threads or default_threads(bundle))
            return Engine(bundle, config)

        client = cls(config)
        client._worker = Worker(load, client._receive)
        client._worker.start()
        return client

    async def ready(self) -> None:
        """Wait until the engine can serve. Raises the error that kept it from loading."""
        await asyncio.shield(asyncio.wrap_future(self._loaded))

    @property
    def info(self) -> EngineInfo:
        """The model behind the engine. EngineError before it is ready."""
        if not self._loaded.done():
            raise EngineError("the engine is not ready: await ready() first")
        return self._loaded.result()

    @property
    def healthy(self) -> bool:
        """It is loaded and alive."""
        return self._loaded.done() and self._gone is None

    def generate(self, request: GenerateRequest) -> ResponseStream:
        """Begin a response. Raises at once: InputError, EngineBusy (no slot and no place in the queue), EngineClosed."""
        self._check_alive()
        check_request(request, self.info)
        if request.turn is not None:
            hearing = self._turns.get(request.turn[0])
            check_turn(request.turn, None if hearing is None else hearing.pushed)
        if request.id in self._streams:
            raise EngineError(f"response {request.id!r} is already being generated: use a new id for each")
        check_places(self._config, (stream.background for stream in self._streams.values()), request.background)
        stream = self._streams[request.id] = ResponseStream(self, request)
        self._send(Submit(request))
        return stream

    def listen(self, id: str) -> ListenerStream:
        """Listen to a microphone, where the model has a trained listener. It costs a row of each decode step that hears a frame of it.

        Raises at once: TaskError (`info.listener` is False), EngineBusy (as many are open as there are slots), EngineClosed.
        """
        self._check_alive()
        if not self.info.listener:
            raise TaskError(f"model {self.info.model} has no trained listener: use a checkpoint whose config.json has one")
        if id in self._listeners:
            raise EngineError(f"listener {id!r} is open already: use a new id for each")
        if len(self._listeners) >= self._config.slots:
            raise EngineBusy(f"{self._config.slots} listeners are open: close one first, or try again later")
        stream = self._listeners[id] = ListenerStream(self, id)
        self._send(OpenListener(id))
        return stream

    def hear(self, id: str) -> Hearing:
        """Hear a turn while it is spoken, so that little of it is left to encode when a response is asked for (`GenerateRequest.turn`).

        Raises at once: TaskError (the model can't hear), EngineBusy (as many are open as there are slots and places in the queue), EngineClosed.
        """
        self._check_alive()
        if not any(task.needs_audio for task in self.info.tasks):
            raise TaskError(f"model {self.info.model} can't hear: it does {', '.join(self.info.tasks)}")
        if id in self._turns:
            raise EngineError(f"turn {id!r} is open already: use a new id for each")
        if len(self._turns) >= self._config.slots + self._config.queue:
            raise EngineBusy(f"{len(self._turns)} turns are being heard: close one first, or send the audio with the request")
        hearing = self._turns[id] = Hearing(self, id)
        self._send(OpenTurn(id))
        return hearing

    async def heard_words(self, text: str, pcm: Any) -> int:
        """How many characters of `text`, an answer's, were said in `pcm` [n], what was played of it from its beginning on: 24 kHz mono. Whole words.

        Done in the background: by the letters that the audio encoder hears, where `info.letters` says so, by a transcription of it otherwise.
        Raises AudioError, TextError (no words in the text), TaskError (a model that can do neither), EngineBusy, EngineClosed, and EngineError when
        it fails: then an estimate by time has to do.
        """
        self._check_alive()
        wave = check_samples(pcm, "what was played")
        if len(wave) > MAX_SAMPLES:
            raise AudioError(f"{len(wave) / SAMPLE_RATE:.0f} s of an answer are too much to listen to: send {MAX_SAMPLES // SAMPLE_RATE} s at most")
        if not len(wave):
            return 0
        id = f"heard-{next(self._numbers)}"
        if not self.info.letters:
            return match(text, await self._transcribe(id, wave), len(wave) / SAMPLE_RATE)
        if len(self._alignments) >= self._config.slots + self._config.queue:
            raise EngineBusy(f"{len(self._alignments)} answers are being aligned: try again later")
        self._alignments[id] = asyncio.get_running_loop().create_future()
        self._send(Align(id, text, wave))
        return await self._alignments[id]

    async def _transcribe(self, id: str, wave: NDArray[np.float32]) -> str:
        steps = _TRANSCRIPT_STEPS + _TRANSCRIPT_STEPS_PER_S * len(wave) // SAMPLE_RATE
        words = []
        async with contextlib.aclosing(self.generate(GenerateRequest(id, Task.A1T1, audio=wave, max_steps=steps, background=True))) as stream:
            async for event in stream:
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, TextDelta):
                    words.append(event.text)
        return "".join(words)

    async def close(self) -> None:
        """Stop the engine. Open streams end with EngineClosed, those of responses as Failed(EngineClosed)."""
        self._end(EngineClosed("the engine was closed"))
        if self._worker is not None:
            self._send(Close())
            await asyncio.to_thread(self._worker.join, _CLOSE_S)

    def _check_alive(self) -> None:
        if self._gone is not None:
            raise EngineClosed(str(self._gone))
        self._loop = asyncio.get_running_loop()

    def _send(self, command: Command) -> None:
        if self._worker is not None:
            self._worker.send(command)

    def _hears(self, hearing: Hearing) -> bool:
        return self._gone is None and self._turns.get(hearing.id) is hearing

    def _let_go(self, command: Cancel | CloseListener | CloseTurn) -> None:
        """What the command names was closed: tell the engine, unless it has ended there already."""
        match command:
            case Cancel():
                held = self._streams.pop(command.id, None)
            case CloseListener():
                held = self._listeners.pop(command.id, None)
            case CloseTurn():
                held = self._turns.pop(command.id, None)
        if held is not None:
            self._send(command)

    def _receive(self, message: Message) -> None:
        """In the worker's thread: what needs no loop is done here, so that a busy loop can't hide that the engine is gone."""
        match message:
            case Ready(info):
                self._loaded.set_result(info)
            case Events(events):
                self._call_loop(self._deliver, events)
            case ListenerEvents(events):
                self._call_loop(self._deliver_heard, events)
            case Aligned(results):
                self._call_loop(self._deliver_aligned, results)
            case Died(error):
                self._gone = self._gone or _why(error)
                if not self._loaded.done():
                    self._loaded.set_exception(error or self._gone)
                self._call_loop(self._end, self._gone)

    def _call_loop(self, function: Callable[[Any], None], argument: Any) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed before the engine: nobody is left to tell
                self._loop.call_soon_threadsafe(function, argument)

    def _deliver(self, events: list[tuple[str, EngineEvent]]) -> None:
        for id, event in events:
            stream = self._streams.get(id)
            if stream is None:  # closed by its reader
                continue
            if isinstance(event, Finished | Failed):
                del self._streams[id]
            stream._put(event)

    def _deliver_heard(self, events: list[tuple[str, ListenerEvent]]) -> None:
        for id, event in events:
            stream = self._listeners.get(id)
            if stream is None:
                continue
            if isinstance(event, ListenerEnded):
                del self._listeners[id]
            stream._put(event)

    def _deliver_aligned(self, results: Sequence[tuple[str, int | OmniError]]) -> None:
        for id, result in results:
            future = self._alignments.pop(id, None)
            if future is None or future.done():  # closed meanwhile, or who asked has gone
                continue
            if isinstance(result, OmniError):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _end(self, why: EngineClosed) -> None:
        self._gone = self._gone or why
        self._deliver([(id, Failed(why)) for id in self._streams])
        self._deliver_heard([(id, ListenerEnded(why)) for id in self._listeners])
        self._deliver_aligned([(id, why) for id in self._alignments])


def _why(error: BaseException | None) -> EngineClosed:
    return EngineClosed("the engine was closed" if error is None else f"the engine stopped: {error}")


def _load(source: str | Path, device: str, dtype: torch.dtype | None) -> Bundle:
    from omni_core.checkpoint import load_bundle  # brings every encoder with it

    return load_bundle(source, device, dtype)


def default_threads(bundle: Bundle) -> int:
    """Threads of one operation: a small model's are too short to share, a large one's are bound by memory, which two cores reach."""
    parameters = sum(p.numel() for p in bundle.model.parameters())
    return 1 if parameters < _LARGE else 2

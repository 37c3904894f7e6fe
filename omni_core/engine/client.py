"""The asyncio side of the engine: one stream of events per response, one of statuses per microphone, one handle per turn that is heard.

The engine runs in a thread of this process or in a process of its own; nobody who asks it sees a difference, but that a process which dies is started
again. What can be refused is refused at once, in the caller's task: bad inputs, a full queue, an engine that is gone. What happens later comes as
the stream's last event. Streams may be closed at any time; that frees their place in the engine. No tensor is seen here, and none loaded.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omni_core.audio import check_samples
from omni_core.config import EngineConfig
from omni_core.engine.checks import check_request, check_turn, check_unicode
from omni_core.engine.link import Link
from omni_core.engine.messages import (
    Align,
    Aligned,
    AlignmentEvent,
    AlignmentFailed,
    Cancel,
    CloseListener,
    CloseTurn,
    Closing,
    Command,
    Died,
    Events,
    Message,
    OpenListener,
    OpenTurn,
    Ready,
    Submit,
)
from omni_core.engine.request import (
    MAX_TURN_SAMPLES,
    SAMPLE_RATE,
    EngineEvent,
    EngineInfo,
    Failed,
    Finished,
    GenerateRequest,
    ListenerEnded,
    ListenerEvent,
    TextDelta,
)
from omni_core.engine.scheduler import check_places
from omni_core.engine.spoken import match
from omni_core.engine.streams import Hearing, ListenerStream, ResponseStream
from omni_core.engine.supervisor import Supervised, engine_address, engine_process
from omni_core.errors import AudioError, EngineBusy, EngineClosed, EngineError, TaskError
from omni_core.tokens import Task

if TYPE_CHECKING:
    from omni_core.checkpoint import Bundle
    from omni_core.engine.worker import Worker

_CLOSE_S = 10.0  # a step in progress, and a prefill in front of it, may have to end first
_TRANSCRIPT_STEPS, _TRANSCRIPT_STEPS_PER_S = 32, 25  # speech never has more tokens: a transcription that goes on is a loop


class EngineClient:
    """Talks to one engine from one event loop. Made by `start_thread`, `start_process` or `connect`."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None
        self._link: Link | None = None
        self._process: Supervised | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._loaded: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._info: EngineInfo | None = None
        self._gone: EngineClosed | None = None  # why nothing works now
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
        config: EngineConfig | None = None,
        threads: int | None = None,
    ) -> EngineClient:
        """Start an engine in a thread of this process, which loads `source`: await `ready()`. The client belongs to the loop that first uses it.

        threads: of a CPU's cores for one operation; None: one for a small model, two for a large one.
        """
        from omni_core.engine.worker import Worker, load_engine  # bring the tensors with them

        client = cls(config or EngineConfig())
        client._worker = Worker(lambda: load_engine(source, device, client._config, threads), client._receive)
        return client

    @classmethod
    def start_process(
        cls, source: str | Path, *, device: str = "auto", config: EngineConfig | None = None, threads: int | None = None
    ) -> EngineClient:
        """Start an engine in a process of its own, which loads `source`: await `ready()`. For the running loop.

        One that dies after that ends every stream with EngineClosed, and is started again.
        """
        folder = tempfile.TemporaryDirectory(prefix="omni-")  # nobody else may look into it
        config = config or EngineConfig()
        client = cls.connect(Path(folder.name), config)
        client._folder = folder
        client._process = engine_process(Path(folder.name), str(source), device=device, config=config, threads=threads)
        client._process.start()
        return client

    @classmethod
    def connect(cls, folder: Path, config: EngineConfig) -> EngineClient:
        """A client of the engine process that serves in `folder` (`supervisor.engine_process`), as soon as there is one. For the running loop."""
        client = cls(config)
        client._loop = asyncio.get_running_loop()
        client._link = Link(engine_address(folder), client._take, client._lost)
        return client

    async def ready(self) -> None:
        """Wait until the engine can serve. Raises the error that kept it from loading."""
        if self._process is not None:
            await self._process.ready()
        await asyncio.shield(asyncio.wrap_future(self._loaded))

    @property
    def info(self) -> EngineInfo:
        """The model behind the engine. EngineError before it is ready."""
        if self._info is None:
            raise EngineError("the engine is not ready: await ready() first")
        return self._info

    @property
    def healthy(self) -> bool:
        """It is loaded and alive."""
        return self._info is not None and self._gone is None

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
        stream = self._listeners[id] = ListenerStream(self, id, self.info.frame_samples)
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

    def hears(self, id: str, samples: int) -> bool:
        """Whether a request may name the first `samples` samples of this turn: not where it was refused, or the engine that heard it has died."""
        hearing = self._turns.get(id)
        return self._gone is None and hearing is not None and 0 < samples <= hearing.pushed

    async def heard_words(self, text: str, pcm: Any) -> int:
        """How many characters of `text`, an answer's, were said in `pcm` [n], what was played of it from its beginning on: 24 kHz mono. Whole words.

        Done in the background: by the letters that the audio encoder hears, where `info.letters` says so, by a transcription of it otherwise.
        Raises AudioError, TextError (no words in the text), TaskError (a model that can do neither), EngineBusy, EngineClosed, and EngineError when
        it fails: then an estimate by time has to do.
        """
        self._check_alive()
        check_unicode(text, "the answer")
        wave = check_samples(pcm, "what was played")
        if len(wave) > MAX_TURN_SAMPLES:
            limit_s = MAX_TURN_SAMPLES // SAMPLE_RATE
            raise AudioError(f"{len(wave) / SAMPLE_RATE:.0f} s of an answer are too much to listen to: send {limit_s} s at most")
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
        """Leave the engine, and stop the one that was started with this client. Open streams end with EngineClosed, those of responses as Failed."""
        self._end(EngineClosed("the engine was closed"))
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        if self._process is not None:
            await self._process.close()
        if self._folder is not None:
            self._folder.cleanup()
        if self._worker is not None:
            await asyncio.to_thread(self._worker.close, _CLOSE_S)

    def _check_alive(self) -> None:
        if self._gone is not None:
            raise EngineClosed(str(self._gone))
        self._loop = asyncio.get_running_loop()

    def _send(self, command: Command) -> None:
        engine = self._link or self._worker
        if engine is not None:
            engine.send(command)

    def _hears(self, hearing: Hearing) -> bool:
        return self._gone is None and self._turns.get(hearing.id) is hearing

    def _let_go(self, command: Closing) -> None:
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
                self._know(info)
            case Died(error):
                self._gone = self._gone or _why(error)
                if not self._loaded.done():
                    self._loaded.set_exception(error or self._gone)
        self._call_loop(self._take, message)

    def _take(self, message: Message) -> None:
        """In the client's loop."""
        match message:
            case Ready(info):
                self._know(info)
            case Events():
                self._deliver(message.responses)
                self._deliver_heard(message.listeners)
                self._deliver_aligned(message.alignments)
                for id in message.refused_turns:
                    self._turns.pop(id, None)
            case Died(error):
                self._end(_why(error))

    def _know(self, info: EngineInfo) -> None:
        self._info = info
        if self._link is not None:
            self._gone = None  # another one was started
        if not self._loaded.done():
            self._loaded.set_result(None)

    def _lost(self, why: str) -> None:
        """In the client's loop: the engine's process can't be reached."""
        self._end(EngineClosed(f"the engine stopped ({why}): it is started again, try in a few seconds"))

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

    def _deliver_aligned(self, results: Sequence[tuple[str, AlignmentEvent]]) -> None:
        for id, result in results:
            future = self._alignments.pop(id, None)
            if future is None or future.done():  # closed meanwhile, or who asked has gone
                continue
            match result:
                case Aligned(characters):
                    future.set_result(characters)
                case AlignmentFailed(error):
                    future.set_exception(error)

    def _end(self, why: EngineClosed) -> None:
        self._gone = self._gone or why
        self._deliver([(id, Failed(why)) for id in self._streams])
        self._deliver_heard([(id, ListenerEnded(why)) for id in self._listeners])
        self._deliver_aligned([(id, AlignmentFailed(why)) for id in self._alignments])
        self._turns.clear()


def _why(error: Exception | None) -> EngineClosed:
    return EngineClosed("the engine was closed" if error is None else f"the engine stopped: {error}")

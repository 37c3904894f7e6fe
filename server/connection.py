"""One WebSocket connection: moves frames, events and time between the socket, the session and the engine.

One TaskGroup owns everything of it: the reader, the writer and one pump per engine stream. Whatever ends one ends all, and
an ended pump closes its engine stream, which frees the slot.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, assert_never

from starlette.websockets import WebSocket, WebSocketDisconnect

from server.answers import abilities, answer, transcript, words_heard
from server.ears import Ears
from server.protocol import server_events as events
from server.protocol.dialects import Dialect
from server.protocol.errors import SERVER_ERROR, ProtocolError
from server.protocol.ids import Ids
from server.protocol.server_events import ServerEvent
from server.protocol.session_object import SessionObject
from server.protocol.wire import parse, serialise
from server.session import Limits, Session
from server.session.messages import (
    CancelResponse,
    Close,
    DetectSpeech,
    Expired,
    FindWords,
    Hear,
    HearNoMore,
    Input,
    Listen,
    ListenNoMore,
    Output,
    Played,
    PlayedNoMore,
    Refused,
    ReportTimings,
    StartResponse,
    StartTranscription,
    Tick,
)
from server.settings import Settings

if TYPE_CHECKING:
    from omni_core.engine.client import EngineClient

_log = logging.getLogger("omni.server")

_LISTENER = "listener"  # the key of its pump

#: for the last event and the closing frame of a connection
_LAST_WORDS_S = 2.0


class _Ended(Exception):
    """The connection is over: closed by the client (no code), or to be closed with a code after a last event."""

    def __init__(self, close: Close | None = None, last: ServerEvent | None = None) -> None:
        self.close = close
        self.last = last


class Connection:
    """Runs one accepted WebSocket until either side ends it."""

    def __init__(
        self,
        websocket: WebSocket,
        engine: EngineClient,
        settings: Settings,
        *,
        dialect: Dialect,
        model: str | None,
        extended: bool,
        start: Mapping[str, Any],
    ) -> None:
        self._websocket = websocket
        self._engine = engine
        self._settings = settings
        self._dialect = dialect
        self._extended = extended  # the client asked for own extensions
        self._ids = Ids(secrets.token_urlsafe(9))
        able = abilities(engine.info)
        session = SessionObject(id=self._ids.session(), expires_at=int(time.time() + settings.session_s), model=model or able.model)
        self._session = Session(session.updated(start), self._ids, able, Limits(buffer_s=settings.buffer_s), extended=extended)
        self._outgoing: asyncio.Queue[ServerEvent | ReportTimings | Close] = asyncio.Queue(settings.outgoing_events)
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._to_detect: list[DetectSpeech] = []
        self._ears = Ears(engine, self._ids.session())
        self._wake_at: float | None = None
        self._wake_changed = asyncio.Event()
        self._first_audio_at: dict[str, float] = {}

    async def run(self) -> None:
        """Serve until the end; then the socket is closed and no engine stream is left."""
        ending = _Ended()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._write())
                self._group.create_task(self._tick())
                self._dispatch(self._session.open())
                await self._read()
        except* _Ended as ended:
            endings = [one for one in ended.exceptions if isinstance(one, _Ended)]
            ending = next((one for one in endings if one.close is not None), ending)
        except* Exception:
            _log.exception("session %s failed", self._ids.session())
            failure = ProtocolError("internal_error", "The server failed in this session; the details are in its log", type=SERVER_ERROR)
            ending = _Ended(Close(1011, "internal_error"), self._last_words(failure))
        finally:
            self._ears.close()
        await self._close(ending)

    # -- from the client

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._settings.session_s):
                while True:
                    await self._take(await self._websocket.receive())
        except TimeoutError:
            self._feed(Expired())
        await asyncio.sleep(self._settings.send_timeout_s)  # the writer ends the connection when all is sent
        raise _Ended(Close(1001, "session_expired"))

    async def _take(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "websocket.disconnect":
            raise _Ended
        if message.get("text") is None:
            refused = ProtocolError("binary_frame", "Binary frames are not part of the protocol: send JSON text, audio in base64")
            raise _Ended(Close(1003, "binary_frame"), self._last_words(refused))
        try:
            event = parse(message["text"], self._dialect)
        except ProtocolError as error:
            event = Refused(error)
        self._feed(event)
        while self._to_detect:
            for probability in await self._ears.detect(self._to_detect.pop(0)):
                self._feed(probability)

    async def _tick(self) -> None:
        """Tell the session that time has passed, when it wants to know."""
        while True:
            self._wake_changed.clear()
            wait_s = None if self._wake_at is None else max(0.0, self._wake_at - time.monotonic())
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake_changed.wait()
            except TimeoutError:
                self._feed(Tick())

    # -- through the session

    def _feed(self, event: Input) -> None:
        self._dispatch(self._session.handle(event, time.monotonic()))
        if self._session.wake_at != self._wake_at:
            self._wake_at = self._session.wake_at
            self._wake_changed.set()

    def _dispatch(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            match output:
                case dict() | ReportTimings() | Close():
                    self._enqueue(output)
                case DetectSpeech():
                    self._to_detect.append(output)
                case Hear():
                    self._ears.hear(output)
                case HearNoMore():
                    self._ears.hear_no_more(output.name)
                case Listen():
                    self._start(_LISTENER, self._ears.listen())
                case ListenNoMore():
                    self._stop(_LISTENER)
                case Played():
                    self._ears.played(output)
                case PlayedNoMore():
                    self._ears.played_no_more()
                case FindWords():
                    self._start(f"words-{output.item_id}", words_heard(self._engine, output, self._settings.engine_timeout_s))
                case StartResponse():
                    heard = self._ears.heard(output.hearing)
                    self._start(output.response_id, answer(self._engine, output, heard, self._settings.engine_timeout_s))
                case StartTranscription():
                    self._start(f"transcript-{output.item_id}", transcript(self._engine, output, self._settings.engine_timeout_s))
                case CancelResponse():
                    self._stop(output.response_id)
                case _:
                    assert_never(output)

    def _start(self, key: str, inputs: AsyncGenerator[Input, None]) -> None:
        self._stop(key)
        pump = self._pumps[key] = self._group.create_task(self._pump(inputs))
        pump.add_done_callback(lambda done: self._pumps.pop(key) if self._pumps.get(key) is done else None)

    def _stop(self, key: str) -> None:
        pump = self._pumps.pop(key, None)
        if pump is not None:
            pump.cancel()

    async def _pump(self, inputs: AsyncGenerator[Input, None]) -> None:
        async with aclosing(inputs) as stream:
            async for event in stream:
                self._feed(event)

    # -- to the client

    def _enqueue(self, output: ServerEvent | ReportTimings | Close) -> None:
        try:
            self._outgoing.put_nowait(output)
        except asyncio.QueueFull:
            slow = ProtocolError("client_too_slow", f"{self._outgoing.maxsize} events wait to be read: the connection is closed", type=SERVER_ERROR)
            raise _Ended(Close(1008, "client_too_slow"), self._last_words(slow)) from None

    async def _write(self) -> None:
        while True:
            output = await self._outgoing.get()
            match output:
                case ReportTimings():
                    await self._report(output)
                case Close():
                    raise _Ended(output)
                case _:
                    await self._send(output)

    async def _send(self, event: ServerEvent) -> None:
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                for told in self._dialect.outgoing(event):
                    await self._websocket.send_text(serialise(told))
        except TimeoutError:
            raise _Ended(Close(1008, "client_too_slow")) from None
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise _Ended from None
        if event["type"] == "response.output_audio.delta":
            self._first_audio_at.setdefault(event["response_id"], time.monotonic())

    async def _report(self, report: ReportTimings) -> None:
        """Server TTFA: from the input that asked for the answer to the moment its first audio was handed to the socket."""
        first = self._first_audio_at.pop(report.response_id, None)
        ttfa_ms = None if first is None else round((first - report.asked_at) * 1000, 1)
        rtf = None if report.rtf is None else round(report.rtf, 3)
        _log.info("response %s: first audio after %s ms, %d ms of audio, RTF %s", report.response_id, ttfa_ms, report.audio_ms, rtf)
        if self._extended:
            await self._send(self._stamped(events.omni_timings(report.response_id, ttfa_ms, rtf, report.audio_ms)))

    def _last_words(self, error: ProtocolError) -> ServerEvent:
        return self._stamped(events.error(error))

    def _stamped(self, event: ServerEvent) -> ServerEvent:
        return {"event_id": self._ids.new("event"), **event}

    async def _close(self, ending: _Ended) -> None:
        """Say the last words, where there are any, and close; a client that is gone or does not read is not waited for."""
        if ending.close is None:
            return
        _log.info("session %s closes: %d %s", self._ids.session(), ending.close.code, ending.close.reason)
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                if ending.last is not None:
                    for told in self._dialect.outgoing(ending.last):
                        await self._websocket.send_text(serialise(told))
                await self._websocket.close(ending.close.code, ending.close.reason)
        except (TimeoutError, WebSocketDisconnect, RuntimeError, OSError) as error:
            _log.debug("session %s: no orderly close (%s)", self._ids.session(), type(error).__name__)

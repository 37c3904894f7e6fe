"""A call: a microphone that never stops, a loudspeaker that plays what comes, and one connection between them and the server.

The loudspeaker does what stock clients' do: it plays in real time, throws away what it has not played on `speech_started` and on a cancelled
`response.done`, and says then how much was heard (`conversation.item.truncate`). Times are seconds since the microphone's first sample: sample n is
recorded at n / 24000, and leaves at the end of its chunk of 40 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from clients.duplex.loudspeaker import Loudspeaker
from clients.errors import ClientError
from clients.python.audio import RATE, Wave
from clients.python.client import Answer, Event, RealtimeClient
from clients.python.player import TAIL_S, TOLERANCE_S
from clients.python.talk import CHUNK, CORRECTED_S


@dataclass(frozen=True)
class Echo:
    """The loudspeaker comes back into the microphone."""

    gain_db: float
    delay_s: float  #: at least 0.1


@dataclass
class Reply:
    """An answer as this client heard it."""

    created_at: float
    answer: Answer = field(default_factory=Answer)
    first_sound_at: float | None = None
    done_at: float | None = None
    cut_at: float | None = None  #: when the loudspeaker was silenced
    heard_s: float = 0.0  #: of an answer that was cut: how much of it was heard
    lost_s: float = 0.0  #: ... and how much had arrived that never was
    kept: list[str] = field(default_factory=list)  #: ... and its words in the server's conversation: at once, and after a while

    @property
    def interrupted(self) -> bool:
        """It was cut, and not merely of its last sounds."""
        return self.cut_at is not None and (self.answer.status == "cancelled" or self.lost_s > TAIL_S)


@dataclass(frozen=True)
class Mark:
    """Something that happened."""

    at: float
    name: str


@dataclass(frozen=True, eq=False)
class Recording:
    """Both channels over the same time."""

    microphone: Wave  #: [N], 24 kHz
    loudspeaker: Wave  #: [N]
    marks: tuple[Mark, ...]


#: wire events that a recording shows, and how it calls them
_MARKS = {
    "input_audio_buffer.speech_started": "speech started",
    "input_audio_buffer.speech_stopped": "speech stopped",
    "input_audio_buffer.committed": "committed",
    "response.created": "response",
}


class Call:
    """One user. `async with Call.open(...) as call`; inside the block time goes by in `until`."""

    def __init__(self, client: RealtimeClient, echo: Echo | None) -> None:
        self._client, self._echo = client, echo
        self._loudspeaker = Loudspeaker()
        self._said: list[tuple[int, Wave]] = []  # first sample and sound
        self._sent: list[Wave] = []
        self._position = 0  # samples sent
        self._began = asyncio.get_running_loop().time()
        self._news = asyncio.Event()
        self._to_retrieve: list[tuple[float, str]] = []  # when, and which item
        self.replies: list[Reply] = []
        self.marks: list[Mark] = []
        self.turn_ends: list[float] = []  #: where in the microphone's sound the server heard turns end
        self.listens = False  #: the server's listener told its status
        self.worst_lag_s = 0.0  #: how late a chunk left at worst
        self.underruns = 0  #: chunks of answers that came later than what was buffered allowed

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, turn_detection: Event, *, api_key: str | None = None, echo: Echo | None = None) -> AsyncIterator[Self]:
        """Connect, and leave microphone and loudspeaker on for as long as the block lasts. ClientError when the server can't be used."""
        problem: BaseException | None = None
        async with RealtimeClient.connect(url, api_key=api_key, extensions=True) as client:
            await client.update_session(audio={"input": {"turn_detection": turn_detection}})
            call = cls(client, echo)
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(call._speak()), group.create_task(call._listen())]
                    yield call
                    for task in tasks:
                        task.cancel()
            except* ClientError as errors:
                problem = errors.exceptions[0]
        if problem is not None:
            raise problem

    @property
    def now(self) -> float:
        """Seconds since the microphone's first sample."""
        return asyncio.get_running_loop().time() - self._began

    @property
    def playing(self) -> bool:
        """Something is being heard."""
        return self._loudspeaker.ends > self._now

    @property
    def recording(self) -> Recording:
        """All of it so far."""
        microphone = np.concatenate([np.zeros(0, np.float32), *self._sent])
        return Recording(microphone, self._loudspeaker.between(0, len(microphone)), tuple(self.marks))

    def say(self, wave: Wave, at: float = 0.0) -> float:
        """Say it at that time, or at once where that has passed; gives when its first sample is said."""
        begin = max(round(at * RATE), self._position)
        self._said.append((begin, wave))
        return begin / RATE

    async def create_response(self) -> None:
        """Ask for an answer."""
        await self._client.create_response()

    def mark(self, at: float, name: str) -> None:
        """Put something into the recording."""
        self.marks.append(Mark(at, name))

    def marked(self, name: str) -> bool:
        """It happened."""
        return any(mark.name == name for mark in self.marks)

    async def until(self, condition: Callable[[], Any], at: float) -> bool:
        """Wait until the condition holds, or that time has come; gives whether it holds."""
        while not condition():
            if self.now >= at:
                return False
            self._news.clear()
            await self._news.wait()  # the microphone has news every 40 ms
        return True

    async def pause(self, seconds: float) -> None:
        """Let time go by."""
        await self.until(lambda: False, self.now + seconds)

    # -- the microphone

    async def _speak(self) -> None:
        while True:
            due = (self._position + CHUNK) / RATE
            await asyncio.sleep(max(0.0, due - self.now))
            self.worst_lag_s = max(self.worst_lag_s, self.now - due)
            chunk = self._mixed(self._position, self._position + CHUNK)
            self._sent.append(chunk)
            self._position += CHUNK
            self._said = [(begin, wave) for begin, wave in self._said if begin + len(wave) > self._position]
            await self._client.append(chunk)
            while self._to_retrieve and self._to_retrieve[0][0] <= self.now:
                await self._client.retrieve(self._to_retrieve.pop(0)[1])
            self._news.set()

    def _mixed(self, begin: int, end: int) -> Wave:
        chunk = np.zeros(end - begin, np.float32)
        for start, wave in self._said:
            first, last = max(begin, start), min(end, start + len(wave))
            if first < last:
                chunk[first - begin : last - begin] += wave[first - start : last - start]
        if self._echo is not None:
            delay = round(self._echo.delay_s * RATE)
            chunk += np.float32(10 ** (self._echo.gain_db / 20)) * self._loudspeaker.between(begin - delay, end - delay)
        return chunk

    # -- the server

    async def _listen(self) -> None:
        async for event in self._client.events():
            await self._take(event)
            self._news.set()

    @property
    def _now(self) -> int:
        return round(self.now * RATE)

    async def _take(self, event: Event) -> None:
        if (name := _MARKS.get(event["type"])) is not None:
            self.mark(self.now, name)
        match event["type"]:
            case "error":
                raise ClientError(f"the server says: {event['error'].get('message')}")
            case "input_audio_buffer.speech_started":
                if self.playing:
                    await self._silence()
            case "input_audio_buffer.speech_stopped":
                self.turn_ends.append(event["audio_end_ms"] / 1000)
            case "omni.listener.status":
                if event["status"] == "irq":
                    self.mark(self.now, "irq")
                self.listens = True
            case "conversation.item.retrieved":
                self._keep(event["item"])
            case "response.created":
                self.replies.append(Reply(self.now))
                self.replies[-1].answer.add(event)
            case _:
                await self._hear(event)

    async def _hear(self, event: Event) -> None:
        """An event of a response, or one that does not matter here."""
        response_id = event.get("response_id") or (event.get("response") or {}).get("id")
        reply = next((reply for reply in self.replies if reply.answer.id == response_id), None) if response_id else None
        if reply is None:
            return
        samples = reply.answer.add(event)
        if samples is not None and reply.cut_at is None:
            if reply.first_sound_at is None:
                reply.first_sound_at = self.now
                self.mark(self.now, "first sound")
            elif self._now > self._loudspeaker.ends + TOLERANCE_S * RATE:
                self.underruns += 1
            self._loudspeaker.play(reply.answer.item_id, samples, self._now)
        if event["type"] == "response.done":
            reply.done_at = self.now
            self.mark(self.now, reply.answer.status)
            if reply.answer.status == "cancelled" and reply.first_sound_at is not None:
                await self._silence()

    async def _silence(self) -> None:
        """The loudspeaker stops, and the server is told what was heard."""
        reply = next((reply for reply in reversed(self.replies) if reply.first_sound_at is not None), None)
        if reply is None or reply.cut_at is not None:
            return
        now, item_id = self._now, reply.answer.item_id
        heard = self._loudspeaker.heard(item_id, now)
        reply.cut_at, reply.heard_s, reply.lost_s = now / RATE, heard / RATE, max(0, self._loudspeaker.ends - now) / RATE
        self._loudspeaker.stop(now)
        self.mark(self.now, "silenced")
        await self._client.truncate(item_id, round(1000 * heard / RATE))
        await self._client.retrieve(item_id)
        self._to_retrieve.append((self.now + CORRECTED_S, item_id))

    def _keep(self, item: Event) -> None:
        reply = next((reply for reply in self.replies if reply.answer.item_id == item["id"]), None)
        if reply is not None:
            parts = item.get("content") or [{}]
            reply.kept.append(parts[0].get("transcript") or "")

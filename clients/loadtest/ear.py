"""What one user hears: which chunks of an answer come when, against when the loudspeaker needed them.

The loudspeaker starts with an answer's first chunk; every later chunk is due when all before it has been played. Its lateness is the time from then
to its arrival, negative when it was early. What was missed is not skipped: playback waits, and what follows is due so much later.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection

from clients.errors import ClientError
from clients.loadtest.tally import Count, Ledger
from clients.python.audio import RATE
from clients.python.client import read_event
from clients.python.player import Player

ANTICIPATION_S = 0.2  #: an answer begun no earlier than this before the last faint sound of a question is to all of it

#: Deltas are nearly all that is received. They are told by their first type, which every server writes before the delta itself.
_TYPE = re.compile(rb'"type": ?"([^"]+)"')
_DELTA = b'"delta":'
_AUDIO = b"response.output_audio.delta"
_WORDS = b"response.output_audio_transcript.delta"


def read(message: bytes) -> int | dict[str, Any] | None:
    """A frame of the wire: samples of an audio delta, None for more of an answer's words, else the event. ClientError where it is none."""
    found = _TYPE.search(message)
    kind = found[1] if found else b""
    if kind == _WORDS:
        return None
    if kind == _AUDIO:
        begin = message.find(b'"', message.find(_DELTA) + len(_DELTA)) + 1
        end = message.find(b'"', begin)
        padding = message.count(b"=", max(begin, end - 2), end)
        return ((end - begin) // 4 * 3 - padding) // 2
    return read_event(message)


@dataclass
class Heard:
    """One answer, as far as it has come. Times are seconds of the caller's clock."""

    created_at: float
    player: Player = field(default_factory=lambda: Player(RATE))
    late: int = 0  #: chunks
    done: bool = False
    cut_at: float | None = None  #: when the loudspeaker was silenced in the middle of it

    def push(self, samples: int, now: float) -> float | None:
        """A chunk arrived; gives its lateness, None for the first."""
        ends = self.player.ends()
        self.player.push(samples, now)
        if ends is None:
            return None
        self.late += now > ends
        return now - ends

    def plays(self, now: float) -> bool:
        """Something of it is being heard."""
        ends = self.player.ends()
        return ends is not None and self.cut_at is None and now < ends


class Ear:
    """All that one user hears on one connection. What comes goes into the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._news = asyncio.Event()
        self.answer: Heard | None = None  #: the newest
        self.asked_at: float | None = None  #: when the newest question was, or will be, asked
        self.refused_at = float("-inf")  #: when the server last said that something is wrong

    async def until(self, condition: Callable[[], bool], at: float) -> bool:
        """Wait until it holds, or that time has come; gives whether it holds."""
        try:
            async with asyncio.timeout_at(at):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return condition()
        return True

    async def listen(self, socket: ClientConnection) -> None:
        """Until the connection ends, by ConnectionClosed, or says what it should not, by ClientError."""
        loop = asyncio.get_running_loop()
        while True:
            message = await socket.recv(decode=False)
            heard, now = read(message), loop.time()
            if isinstance(heard, int):
                self._hear(heard, now)
            elif heard is not None:
                try:
                    self._take(heard, now)
                except (LookupError, TypeError, AttributeError) as error:
                    raise ClientError(f"the server sent a {heard['type']} that is not of this protocol ({error!r})") from error
                self._news.set()

    def _hear(self, samples: int, now: float) -> None:
        answer, tally = self.answer, self._ledger.tally
        if answer is None or answer.cut_at is not None:
            return  # stock clients drop what comes after they were told to stop
        underruns = answer.player.underruns
        lateness = answer.push(samples, now)
        tally.audio_s += samples / RATE
        if lateness is None:
            if self.asked_at is not None and answer.created_at >= self.asked_at - ANTICIPATION_S:
                tally.ttfa.add(now - self.asked_at)
            self._news.set()
        else:
            tally.lateness.add(lateness)
            tally.counts[Count.UNDERRUNS] += answer.player.underruns - underruns

    def _take(self, event: dict[str, Any], now: float) -> None:
        tally = self._ledger.tally
        match event["type"]:
            case "response.created":
                self.answer = Heard(now)
            case "response.done" if self.answer is not None:
                self._end(self.answer, event["response"], now)
            case "input_audio_buffer.speech_started" if self.answer is not None and self.answer.plays(now):
                self.answer.cut_at = now
            case "omni.response.timings" if event.get("server_ttfa_ms") is not None:
                tally.server_ttfa.add(event["server_ttfa_ms"] / 1000)
            case "error":
                self.refused_at = now
                tally.problem(Count.FAILED, f"the server says: {event['error'].get('message')}")
            case _:
                pass

    def _end(self, answer: Heard, response: dict[str, Any], now: float) -> None:
        answer.done, tally = True, self._ledger.tally
        if response["status"] == "cancelled" and answer.plays(now):
            answer.cut_at = now
        if response["status"] == "failed":
            error = (response.get("status_details") or {}).get("error") or {}
            tally.problem(Count.BUSY if error.get("code") == "server_busy" else Count.FAILED, f"an answer failed: {error.get('message')}")
        elif answer.player.started is not None:
            tally.counts[Count.ANSWERS] += 1
            tally.counts[Count.LATE_ANSWERS] += answer.late > 0

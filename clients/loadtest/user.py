"""One scripted user on one connection: asks, hears, pauses, interrupts. What it meets goes into a ledger."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from clients.errors import ClientError
from clients.loadtest.ear import ANTICIPATION_S, Ear, Heard, read
from clients.loadtest.microphone import Microphone
from clients.loadtest.plan import Scenario
from clients.loadtest.speech import CHUNK_S, STORIES, Spoken
from clients.loadtest.tally import Count, Ledger
from clients.python.client import connection_closed, open_socket

PATIENCE_S = 30.0  #: an answer that has not begun by then never will
LONGEST_S = 120.0  #: no answer lasts longer
MISS_S = 1.5  #: an answer that goes on so long after it was talked into was not interrupted
SPREAD_S = 3.0  #: in which users begin, who don't begin at once
PAUSE_S = (0.5, 1.5)  #: between an answer and the next question
INTERRUPTED_SHARE = 1 / 3  #: of the answers, in `Scenario.DUPLEX`
INTERRUPT_S = (0.3, 4.0)  #: after an answer's first sample

_FIRST_WORD_S, _CLOSE_S = 20.0, 2.0

_TURNS = {"type": "server_vad", "silence_duration_ms": 200}
_SESSION = json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": _TURNS}}}}).encode()


class _HangUp(Exception):
    """This user gives up on this connection, and calls again."""


class User:
    """`call` is one connection."""

    def __init__(self, number: int, scenario: Scenario, questions: Sequence[Spoken], ledger: Ledger, rng: random.Random) -> None:
        self._number, self._scenario, self._questions = number, scenario, questions
        self._ledger, self._rng = ledger, rng
        self._socket: ClientConnection | None = None
        self._ear = Ear(ledger)
        self.settled = asyncio.Event()  #: connected, or refused

    @property
    def online(self) -> bool:
        """It has a connection that the server has greeted."""
        return self._socket is not None

    def hears(self, now: float) -> bool:
        """An answer is being played."""
        return self._ear.answer is not None and self._ear.answer.plays(now)

    async def call(self, url: str, api_key: str | None, doors: asyncio.Semaphore, begin: asyncio.Event) -> bool:
        """Connect as soon as `doors` lets it, wait for `begin`, and talk until the connection ends; True: this user would call again."""
        socket = None
        try:
            try:
                async with doors:
                    socket = await open_socket(url, api_key=api_key, extensions=True)
                    await _greeting(socket)
            except ClientError as error:
                self._ledger.tally.problem(Count.REFUSED, str(error))
                return False
            self._socket, self._ear = socket, Ear(self._ledger)
            self._ledger.tally.counts[Count.CONNECTED] += 1
            self.settled.set()
            return await self._converse(socket, begin)
        finally:
            self._socket = None
            self.settled.set()
            if socket is not None:
                await _close(socket)

    async def _converse(self, socket: ClientConnection, begin: asyncio.Event) -> bool:
        again = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ear.listen(socket))
                await begin.wait()
                if self._scenario is Scenario.SPEAK:
                    await self._type()
                else:
                    await self._send(_SESSION)
                    began = asyncio.get_running_loop().time() + self._rng.uniform(0, CHUNK_S)  # or all would send at the same instant
                    microphone = Microphone(self._send, began)
                    group.create_task(microphone.run())
                    await asyncio.sleep(self._rng.uniform(0, SPREAD_S))
                    await self._talk(microphone, INTERRUPTED_SHARE if self._scenario is Scenario.DUPLEX else 0.0)
        except* ConnectionClosed as errors:
            closed = next(error for error in errors.exceptions if isinstance(error, ConnectionClosed))
            self._ledger.tally.problem(Count.DISCONNECTED, str(connection_closed(closed)))
        except* ClientError as errors:
            self._ledger.tally.problem(Count.FAILED, str(errors.exceptions[0]))
        except* _HangUp:
            again = True
        return again

    async def _send(self, event: bytes) -> None:
        assert self._socket is not None
        await self._socket.send(event, text=True)

    # -- what users do

    async def _talk(self, microphone: Microphone, interrupted_share: float) -> None:
        while True:
            self._ask(microphone)
            answer = await self._answered()
            while answer is not None and answer.player.started is not None and self._rng.random() < interrupted_share:
                answer = await self._interrupt(answer, microphone)
            if answer is not None:
                await self._hear_out(answer)
            await asyncio.sleep(self._rng.uniform(*PAUSE_S))

    async def _type(self) -> None:
        """Written questions; each answer is to its question alone, so that it is as long every time."""
        turn = self._number
        while True:
            question = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": STORIES[turn % len(STORIES)]}]}
            turn += 1
            self._ear.asked_at = asyncio.get_running_loop().time()
            await self._send(json.dumps({"type": "response.create", "response": {"conversation": "none", "input": [question]}}).encode())
            answer = await self._answered()
            if answer is None or answer.player.started is None:
                await asyncio.sleep(self._rng.uniform(*PAUSE_S))
            else:
                await self._hear_out(answer)

    def _ask(self, microphone: Microphone) -> tuple[float, float]:
        """Say any question; gives when its speech begins and ends."""
        spoken = self._rng.choice(self._questions)
        begins = microphone.say(spoken)
        self._ear.asked_at = begins + spoken.end_s
        return begins + spoken.onset_s, begins + spoken.end_s

    async def _answered(self) -> Heard | None:
        """The answer to what was asked last, once something of it is heard or it is done without; None: there was no answer."""
        assert self._ear.asked_at is not None
        since = self._ear.asked_at - ANTICIPATION_S

        def answered() -> bool:
            answer = self._ear.answer
            known = answer is not None and answer.created_at >= since and (answer.player.started is not None or answer.done)
            return known or self._ear.refused_at >= since

        if not await self._ear.until(answered, since + PATIENCE_S):
            self._ledger.tally.problem(Count.UNANSWERED, f"no answer within {PATIENCE_S:g} s of a question")
            raise _HangUp
        return None if self._ear.refused_at >= since else self._ear.answer

    async def _hear_out(self, answer: Heard) -> None:
        """Wait until it has been played to its end, or was cut."""
        if not await self._ear.until(lambda: answer.done or answer.cut_at is not None, answer.created_at + LONGEST_S):
            self._ledger.tally.problem(Count.FAILED, f"an answer was not done within {LONGEST_S:g} s")
            raise _HangUp
        ends = answer.player.ends()
        if ends is not None and answer.cut_at is None:
            await asyncio.sleep(ends - asyncio.get_running_loop().time())

    async def _interrupt(self, answer: Heard, microphone: Microphone) -> Heard | None:
        """Talk into it at a random moment; gives the answer to that, or the same answer where it was over before."""
        loop, started = asyncio.get_running_loop(), answer.player.started
        assert started is not None
        await asyncio.sleep(started + self._rng.uniform(*INTERRUPT_S) - loop.time())
        if not answer.plays(loop.time()):
            return answer
        onset, end = self._ask(microphone)
        await self._ear.until(lambda: answer.cut_at is not None, end + MISS_S)
        ends = answer.player.ends()
        if answer.cut_at is not None and answer.cut_at >= onset:
            self._ledger.tally.counts[Count.INTERRUPTED] += 1
            self._ledger.tally.stop.add(answer.cut_at - onset)
        elif ends is not None and ends > end + MISS_S:
            self._ledger.tally.counts[Count.NOT_INTERRUPTED] += 1
        return await self._answered()


async def _greeting(socket: ClientConnection) -> None:
    """The server's first word. ClientError when it is another, or none."""
    try:
        async with asyncio.timeout(_FIRST_WORD_S):
            first = read(await socket.recv(decode=False))
    except ConnectionClosed as error:
        raise connection_closed(error) from error
    except TimeoutError as error:
        raise ClientError(f"the server did not say session.created within {_FIRST_WORD_S:g} s") from error
    if not isinstance(first, dict) or first["type"] != "session.created":
        raise ClientError("the server's first event is not session.created; is this a Realtime server?")


async def _close(socket: ClientConnection) -> None:
    """Orderly, or at once where the server doesn't answer."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await socket.close()
    except TimeoutError:
        socket.transport.abort()

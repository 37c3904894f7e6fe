"""A spoken conversation from sound files, at the pace of speech, as a person with a microphone and a loudspeaker would hold it.

Owns the microphone's clock, the playout and the figures; prints nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clients.errors import ClientError
from clients.python.audio import RATE, Wave, edges, load_audio, speech_end
from clients.python.client import Answer, Event, RealtimeClient
from clients.python.player import TAIL_S, Player

CHUNK_S = 0.040  #: what browsers send at a time
CHUNK = round(RATE * CHUNK_S)

#: Errors after which the answer still comes.
_NOTICES = frozenset({"image_not_supported"})

#: A server that hears a turn begin says so within this time after its last sound.
ONSET_GRACE_S = 1.0

#: The words of a cut answer that were heard are first estimated, then corrected by listening to them: so long after the cut they are asked for.
CORRECTED_S = 1.5

#: `omni.response.timings` may follow `response.done`; nobody waits longer for it.
TIMINGS_GRACE_S = 0.5


@dataclass
class Utterance:
    """Something the user says."""

    name: str
    wave: Wave
    speech_end: int  #: samples up to the end of what is said
    begun_at: float | None = None  #: when its first sample was said
    said_at: float | None = None  #: when the last sample of speech had been sent
    sent: int = 0

    @classmethod
    def load(cls, path: Path) -> Utterance:
        """From a sound file."""
        wave = load_audio(path)
        return cls(path.name, wave, speech_end(wave))


@dataclass
class Turn:
    """One answer, and how it went."""

    question: str  #: the file that was said before it
    answer: Answer
    player: Player
    asked_at: float | None  #: end of the user's speech; None: the answer began inside the file
    first_sound_at: float | None = None
    done_at: float | None = None
    heard: int | None = None  #: samples heard when it was cut; None: heard to the end
    cut_at: float | None = None
    kept: str | None = None  #: what the server then holds for its words
    barge_in: Utterance | None = None  #: what was said into it

    @property
    def interrupted(self) -> bool:
        """It was cut, and not merely of its last sounds."""
        return self.heard is not None and (self.answer.status == "cancelled" or self.player.samples - self.heard > TAIL_S * RATE)

    def silenced_after_ms(self) -> tuple[float | None, float | None]:
        """From the first and from the last sample of what interrupted it, above -40 dB of its peak, to the last one that was heard."""
        said = self.barge_in
        found = edges(said.wave) if said is not None else None
        if not self.interrupted or self.cut_at is None or said is None or said.begun_at is None or found is None:
            return None, None
        onset, end = (1000.0 * (self.cut_at - said.begun_at - sample / RATE) for sample in found)
        return onset, end

    @property
    def client_ttfa_ms(self) -> float | None:
        """End of the user's speech to the first sample of the answer."""
        if self.asked_at is None or self.first_sound_at is None:
            return None
        return 1000.0 * (self.first_sound_at - self.asked_at)

    @property
    def audio(self) -> Wave:
        """What was heard of the answer."""
        return self.answer.audio[: self.heard]

    def to_json(self) -> dict[str, object]:
        """The figures, as `omni talk --json` prints them."""
        timings = self.answer.timings or {}
        from_onset_ms, from_end_ms = self.silenced_after_ms()
        return {
            "question": self.question,
            "answer": self.answer.text,
            "status": self.answer.status,
            "reason": self.answer.reason,
            "client_ttfa_ms": _rounded(self.client_ttfa_ms),
            "server_ttfa_ms": _rounded(timings.get("server_ttfa_ms")),
            "rtf": _rounded(timings.get("rtf"), 3),
            "audio_ms": round(1000 * self.player.samples / RATE),
            "underruns": self.player.underruns,
            "starved_ms": round(1000 * self.player.starved_s),
            "interrupted": self.interrupted,
            "interrupted_at_ms": None if self.heard is None else round(1000 * self.heard / RATE),
            "onset_to_silence_ms": _rounded(from_onset_ms),
            "end_to_silence_ms": _rounded(from_end_ms),
            "kept": self.kept,
        }


@dataclass
class Conversation:
    """Turn after turn over one connection. Make it inside the connection's block and call `run`."""

    client: RealtimeClient
    manual: bool = False  #: end turns by hand instead of letting the server hear their end
    turn_detection: Event | None = None  #: how the server hears it; None: as it does by default
    timeout_s: float = 60.0  #: longest silence of the server while an answer is due
    timings: bool = False  #: the connection asked for `omni.response.timings`
    on_audio: Callable[[Wave], None] = lambda wave: None  #: e.g. a loudspeaker
    on_stop: Callable[[], None] = lambda: None  #: forget what has not been played
    turns: list[Turn] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)  #: what the server could not do as asked, in its words
    _queue: deque[Utterance] = field(default_factory=deque)
    _last: Utterance | None = None  #: the last thing that was or is being said
    _expected: int = 0  #: turns the server has heard begin and not yet answered
    _ended_at: float = 0.0  #: when the server last said that somebody had stopped speaking
    _to_retrieve: tuple[float, str] | None = None  #: when to ask what was kept of which item
    _asides: set[str] = field(default_factory=set)  #: requests that not every server can fulfil

    async def run(
        self, utterances: Sequence[Utterance], *, image: tuple[bytes, str] | None = None, barge_in: tuple[Utterance, float] | None = None
    ) -> list[Turn]:
        """Say each in turn and listen to every answer to its end.

        `image` is shown first. `barge_in` is said into the first answer, that many seconds after it began.
        """
        if self.manual:
            await self.client.end_turns_by_hand()
        elif self.turn_detection is not None:
            await self.client.update_session(audio={"input": {"turn_detection": self.turn_detection}})
        if image is not None:
            await self.client.send_image(*image)
        microphone = None if self.manual else asyncio.create_task(self._listen())
        try:
            for index, utterance in enumerate(utterances):
                await self._ask(utterance, barge_in if index == 0 else None)
        finally:
            if microphone is not None:
                microphone.cancel()
                await asyncio.gather(microphone, return_exceptions=True)
        return self.turns

    # -- the microphone

    async def _listen(self) -> None:
        """Send what is said, and silence where nothing is, one chunk every 40 ms, for as long as the conversation lasts."""
        silence = np.zeros(CHUNK, np.float32)
        with contextlib.suppress(ClientError):  # the reader of the same connection reports it
            async for _ in _ticks():
                if self._queue:
                    await self._send_chunk(self._queue[0])
                    if self._queue[0].sent >= len(self._queue[0].wave):
                        self._queue.popleft()
                else:
                    await self.client.append(silence)

    async def _send_chunk(self, utterance: Utterance) -> None:
        chunk = utterance.wave[utterance.sent : utterance.sent + CHUNK]
        utterance.sent += len(chunk)
        if utterance.begun_at is None:
            utterance.begun_at = _now() - CHUNK_S
        await self.client.append(chunk)
        if utterance.said_at is None and utterance.sent >= utterance.speech_end:
            utterance.said_at = _now()

    def _say(self, utterance: Utterance) -> None:
        self._queue.append(utterance)
        self._last = utterance

    # -- one question and what follows from it

    async def _ask(self, utterance: Utterance, interruption: tuple[Utterance, float] | None) -> None:
        before = len(self.turns)
        self._say(utterance)
        if self.manual:
            async for _ in _ticks():
                await self._send_chunk(utterance)
                if utterance.sent >= len(utterance.wave):
                    break
            self._queue.clear()
            await self.client.commit()
            await self.client.create_response()
        progress = _now()
        while True:
            now = _now()
            turn = self.turns[-1] if len(self.turns) > before else None
            if interruption and turn and turn.first_sound_at is not None and now >= turn.first_sound_at + interruption[1]:
                self._say(interruption[0])
                turn.barge_in, interruption = interruption[0], None
            if self._to_retrieve is not None and now >= self._to_retrieve[0]:
                self._asides.add(await self.client.retrieve(self._to_retrieve[1]))
                self._to_retrieve = None
            wait_until = self._settled_at(turn)
            if wait_until is not None and now >= wait_until:
                return
            if self._queue:
                progress = now
            deadline = wait_until or progress + self.timeout_s
            if interruption and turn and turn.first_sound_at is not None:
                deadline = min(deadline, turn.first_sound_at + interruption[1])
            if self._to_retrieve is not None:
                deadline = min(deadline, self._to_retrieve[0])
            try:
                async with asyncio.timeout_at(deadline):
                    event = await self.client.receive()
            except TimeoutError:
                if wait_until is None and not self._queue and _now() >= progress + self.timeout_s:
                    raise ClientError(self._silent(utterance)) from None
                continue
            progress = _now()
            await self._take(event)

    def _settled_at(self, turn: Turn | None) -> float | None:
        """When there is nothing more to hear; None while something is being said or an answer is due."""
        if turn is None or turn.done_at is None or self._queue or self._expected:
            return None
        ends = max(turn.done_at, self._ended_at + ONSET_GRACE_S)
        if turn.heard is None:
            # What was said into an answer that went on may be answered after it.
            ends = max(ends, (turn.player.ends() or 0.0) + (ONSET_GRACE_S if turn.barge_in else 0.0))
        cuts = [cut.cut_at + CORRECTED_S + TIMINGS_GRACE_S for cut in self.turns if cut.cut_at is not None and cut.kept is None]
        ends = max(ends, *cuts) if cuts else ends
        if self._last and self._last.said_at is not None:
            ends = max(ends, self._last.said_at + ONSET_GRACE_S)
        if self.timings and turn.answer.timings is None:
            ends = max(ends, turn.done_at + TIMINGS_GRACE_S)
        return ends

    async def _take(self, event: Event) -> None:
        now = _now()
        match event["type"]:
            case "error":
                error = event["error"]
                if error.get("code") in _NOTICES:
                    self.notices.append(str(error.get("message")))
                elif error.get("event_id") not in self._asides:
                    raise ClientError(f"the server says: {error.get('message')}")
            case "input_audio_buffer.speech_started":
                self._expected = 1
                await self._interrupt(now)
            case "input_audio_buffer.speech_stopped":
                self._expected, self._ended_at = 0, now  # the command to stop is no turn and gets no answer
            case "input_audio_buffer.committed":
                self._expected = 0 if self.manual else 1
            case "conversation.item.retrieved":
                for turn in self.turns:
                    if turn.answer.item_id == event["item"]["id"]:
                        turn.kept = (event["item"].get("content") or [{}])[0].get("transcript")
            case "response.created":
                self._expected = 0
                asked = self._last.said_at if self._last else None
                self.turns.append(Turn(self._last.name if self._last else "", Answer(), Player(RATE), asked))
                self.turns[-1].answer.add(event)
            case _:
                turn = self._turn_of(event)
                if turn is not None:
                    await self._hear(turn, event, now)

    async def _hear(self, turn: Turn, event: Event, now: float) -> None:
        samples = turn.answer.add(event)
        if samples is not None and turn.heard is None:
            if turn.first_sound_at is None:
                turn.first_sound_at = now
            turn.player.push(len(samples), now)
            self.on_audio(samples)
        if event["type"] == "response.done":
            turn.done_at = now
            if turn.answer.status == "cancelled":
                await self._interrupt(now)

    async def _interrupt(self, now: float) -> None:
        """The user talks over the answer: the loudspeaker stops, and the server is told what was heard."""
        turn = self.turns[-1] if self.turns else None
        if turn is None or turn.heard is not None:
            return
        if turn.done_at is not None and turn.answer.status != "cancelled" and now >= (turn.player.ends() or 0.0):
            return
        turn.heard, turn.cut_at = turn.player.heard(now), now
        self.on_stop()
        if turn.answer.item_id:
            self._asides.add(await self.client.truncate(turn.answer.item_id, round(1000 * turn.heard / RATE)))
            self._to_retrieve = now + CORRECTED_S, turn.answer.item_id

    def _turn_of(self, event: Event) -> Turn | None:
        response_id = event.get("response_id") or (event.get("response") or {}).get("id")
        return next((turn for turn in reversed(self.turns) if turn.answer.id == response_id), None) if response_id else None

    def _silent(self, utterance: Utterance) -> str:
        if self._expected or self.manual or len(self.turns):
            return f"{utterance.name}: no answer came within {self.timeout_s:g} s; the server's log may say why"
        return f"{utterance.name}: the server heard no speech in it; is there any? (--manual ends the turn without listening for it)"


async def _ticks() -> AsyncIterator[None]:
    """Once every 40 ms: a chunk is sent when it would have been recorded. Late ticks are made up for."""
    start = _now()
    count = 0
    while True:
        count += 1
        await asyncio.sleep(max(0.0, start + count * CHUNK_S - _now()))
        yield


def _now() -> float:
    return asyncio.get_running_loop().time()


def _rounded(value: float | None, digits: int = 0) -> float | None:
    return None if value is None else round(value, digits or None)


def load_image(path: Path) -> tuple[bytes, str]:
    """A picture and its MIME type."""
    mime = mimetypes.guess_type(path.name)[0]
    if mime not in ("image/png", "image/jpeg"):
        raise ClientError(f"{path}: is no PNG or JPEG by its name; give a .png or .jpg file")
    try:
        return path.read_bytes(), mime
    except OSError as error:
        raise ClientError(f"{path}: can't be read ({error.strerror}); give a PNG or JPEG file") from error

"""The scenes of a full-duplex conversation, each one call: somebody asks, pauses, interrupts, says "mm-hm", or has a loudspeaker that can be heard.

A case is played once and gives an outcome; what the outcomes of many cases mean is `evaluation`'s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from clients.duplex.call import Call, Echo, Recording, Reply
from clients.duplex.sound import Speech
from clients.python.audio import RATE
from clients.python.client import Answer, Event
from clients.python.talk import CORRECTED_S

LEAD_S = 0.4  #: of silence before a question
ANSWER_S = 6.0  #: an answer that does not begin so long after the question never will
ANTICIPATION_S = 0.2  #: a turn that ends no earlier than this before the last faint sound of a question is all of it
MISS_S = 1.5  #: an answer that goes on so long after it was interrupted was not stopped
AFTER_S = 1.5  #: what a sound over an answer leads to has begun so long after the answer
GLIMPSE_S = 0.5  #: of an answer that nobody listens to, for the recording
LONGEST_S = 60.0  #: no answer is waited for any longer


@dataclass(frozen=True)
class Line:
    """How to reach the server."""

    url: str
    api_key: str | None = None

    def call(self, turn_detection: Event, echo: Echo | None = None) -> AbstractAsyncContextManager[Call]:
        """A new call."""
        return Call.open(self.url, turn_detection, api_key=self.api_key, echo=echo)


@dataclass(frozen=True)
class Mode:
    """How the session takes turns."""

    name: str
    turn_detection: Event = field(compare=False)
    by_client: bool = False  #: the server creates no response: the client asks for it when the turn is committed


def server_vad(silence_ms: int, name: str | None = None, *, by_client: bool = False, **settings: bool) -> Mode:
    """Turns end by silence."""
    detection = {"type": "server_vad", "silence_duration_ms": silence_ms, "create_response": not by_client, **settings}
    return Mode(name or f"server_vad, {silence_ms} ms", detection, by_client)


BY_VOICE = server_vad(200, "by voice")
BY_COMMAND = server_vad(200, "by command", interrupt_response=False)


@dataclass(frozen=True, eq=False)
class Outcome(ABC):
    """What every case gives."""

    case: Case
    recording: Recording | None  #: None once it is not to be shown
    listens: bool  #: the server's listener was on
    lag_s: float  #: how late this client's own microphone was, at worst
    underruns: int  #: how often the answers ran dry

    @property
    @abstractmethod
    def as_it_should(self) -> bool:
        """It went well."""


@dataclass(frozen=True, eq=False)
class Asked(Outcome):
    """Of a question."""

    early: bool  #: it was taken for over before its end
    latency_s: float | None  #: end of speech to the answer's first sample; None: no answer
    answer: Answer | None  #: to all of it

    @property
    def as_it_should(self) -> bool:
        return not self.early and self.latency_s is not None


@dataclass(frozen=True, eq=False)
class Interrupted(Outcome):
    """Of an interruption."""

    reply: Reply  #: the answer that was, or was not, interrupted
    from_onset_s: float | None  #: first sample of the interruption to the answer's last; None: the answer went on
    from_end_s: float | None  #: its last sample to the answer's last
    answered: bool  #: it got an answer itself
    latency_s: float | None  #: its last sample to that answer's first

    @property
    def as_it_should(self) -> bool:
        return self.from_end_s is not None


@dataclass(frozen=True, eq=False)
class Endured(Outcome):
    """Of something that should not interrupt."""

    heard_s: float  #: of answers
    interrupted: bool
    answered: bool  #: it got an answer itself

    @property
    def as_it_should(self) -> bool:
        return not self.interrupted


@dataclass(frozen=True, eq=False)
class Ask:
    """A question, then silence."""

    scenario: str
    mode: Mode
    question: Speech
    to_the_end: bool = False  #: listen to all of the answer

    async def play(self, line: Line) -> Asked:
        """Call and ask."""
        async with line.call(self.mode.turn_detection) as call:
            ended = call.say(self.question.wave, LEAD_S) + self.question.end / RATE
            call.mark(ended, "end of speech")
            if self.mode.by_client and await call.until(lambda: call.marked("committed"), ended + ANSWER_S):
                await call.create_response()
            reply = await _reply(call, ended - ANTICIPATION_S, ended + ANSWER_S)
            if reply is not None and self.to_the_end:
                await call.until(lambda: reply.done_at is not None and not call.playing, call.now + LONGEST_S)
            else:
                await call.pause(GLIMPSE_S)
            early = any(end < ended - ANTICIPATION_S for end in call.turn_ends)
            latency = None if reply is None or reply.first_sound_at is None else reply.first_sound_at - ended
            return Asked(self, *_facts(call), early, latency, reply and reply.answer)


@dataclass(frozen=True, eq=False)
class Interrupt:
    """A question, and something said into the answer."""

    scenario: str
    mode: Mode
    question: Speech
    words: Speech
    after_s: float  #: the answer's first sample to the first of the words' wave (where their onset is not known, it is their end)

    async def play(self, line: Line) -> Interrupted | None:
        """Call, ask and interrupt. None: there was no answer to interrupt."""
        async with line.call(self.mode.turn_detection) as call:
            reply = await _answer(call, self.question)
            if reply is None or reply.first_sound_at is None:
                return None
            begin = call.say(self.words.wave, reply.first_sound_at + self.after_s)
            onset, end = begin + self.words.onset / RATE, begin + self.words.end / RATE
            if onset < end:
                call.mark(onset, "interruption")
            call.mark(end, "its end")
            await call.until(lambda: reply.cut_at is not None, end + MISS_S)
            if reply.cut_at is not None:
                await call.until(lambda: len(reply.kept) >= 2, call.now + 2 * CORRECTED_S)
            following = await _reply(call, begin, end + ANSWER_S if self.mode is BY_VOICE else call.now)
            return Interrupted(
                self,
                *_facts(call),
                reply,
                reply.cut_at - onset if reply.interrupted and reply.cut_at is not None else None,
                reply.cut_at - end if reply.interrupted and reply.cut_at is not None else None,
                answered=call.replies[-1] is not reply,
                latency_s=None if following is None or following.first_sound_at is None else following.first_sound_at - end,
            )


@dataclass(frozen=True, eq=False)
class Endure:
    """A question, and something over the answer that should not interrupt it: a sound of the user, or the answer's own echo."""

    scenario: str
    mode: Mode
    question: Speech
    sound: Speech | None = None
    after_s: float = 0.0
    echo: Echo | None = None

    async def play(self, line: Line) -> Endured | None:
        """Call, ask and listen to the answer's end. None: there was no answer."""
        async with line.call(self.mode.turn_detection, self.echo) as call:
            reply = await _answer(call, self.question)
            if reply is None or reply.first_sound_at is None:
                return None
            if self.sound is not None:
                begin = call.say(self.sound.wave, reply.first_sound_at + self.after_s)
                call.mark(begin + self.sound.onset / RATE, self.sound.text)
            await call.until(lambda: reply.cut_at is not None or (reply.done_at is not None and not call.playing), call.now + LONGEST_S)
            await call.pause(AFTER_S)
            heard_s = len(reply.answer.audio) / RATE if reply.cut_at is None else reply.heard_s
            answered = call.replies[-1] is not reply
            return Endured(self, *_facts(call), heard_s, reply.interrupted, answered)


Case = Ask | Interrupt | Endure


def _facts(call: Call) -> tuple[Recording, bool, float, int]:
    """What every outcome holds of a call."""
    return call.recording, call.listens, call.worst_lag_s, call.underruns


async def _answer(call: Call, question: Speech) -> Reply | None:
    """Ask, and wait for the first sample of the answer."""
    ended = call.say(question.wave, LEAD_S) + question.end / RATE
    call.mark(ended, "end of speech")
    return await _reply(call, ended - ANTICIPATION_S, ended + ANSWER_S)


async def _reply(call: Call, since: float, until: float) -> Reply | None:
    """The first reply begun since then, once it is heard; None: nothing was by `until`."""

    def sounding() -> Reply | None:
        return next((reply for reply in call.replies if reply.created_at >= since and reply.first_sound_at is not None), None)

    await call.until(sounding, until)
    return sounding()

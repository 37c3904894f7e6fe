"""Many users who all speak at once to one engine, in real time: paced answers, microphones listened to, and how late anything is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from omni_core.bench.parts import noise, spoken_request
from omni_core.checkpoint import Bundle
from omni_core.codec import FRAME_SAMPLES, SAMPLE_RATE
from omni_core.config import EngineConfig
from omni_core.engine.engine import Engine
from omni_core.engine.request import AudioChunk, EngineEvent, Failed, Finished, Status

_ARRIVALS_S = 2.0  # within which users begin, one after the other at random
_SETTLE_S = 3.0  # then this is left out of the figures: nobody meets so many newcomers at once
_PAUSE_S = (0.2, 1.0)  # between an answer and the next question
_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE


@dataclass(frozen=True)
class UserFigures:
    """What so many users met. ms; a chunk is late by how long after the end of the one before it comes, if they play from the first on."""

    users: int
    seconds: float
    listening: bool  #: each has a microphone that is listened to while it speaks
    answers: int
    speaking: float  #: seconds of speech made in a second: users who were spoken to, on average
    first_audio_ms_p50: float
    first_audio_ms_p95: float
    late_ms_p50: float  #: negative: early
    late_ms_p99: float
    late_chunks: int
    chunks: int
    status_ms_p50: float | None  #: from a microphone's frame to what the listener makes of it
    status_ms_p99: float | None
    busy: float  #: share of the time that the engine worked

    @property
    def keeps_up(self) -> bool:
        """No late chunk at p99."""
        return self.late_ms_p99 <= 0


@dataclass
class _User:
    asks_at: float  #: s; the next question
    microphone_at: float  #: s; the next frame of it
    asked_at: float = 0.0
    request: str | None = None
    plays_until: float | None = None  #: s; end of what it has, from its first chunk on
    frames: int = 0  #: of the microphone
    pushed_at: float = 0.0  #: the last one


@dataclass
class _Seen:
    first_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    status_s: list[float] = field(default_factory=list)
    audio_s: float = 0.0
    answers: int = 0
    busy_s: float = 0.0


def measure_users(bundle: Bundle, users: int, seconds: float, question_s: float, progress: Callable[[float], object]) -> UserFigures:
    """Let `users` talk for `seconds`, in real time; `progress` is told the share that is done. Raises what a response fails with."""
    engine = Engine(bundle, EngineConfig(slots=users, queue=users, max_wait_s=60.0))
    engine.warm_up()
    return _Talk(engine, bundle, users, seconds, question_s).run(progress)


class _Talk:
    """One measurement."""

    def __init__(self, engine: Engine, bundle: Bundle, users: int, seconds: float, question_s: float) -> None:
        self._engine, self._bundle, self._question_s, self._seconds = engine, bundle, question_s, seconds
        chance, self._begin = random.Random(0), time.monotonic()
        self._users = [_User(self._begin + chance.uniform(0, _ARRIVALS_S), self._begin + chance.uniform(0, _FRAME_S)) for _ in range(users)]
        self._chance, self._seen = chance, _Seen()
        self._by_request: dict[str, _User] = {}
        self._room = noise(_FRAME_S, SAMPLE_RATE)
        self._asked = 0
        if engine.info.listener:
            for number in range(users):
                engine.listeners.open(str(number))

    def run(self, progress: Callable[[float], object]) -> UserFigures:
        counted_from = self._begin + _ARRIVALS_S + _SETTLE_S
        end = counted_from + self._seconds
        counting = False
        while (now := time.monotonic()) < end:
            if not counting and now >= counted_from:
                self._seen, counting = _Seen(), True
            progress(max(0.0, min(1.0, 1 - (end - now) / self._seconds)))
            self._act(now)
            wait = self._engine.wait_s(now)
            until = min([end, *(user.asks_at for user in self._users if user.request is None), *self._microphones()])
            if wait is None or wait > 0:
                time.sleep(max(0.0, min(until - now, until if wait is None else wait)))
                continue
            begin = time.monotonic()
            events = self._engine.step(begin)
            heard = self._engine.listeners.events()
            self._engine.work_ahead()
            done = time.monotonic()
            self._seen.busy_s += done - begin
            for id, event in events:
                self._receive(id, event, done)
            self._seen.status_s += [done - self._users[int(id)].pushed_at for id, event in heard if isinstance(event, Status)]
        return self._figures()

    def _microphones(self) -> list[float]:
        return [user.microphone_at for user in self._users] if self._engine.info.listener else []

    def _act(self, now: float) -> None:
        """What users do by now."""
        for number, user in enumerate(self._users):
            if user.request is None and user.asks_at <= now:
                user.request, user.asked_at, user.plays_until = str(self._asked), now, None
                self._by_request[user.request] = user
                self._engine.submit(spoken_request(self._bundle, self._engine, user.request, self._question_s, paced=True))
                self._asked += 1
            if self._engine.info.listener and user.microphone_at <= now:
                if user.plays_until is not None:  # a listener costs something only while the assistant speaks
                    self._engine.listeners.push(str(number), user.frames, self._room)
                    user.frames, user.pushed_at = user.frames + 1, now
                user.microphone_at += _FRAME_S

    def _receive(self, id: str, event: EngineEvent, now: float) -> None:
        user, seen = self._by_request[id], self._seen
        match event:
            case Failed(error):
                raise error
            case AudioChunk(pcm):
                length = len(pcm) / SAMPLE_RATE
                if user.plays_until is None:
                    seen.first_s.append(now - user.asked_at)
                    user.plays_until = now
                else:
                    seen.late_s.append(now - user.plays_until)
                user.plays_until = max(user.plays_until, now) + length
                seen.audio_s += length
            case Finished():
                seen.answers += 1
                heard_until = now if user.plays_until is None else user.plays_until
                user.asks_at, user.request = max(now, heard_until) + self._chance.uniform(*_PAUSE_S), None
                del self._by_request[id]

    def _figures(self) -> UserFigures:
        seen, seconds = self._seen, self._seconds
        return UserFigures(
            users=len(self._users),
            seconds=seconds,
            listening=self._engine.info.listener,
            answers=seen.answers,
            speaking=seen.audio_s / seconds,
            first_audio_ms_p50=_ms(seen.first_s, 50) or 0.0,
            first_audio_ms_p95=_ms(seen.first_s, 95) or 0.0,
            late_ms_p50=_ms(seen.late_s, 50) or 0.0,
            late_ms_p99=_ms(seen.late_s, 99) or 0.0,
            late_chunks=sum(late > 0 for late in seen.late_s),
            chunks=len(seen.late_s),
            status_ms_p50=_ms(seen.status_s, 50),
            status_ms_p99=_ms(seen.status_s, 99),
            busy=seen.busy_s / seconds,
        )


def _ms(seconds: list[float], percent: float) -> float | None:
    return 1e3 * float(np.percentile(seconds, percent)) if seconds else None

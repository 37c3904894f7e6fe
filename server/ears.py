"""The microphone of one connection on its way into the engine: is it speech, what is the turn that is being spoken, is it the command to stop.

Owns the speech detector, the echo guard before it, and the connection's streams into the engine. Refused or broken, those are left out: a
turn is then heard at once when it is answered, and voice alone interrupts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omni_core.audio import EchoGuard, VoiceActivity, from_s16le
from omni_core.audio.vad import WINDOW
from omni_core.errors import OmniError
from server.protocol.media import SAMPLE_RATE, pcm_samples
from server.session.messages import DetectSpeech, Hear, Hearing, ListenerStatus, Played, SpeechProbability

if TYPE_CHECKING:
    from omni_core.engine.client import EngineClient
    from omni_core.engine.streams import Hearing as HearingStream
    from omni_core.engine.streams import ListenerStream

_log = logging.getLogger("omni.server")

#: the detector takes about 1 % of the audio's duration: more than this at once goes to a thread
_INLINE_DETECTION = SAMPLE_RATE // 2  # samples
_FRAME = 2048  # samples that one status stands for
_HEARINGS = 2  # turns that the engine hears at once: one being spoken, one being answered
_AWAY_S = 0.3  # the microphone was off for so long, if all that comes is as late ...
_CERTAIN_S = 0.5  # ... for so long: what was only held up on its way catches up


class _Clock:
    """When the microphone's samples were recorded: not after they arrive, that is all that is known."""

    def __init__(self, now: float) -> None:
        self.shift: int | None = None  #: samples that were not recorded, for the microphone was off; None: it was never on
        self._zero = now  # when sample 0 is recorded, s
        self._least_late, self._since = 0.0, now

    def tick(self, end: int, now: float) -> bool:
        """Sound up to sample `end` has arrived; gives whether it follows a time in which the microphone was off."""
        if self.shift is None:
            self.shift = self.position(now) - end
        late = now - self._zero - (end + self.shift) / SAMPLE_RATE
        self._zero += min(0.0, late)
        self._least_late = min(self._least_late, late)
        if now - self._since < _CERTAIN_S:
            return False
        away, self._least_late, self._since = self._least_late, late, now
        if away < _AWAY_S:
            return False
        self.shift += round(away * SAMPLE_RATE)
        self._least_late = 0.0
        return True

    def position(self, at: float) -> int:
        """The sample that is recorded at that time, those included that were not."""
        return round((at - self._zero) * SAMPLE_RATE)


class Ears:
    """See the module."""

    def __init__(self, engine: EngineClient, session_id: str) -> None:
        self._engine, self._session_id = engine, session_id
        self._detector, self._begin, self._end = VoiceActivity(), 0, 0
        self._clock = _Clock(time.monotonic())
        self._guard = EchoGuard()  # counts samples by the clock
        self._played_to: int | None = None  # where by the clock the playback that goes on ends
        self._hearings: dict[str, HearingStream] = {}  # by the session's name, oldest first
        self._missed: str | None = None  # the turn whose hearing broke: a part of it would answer for the whole
        self._listener: ListenerStream | None = None
        self._listeners = 0  # so far

    # -- is it speech

    async def detect(self, command: DetectSpeech) -> list[SpeechProbability]:
        """What the detector says of more audio. The listener gets it too."""
        end = command.start + pcm_samples(command.pcm)
        if self._clock.tick(end, time.monotonic()) or command.start != self._end:  # it was off, or audio was not judged meanwhile
            self._detector, self._begin = VoiceActivity(), command.start
        self._end = end
        samples = from_s16le(command.pcm)
        if self._listener is not None:
            self._listener.push(samples)  # as it is: it was trained on its own echo
        if len(samples) > _INLINE_DETECTION:
            return await asyncio.to_thread(self._judge, samples, command.start)
        return self._judge(samples, command.start)

    def _judge(self, samples: NDArray[np.float32], start: int) -> list[SpeechProbability]:
        """What echo and noise explain is nobody's speech."""
        shift = self._clock.shift or 0
        windows = [(self._begin + end, probability) for end, probability in self._detector.push(self._guard.push(samples, start + shift))]
        explained = [self._guard.explains(end + shift - WINDOW, end + shift) for end, _ in windows]
        return [SpeechProbability(end, 0.0 if echo else probability) for (end, probability), echo in zip(windows, explained, strict=True)]

    def played(self, command: Played) -> None:
        """An answer's sound leaves: it may come back into the microphone."""
        at = self._clock.position(command.begins)
        if self._played_to is not None and command.begins > time.monotonic():  # without a gap, whatever the clock says by now
            at = self._played_to
        self._guard.played(from_s16le(command.pcm), at)
        self._played_to = at + pcm_samples(command.pcm)

    def played_no_more(self) -> None:
        """What was not heard by now never will be."""
        self._guard.played(np.zeros(0, np.float32), self._clock.position(time.monotonic()))
        self._played_to = None

    # -- the turn that is being spoken

    def hear(self, command: Hear) -> None:
        """More of a turn."""
        if command.name == self._missed:
            return
        try:
            stream = self._hearings.get(command.name)
            if stream is None:
                while len(self._hearings) >= _HEARINGS:
                    self.hear_no_more(next(iter(self._hearings)))
                stream = self._hearings[command.name] = self._engine.hear(f"{self._session_id}-{command.name}")
            stream.push(from_s16le(command.pcm))
        except OmniError as error:
            _log.info("session %s: the turn is not heard while it is spoken (%s)", self._session_id, error)
            self.hear_no_more(command.name)
            self._missed = command.name

    def hear_no_more(self, name: str) -> None:
        """Nobody will ask for that turn again."""
        stream = self._hearings.pop(name, None)
        if stream is not None:
            stream.close()

    def heard(self, hearing: Hearing | None) -> tuple[str, int] | None:
        """The engine's name for what a response answers; None: it has to be given the audio."""
        stream = None if hearing is None else self._hearings.get(hearing.name)
        return None if stream is None or hearing is None else (stream.id, hearing.samples)

    # -- the command to stop

    async def listen(self) -> AsyncGenerator[ListenerStatus, None]:
        """Statuses of the audio from here on, until closed."""
        self._listeners += 1
        start = self._end
        try:
            async with aclosing(self._engine.listen(f"{self._session_id}-listener-{self._listeners}")) as stream:
                self._listener = stream
                async for status in stream:
                    yield ListenerStatus(start + (status.frame + 1) * _FRAME, status.irq, status.margin)
        except OmniError as error:
            _log.warning("session %s: the listener is off (%s): only voice can interrupt this answer", self._session_id, error)
        finally:
            self._listener = None

    def close(self) -> None:
        """Leave nothing in the engine."""
        for name in list(self._hearings):
            self.hear_no_more(name)

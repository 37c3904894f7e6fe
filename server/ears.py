"""The microphone of one connection on its way into the engine: is it speech, what is the turn that is being spoken, is it the command to stop.

Owns the speech detector and the connection's streams into the engine. Refused or broken, those are left out: a
turn is then heard at once when it is answered, and voice alone interrupts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from omni_core.audio import VoiceActivity, from_s16le
from omni_core.errors import OmniError
from server.protocol.media import SAMPLE_RATE, pcm_samples
from server.session.messages import DetectSpeech, Hear, Hearing, ListenerStatus, SpeechProbability

if TYPE_CHECKING:
    from omni_core.engine.client import EngineClient
    from omni_core.engine.streams import Hearing as HearingStream
    from omni_core.engine.streams import ListenerStream

_log = logging.getLogger("omni.server")

#: the detector takes about 1 % of the audio's duration: more than this at once goes to a thread
_INLINE_DETECTION = SAMPLE_RATE // 2  # samples
_FRAME = 2048  # samples that one status stands for
_HEARINGS = 2  # turns that the engine hears at once: one being spoken, one being answered


class Ears:
    """See the module."""

    def __init__(self, engine: EngineClient, session_id: str) -> None:
        self._engine, self._session_id = engine, session_id
        self._detector, self._begin, self._end = VoiceActivity(), 0, 0
        self._hearings: dict[str, HearingStream] = {}  # by the session's name, oldest first
        self._listener: ListenerStream | None = None
        self._listeners = 0  # so far

    # -- is it speech

    async def detect(self, command: DetectSpeech) -> list[SpeechProbability]:
        """What the detector says of more audio. The listener gets it too."""
        if command.start != self._end:  # audio was not judged meanwhile
            self._detector, self._begin = VoiceActivity(), command.start
        self._end = command.start + pcm_samples(command.pcm)
        samples = from_s16le(command.pcm)
        if self._listener is not None:
            self._listener.push(samples)  # as it is: it was trained on its own echo
        if len(samples) > _INLINE_DETECTION:
            windows = await asyncio.to_thread(self._detector.push, samples)
        else:
            windows = self._detector.push(samples)
        return [SpeechProbability(self._begin + end, probability) for end, probability in windows]

    # -- the turn that is being spoken

    def hear(self, command: Hear) -> None:
        """More of a turn."""
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

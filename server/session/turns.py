"""Endpointing: from speech probabilities to "a turn began" and "the turn ended".

Time is counted in samples of the microphone's audio. `server_vad` ends a turn after a silence; `semantic_vad` is served
the same way, its eagerness chooses how long that silence is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from server.protocol.media import ms_to_samples
from server.protocol.session_object import SemanticVad, ServerVad

#: speech must last this long before it counts: a click or a cough is one window of 32 ms
ONSET_MS = 60
#: going on needs less probability than beginning, so that a quiet syllable does not end a turn
HYSTERESIS = 0.15
#: semantic_vad's eagerness -> silence that ends a turn, ms
EAGERNESS_MS = {"low": 1_200, "medium": 700, "auto": 700, "high": 400}


@dataclass(frozen=True)
class SpeechStarted:
    """A turn began; `at` is where its audio begins, the prefix padding included."""

    at: int


@dataclass(frozen=True)
class SpeechStopped:
    """The turn ended; `at` is where its audio ends, the silence that ended it included."""

    at: int


@dataclass(frozen=True)
class Endpointing:
    """When turns begin and end."""

    threshold: float
    prefix: int  #: samples of audio before the speech that belong to the turn
    silence: int  #: samples of silence that end it

    @classmethod
    def of(cls, turn_detection: ServerVad | SemanticVad) -> Endpointing:
        """As the session object says."""
        if isinstance(turn_detection, SemanticVad):
            usual = ServerVad()
            return cls(usual.threshold, ms_to_samples(usual.prefix_padding_ms), ms_to_samples(EAGERNESS_MS[turn_detection.eagerness]))
        return cls(turn_detection.threshold, ms_to_samples(turn_detection.prefix_padding_ms), ms_to_samples(turn_detection.silence_duration_ms))


class _State(Enum):
    SILENCE = auto()
    ONSET = auto()  # speech that has not lasted long enough to count
    SPEECH = auto()


class TurnDetector:
    """Follows the probabilities of one microphone."""

    def __init__(self, endpointing: Endpointing, position: int = 0) -> None:
        self.endpointing = endpointing
        self.restart(position)

    def restart(self, position: int, floor: int | None = None) -> None:
        """Wait for a new turn in the audio after sample `position`; its padding may reach back to `floor` (None: to `position`)."""
        self._set(_State.SILENCE)
        self._floor = position if floor is None else floor
        self._position = position  # end of the audio judged so far
        self._speech_from = position
        self._speech_until = position

    @property
    def keep_from(self) -> int:
        """The first sample that a turn beginning now could still need."""
        begin = self._speech_from if self._state is _State.ONSET else self._position
        return max(self._floor, begin - self.endpointing.prefix)

    def push(self, end: int, probability: float) -> SpeechStarted | SpeechStopped | None:
        """One more window, ending at sample `end`."""
        begin, self._position = self._position, end
        match self._state:
            case _State.SILENCE | _State.ONSET:
                return self._wait_for_speech(begin, end, probability)
            case _State.SPEECH:
                return self._wait_for_silence(end, probability)
            case _:
                assert_never(self._state)

    def _wait_for_speech(self, begin: int, end: int, probability: float) -> SpeechStarted | None:
        if probability < self.endpointing.threshold:
            self._set(_State.SILENCE)
            return None
        if self._state is _State.SILENCE:
            self._set(_State.ONSET)
            self._speech_from = begin
        if end - self._speech_from < ms_to_samples(ONSET_MS):
            return None
        start = max(self._floor, self._speech_from - self.endpointing.prefix)
        self._set(_State.SPEECH)
        self._speech_until = end
        return SpeechStarted(start)

    def _wait_for_silence(self, end: int, probability: float) -> SpeechStopped | None:
        if probability >= max(self.endpointing.threshold - HYSTERESIS, 0.01):
            self._speech_until = end
        if end - self._speech_until < self.endpointing.silence or end == self._speech_until:
            return None
        self.restart(end)
        return SpeechStopped(end)

    def _set(self, state: _State) -> None:
        self._state = state

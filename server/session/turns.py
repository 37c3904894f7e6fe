"""Endpointing: from speech probabilities to "a turn began", "it pauses", "it goes on" and "it ended".

Time is counted in samples of the microphone's audio. `server_vad` ends a turn after a silence. So does `semantic_vad`, whose eagerness chooses
how long; where the model is sure that a turn is finished it ends sooner, and where it is sure of the contrary it is waited for.
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
#: so much silence after the speech belongs to the turn, and no more: then its answer can be prepared, whenever the turn turns out to have ended
PAUSE_MS = 120
#: speech this soon after the command to stop is the end of the command itself
SETTLING_MS = 250


@dataclass(frozen=True)
class Patience:
    """How long semantic_vad waits, ms of silence. Pauses for breath or thought last some 700 ms, so that a doubt costs a little more than one."""

    finished: int
    unknown: int  #: the model is in doubt, or does not say
    unfinished: int
    sure: float  #: from this probability that a turn is finished it is taken for so
    doubtful: float  #: below this one it is taken for unfinished


PATIENCE = {
    "low": Patience(finished=500, unknown=1_200, unfinished=4_000, sure=0.95, doubtful=0.5),
    "medium": Patience(finished=300, unknown=900, unfinished=2_000, sure=0.9, doubtful=0.3),
    "auto": Patience(finished=300, unknown=900, unfinished=2_000, sure=0.9, doubtful=0.3),
    "high": Patience(finished=200, unknown=400, unfinished=1_000, sure=0.5, doubtful=0.2),
}


@dataclass(frozen=True)
class SpeechStarted:
    """A turn began; `at` is where its audio begins, the prefix padding included."""

    at: int


@dataclass(frozen=True)
class SpeechPaused:
    """The turn has ended at `at` if it has ended: `PAUSE_MS` after its last speech."""

    at: int


@dataclass(frozen=True)
class SpeechResumed:
    """It had not ended."""


@dataclass(frozen=True)
class SpeechStopped:
    """The turn ended; `at` is where its audio ends. `spoken`: samples from its first speech to its last."""

    at: int
    spoken: int


Change = SpeechStarted | SpeechPaused | SpeechResumed | SpeechStopped


@dataclass(frozen=True)
class Endpointing:
    """When turns begin and end."""

    threshold: float
    prefix: int  #: samples of audio before the speech that belong to the turn
    silence: int  #: samples of silence that end it
    patience: Patience | None = None  #: of semantic_vad

    @classmethod
    def of(cls, turn_detection: ServerVad | SemanticVad) -> Endpointing:
        """As the session object says."""
        if isinstance(turn_detection, SemanticVad):
            usual, patience = ServerVad(), PATIENCE[turn_detection.eagerness]
            return cls(usual.threshold, ms_to_samples(usual.prefix_padding_ms), ms_to_samples(patience.unknown), patience)
        return cls(turn_detection.threshold, ms_to_samples(turn_detection.prefix_padding_ms), ms_to_samples(turn_detection.silence_duration_ms))


class _State(Enum):
    SETTLING = auto()  # what is left of a command is let pass
    SILENCE = auto()
    ONSET = auto()  # speech that has not lasted long enough to count
    SPEECH = auto()
    PAUSE = auto()  # silence that may end the turn


class TurnDetector:
    """Follows the probabilities of one microphone."""

    def __init__(self, endpointing: Endpointing, position: int = 0) -> None:
        self.endpointing = endpointing
        self.least_silence = 0  #: samples; a turn is not ended sooner
        self.restart(position)

    def restart(self, position: int, floor: int | None = None) -> None:
        """Wait for a new turn in the audio after sample `position`; its padding may reach back to `floor` (None: to `position`)."""
        self._state = _State.SILENCE
        self._floor = position if floor is None else floor
        self._position = position  # end of the audio judged so far
        self._speech_from = position
        self._speech_until = position
        self._finished: bool | None = None

    def dismiss(self, until: int) -> None:
        """What was spoken up to sample `until` is no turn. Speech that goes on is no new one before it has paused, or for `SETTLING_MS`."""
        self.restart(max(self._position, until), floor=until)
        self._state = _State.SETTLING

    @property
    def keep_from(self) -> int:
        """The first sample that a turn beginning now could still need."""
        begin = self._speech_from if self._state is _State.ONSET else self._position
        return max(self._floor, begin - self.endpointing.prefix)

    def finished(self, probability: float) -> None:
        """How likely it is that the turn that pauses has ended, in the model's opinion; counts for semantic_vad."""
        patience = self.endpointing.patience
        if self._state is _State.PAUSE and patience is not None:
            self._finished = True if probability >= patience.sure else False if probability < patience.doubtful else None

    def push(self, end: int, probability: float) -> Change | None:
        """One more window, ending at sample `end`."""
        begin, self._position = self._position, end
        match self._state:
            case _State.SETTLING:
                if probability < self.endpointing.threshold or end - self._floor >= ms_to_samples(SETTLING_MS):
                    self._state = _State.SILENCE
                return None
            case _State.SILENCE | _State.ONSET:
                return self._wait_for_speech(begin, end, probability)
            case _State.SPEECH | _State.PAUSE:
                return self._wait_for_silence(end, probability)
            case _:
                assert_never(self._state)

    def _wait_for_speech(self, begin: int, end: int, probability: float) -> SpeechStarted | None:
        if probability < self.endpointing.threshold:
            self._state = _State.SILENCE
            return None
        if self._state is _State.SILENCE:
            self._state = _State.ONSET
            self._speech_from = begin
        if end - self._speech_from < ms_to_samples(ONSET_MS):
            return None
        self._state = _State.SPEECH
        self._speech_until = end
        return SpeechStarted(max(self._floor, self._speech_from - self.endpointing.prefix))

    def _wait_for_silence(self, end: int, probability: float) -> SpeechPaused | SpeechResumed | SpeechStopped | None:
        if probability >= max(self.endpointing.threshold - HYSTERESIS, 0.01):
            self._speech_until = end
            resumed = self._state is _State.PAUSE
            self._state, self._finished = _State.SPEECH, None
            return SpeechResumed() if resumed else None
        stops, silence = self._speech_until + self._belongs, end - self._speech_until
        if silence >= self._silence:
            spoken = self._speech_until - self._speech_from
            self.restart(end, floor=stops)
            return SpeechStopped(stops, spoken)
        if self._state is _State.SPEECH and silence >= self._belongs:
            self._state = _State.PAUSE
            return SpeechPaused(stops)
        return None

    @property
    def _silence(self) -> int:
        """Samples of silence that end the turn, as far as is known."""
        patience, silence = self.endpointing.patience, self.endpointing.silence
        if patience is not None and self._finished is not None:
            silence = ms_to_samples(patience.finished if self._finished else patience.unfinished)
        return max(silence, self.least_silence)

    @property
    def _belongs(self) -> int:
        """Samples of silence that belong to the turn."""
        return min(self._silence, ms_to_samples(PAUSE_MS))

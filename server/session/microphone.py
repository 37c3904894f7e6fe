"""The microphone's side of a session: uncommitted audio, and where in it turns begin and end.

Knows nothing of answers: who has the floor is the machine's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from server.protocol.errors import ProtocolError
from server.protocol.media import ms_to_samples, pcm_samples, samples_to_ms
from server.protocol.session_object import SemanticVad, ServerVad
from server.session.input_buffer import InputBuffer
from server.session.messages import DetectSpeech, SpeechProbability
from server.session.turns import Change, Endpointing, SpeechStarted, SpeechStopped, TurnDetector

#: less than this is no turn (the protocol's own limit for `commit`)
SHORTEST_TURN_MS = 100


@dataclass
class Speech:
    """The turn that the user is speaking."""

    item_id: str  #: the item it will become
    start: int  #: sample
    announced: bool = False  #: speech_started was sent
    interrupts: bool = False  #: it ended an answer, and may be the command to stop
    pause: tuple[int, bytes | None] | None = None  #: where it paused last, and the newest picture then


class Microphone:
    """Audio in, turns out. The input buffer stays bounded: without turns by its limit, with them by dropping silence."""

    def __init__(self, *, buffer_s: float, turn_s: float, max_audio_s: float | None) -> None:
        self._buffer = InputBuffer(buffer_s)
        self._max_turn = None if max_audio_s is None else ms_to_samples(max_audio_s * 1000)
        self._max_detected_turn = min(ms_to_samples(turn_s * 1000), self._max_turn or ms_to_samples(turn_s * 1000))
        self._detector: TurnDetector | None = None
        self.speech: Speech | None = None  #: None: the user is silent, or turns are not detected

    @property
    def detects_turns(self) -> bool:
        return self._detector is not None

    @property
    def begin(self) -> int:
        """The first sample that is held."""
        return self._buffer.begin

    @property
    def position(self) -> int:
        """Samples received since the session began."""
        return self._buffer.end

    def configure(self, turn_detection: ServerVad | SemanticVad | None) -> None:
        """Detect turns so from now on; None: the client commits them."""
        if turn_detection is None:
            self._detector, self.speech = None, None
        elif self._detector is None:
            self._detector = TurnDetector(Endpointing.of(turn_detection), self._buffer.end)
        else:
            self._detector.endpointing = Endpointing.of(turn_detection)

    def append(self, pcm: bytes) -> DetectSpeech | None:
        """Add audio; gives what the speech detector should judge. Raises ProtocolError when the buffer is full."""
        start = self._buffer.end
        self._buffer.append(pcm)
        return DetectSpeech(start, pcm) if self._detector is not None and pcm else None

    def overlong(self) -> Iterator[bytes]:
        """Turns that the client has not committed although they have reached the length the model can hear."""
        while self._detector is None and self._max_turn and self._buffer.end - self._buffer.begin >= self._max_turn:
            yield self._buffer.take(self._buffer.begin, self._buffer.begin + self._max_turn)

    def judge(self, event: SpeechProbability) -> Change | None:
        """One more opinion of the detector. A turn of the greatest length ends there, whether or not speech goes on."""
        if self._detector is None:
            return None  # it was switched off while the opinion was formed
        change = self._detector.push(event.end, event.probability)
        if change is None and self.speech is not None and event.end - self.speech.start >= self._max_detected_turn:
            change = SpeechStopped(self.speech.start + self._max_detected_turn, self._max_detected_turn)
            self._detector.restart(event.end, floor=change.at)
        if change is None and self.speech is None:
            self._buffer.drop_before(self._detector.keep_from)
        if isinstance(change, SpeechStarted):
            return SpeechStarted(max(change.at, self._buffer.begin))
        return change

    def finished(self, probability: float) -> None:
        """How likely it is that the turn that pauses has ended."""
        if self._detector is not None:
            self._detector.finished(probability)

    def least_silence(self, ms: float) -> None:
        """No turn ends after less silence than this."""
        if self._detector is not None:
            self._detector.least_silence = ms_to_samples(ms)

    def read(self, start: int, end: int) -> bytes:
        """Audio that is still held."""
        return self._buffer.read(start, end)

    def take(self, start: int, end: int) -> bytes:
        """The audio of a detected turn, which is released."""
        return self._buffer.take(start, end)

    def dismiss(self, until: int) -> None:
        """What was said until then is no turn: it was the command to stop. What is said afterwards may be one."""
        self._buffer.drop_before(until)
        self.speech = None
        if self._detector is not None:
            self._detector.dismiss(until)

    def take_all(self) -> bytes:
        """The whole buffer (`commit`). Raises ProtocolError when it is too little for a turn."""
        held = self._buffer.end - self._buffer.begin
        if held < ms_to_samples(SHORTEST_TURN_MS):
            raise ProtocolError(
                "input_audio_buffer_commit_empty",
                f"The input audio buffer is too small to commit: it holds {samples_to_ms(held)} ms, a turn has at least {SHORTEST_TURN_MS} ms",
            )
        audio = self._buffer.take(self._buffer.begin, self._buffer.end)
        self._restart()
        return audio

    def clear(self) -> None:
        """Forget the buffer and the turn in it."""
        self._buffer.clear()
        self._restart()

    def _restart(self) -> None:
        self.speech = None
        if self._detector is not None:
            self._detector.restart(self._buffer.end)

    def check_item(self, audio: bytes | None, model: str) -> None:
        """Audio that comes in an item can't be committed in parts: raises ProtocolError when it is too long."""
        if audio is not None and self._max_turn is not None and pcm_samples(audio) > self._max_turn:
            raise ProtocolError(
                "input_audio_too_long",
                f"The item holds {samples_to_ms(pcm_samples(audio)) / 1000:g} s of audio; the model {model!r} hears at most "
                f"{samples_to_ms(self._max_turn) / 1000:g} s at once: send shorter items",
                param="item.content",
            )

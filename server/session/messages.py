"""What goes into a session beside client events, and what comes out beside wire events. Plain values."""

from __future__ import annotations

from dataclasses import dataclass

from server.protocol.errors import ProtocolError
from server.protocol.events import ClientEvent
from server.protocol.server_events import ServerEvent


@dataclass(frozen=True)
class Abilities:
    """What the model behind the session can do."""

    model: str
    tasks: frozenset[str]  #: names such as "A1A2": inputs, then output (2 after the letter: an answer, 1: a transcript)
    max_audio_s: float | None = None  #: longest spoken turn; None: any length
    memory_turns: int = 0  #: earlier turns of the conversation that it takes in


@dataclass(frozen=True)
class Limits:
    """What one session may hold."""

    buffer_s: float = 900.0  #: uncommitted audio
    turn_s: float = 300.0  #: a detected turn is committed at this length even where the model would hear more
    items: int = 10_000
    characters: int = 4_000_000  #: written by the client, in all items together
    item_audio: int = 4  #: user turns whose audio is kept, newest first
    parallel_responses: int = 4  #: responses at once: one in the conversation, others out-of-band
    parallel_transcriptions: int = 4


# -- inputs


@dataclass(frozen=True)
class Refused:
    """A frame that could not be read as an event."""

    error: ProtocolError


@dataclass(frozen=True)
class SpeechProbability:
    """The detector's opinion of the audio that ends at `end` (samples since the session began)."""

    end: int
    probability: float


@dataclass(frozen=True)
class AnswerAudio:
    response_id: str
    pcm: bytes  #: s16le, 24 kHz


@dataclass(frozen=True)
class AnswerText:
    response_id: str
    text: str


@dataclass(frozen=True)
class AnswerFinished:
    """The model ended its answer, or ran into the length limit."""

    response_id: str
    complete: bool  #: False: max_output_tokens or the model's positions ran out
    prompt_tokens: int
    text_tokens: int
    audio_tokens: int
    rtf: float | None


@dataclass(frozen=True)
class AnswerFailed:
    response_id: str
    error: ProtocolError


@dataclass(frozen=True)
class TranscriptText:
    item_id: str
    text: str


@dataclass(frozen=True)
class TranscriptFinished:
    item_id: str


@dataclass(frozen=True)
class TranscriptFailed:
    item_id: str
    error: ProtocolError


@dataclass(frozen=True)
class Expired:
    """The session has reached its longest duration."""


Input = (
    ClientEvent
    | Refused
    | SpeechProbability
    | AnswerAudio
    | AnswerText
    | AnswerFinished
    | AnswerFailed
    | TranscriptText
    | TranscriptFinished
    | TranscriptFailed
    | Expired
)


# -- outputs


@dataclass(frozen=True)
class DetectSpeech:
    """Run the speech detector on `pcm`, whose first sample is number `start`; its opinions come back as SpeechProbability."""

    start: int
    pcm: bytes


@dataclass(frozen=True)
class StartResponse:
    """Generate an answer. `task` names what is carried: "VA1A2" a picture and speech, answered in speech."""

    response_id: str
    task: str
    audio: bytes | None  #: s16le, 24 kHz
    image: bytes | None  #: an encoded PNG or JPEG
    text: str | None
    max_output_tokens: int | None  #: None: as long as the model allows
    history: tuple[tuple[str, str], ...] = ()  #: earlier turns, oldest first: question ("": not known) and answer


@dataclass(frozen=True)
class CancelResponse:
    response_id: str


@dataclass(frozen=True)
class StartTranscription:
    item_id: str
    audio: bytes


@dataclass(frozen=True)
class ReportTimings:
    """All of a response but its `response.done` has left the session."""

    response_id: str
    asked_at: float  #: `now` of the input that asked for the answer: the turn's commit, or `response.create`
    audio_ms: int
    rtf: float | None


@dataclass(frozen=True)
class Close:
    code: int
    reason: str


Command = DetectSpeech | StartResponse | CancelResponse | StartTranscription | ReportTimings | Close
Output = ServerEvent | Command

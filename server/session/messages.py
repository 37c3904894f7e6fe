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
    listens: bool = False  #: it tells the command to stop from other sounds while it speaks


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
    held_turns: int = 4  #: spoken over an answer that goes on; older ones are dropped


@dataclass(frozen=True)
class Hearing:
    """Speech that the engine hears while it is spoken: the first `samples` samples of what was given to it under this name."""

    name: str
    samples: int


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
class ListenerStatus:
    """The listener's opinion of the audio that ends at `end` (samples since the session began)."""

    end: int
    irq: bool
    margin: float


@dataclass(frozen=True)
class TurnFinished:
    """How likely it is that the turn which a response answers has ended, in the model's opinion; comes before its first audio and text."""

    response_id: str
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
class WordsHeard:
    """What was found out for `FindWords`."""

    item_id: str
    samples: int
    characters: int


@dataclass(frozen=True)
class Tick:
    """Time has passed, and nothing else has happened (`Session.wake_at`)."""


@dataclass(frozen=True)
class Expired:
    """The session has reached its longest duration."""


Input = (
    ClientEvent
    | Refused
    | SpeechProbability
    | ListenerStatus
    | TurnFinished
    | AnswerAudio
    | AnswerText
    | AnswerFinished
    | AnswerFailed
    | TranscriptText
    | TranscriptFinished
    | TranscriptFailed
    | WordsHeard
    | Tick
    | Expired
)


# -- outputs


@dataclass(frozen=True)
class DetectSpeech:
    """Run the speech detector on `pcm`, whose first sample is number `start`; its opinions come back as SpeechProbability."""

    start: int
    pcm: bytes


@dataclass(frozen=True)
class Hear:
    """More of a turn that is being spoken, to be encoded while it is: a new name begins a new turn."""

    name: str
    pcm: bytes


@dataclass(frozen=True)
class HearNoMore:
    """No response will ask for that turn again."""

    name: str


@dataclass(frozen=True)
class Listen:
    """Give the microphone's audio from now on to the listener."""


@dataclass(frozen=True)
class ListenNoMore:
    """The assistant is silent."""


@dataclass(frozen=True)
class Played:
    """A response's `pcm` leaves, and begins to be heard at the time `begins` if the client plays it at once."""

    pcm: bytes
    begins: float


@dataclass(frozen=True)
class PlayedNoMore:
    """What was not heard by now never will be."""


@dataclass(frozen=True)
class FindWords:
    """How much of `text` is said in `pcm`, the part of an answer that was heard before it was cut? Comes back as WordsHeard, or not at all."""

    item_id: str
    text: str
    pcm: bytes


@dataclass(frozen=True)
class StartResponse:
    """Generate an answer. `task` names what is carried: "VA1A2" a picture and speech, answered in speech."""

    response_id: str
    task: str
    audio: bytes | None  #: s16le, 24 kHz
    hearing: Hearing | None  #: where the engine has heard that audio already
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


Command = (
    DetectSpeech
    | Hear
    | HearNoMore
    | Listen
    | ListenNoMore
    | Played
    | PlayedNoMore
    | FindWords
    | StartResponse
    | CancelResponse
    | StartTranscription
    | ReportTimings
    | Close
)
Output = ServerEvent | Command

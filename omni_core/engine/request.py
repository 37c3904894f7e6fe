"""What goes into the engine and what comes out: plain values, no tensor, fit to cross a process boundary.

Events are tagged structs, which one union tells apart on the wire (`wire`); what is part of others is a dataclass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from omni_core.config import ReadAloudConfig, SamplingParams
from omni_core.tokens import Task

SAMPLE_RATE = 24_000  #: of every microphone and of answers, Hz
MAX_TURN_SAMPLES = 300 * SAMPLE_RATE  #: of one turn


@dataclass(frozen=True, eq=False)
class GenerateRequest:
    """One response to be generated. Inputs that the task does not name must be None."""

    id: str
    task: Task
    audio: NDArray[np.float32] | None = None  #: [samples], mono, in [-1, 1]
    sample_rate: int = 24_000  #: of `audio`, Hz
    turn: tuple[str, int] | None = None  #: in place of `audio`: a turn that is open (`EngineClient.hear`), and how many of its samples are the prompt
    image: bytes | None = None  #: an encoded PNG or JPEG
    text: str | None = None
    history: tuple[tuple[str, str], ...] = ()  #: earlier turns (question, answer), oldest first; "": a question that is not known
    sampling: SamplingParams = field(default_factory=SamplingParams)
    max_steps: int = 1024  #: decode steps at most (also bounded by the model's positions)
    paced: bool = False  #: True: never more than EngineConfig.max_ahead_s ahead of playback
    background: bool = False  #: True: admitted after all others, and never to more than half of the slots


class AudioChunk(msgspec.Struct, frozen=True, tag=True, eq=False):
    """A run of the answer's audio."""

    pcm: NDArray[np.float32]  #: [samples], 24 kHz mono


class TextDelta(msgspec.Struct, frozen=True, tag=True):
    """More of the answer's text: whole characters only."""

    text: str


class TurnEnded(msgspec.Struct, frozen=True, tag=True):
    """How likely it is, in the model's opinion, that the spoken turn has ended; the first event, from models that were trained to tell."""

    probability: float


class FinishReason(StrEnum):
    """Why a response ended."""

    STOP = "stop"  #: the model ended it
    LENGTH = "length"  #: max_steps or the model's positions ran out
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Usage:
    """Token counts of one response."""

    prompt_tokens: int  #: positions of the prompt
    text_tokens: int
    audio_tokens: int  #: 7 per frame


@dataclass(frozen=True)
class Timings:
    """Seconds from the moment the engine took the request."""

    queued_s: float
    prefill_s: float  #: encoder, adapters and prompt
    first_audio_s: float | None  #: None: no audio was asked for or none came
    total_s: float
    steps: int
    audio_s: float  #: duration of the audio made
    compute_s: float  #: prefill and the steps that served it; less than total_s where it was queued or paced

    @property
    def rtf(self) -> float | None:
        """Compute time / audio time; below 1 keeps up."""
        return self.compute_s / self.audio_s if self.audio_s else None


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The last event of a response that the engine ended in order."""

    reason: FinishReason
    usage: Usage
    timings: Timings


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The last event of a response that could not be generated."""

    error: Exception  #: an OmniError


EngineEvent = TurnEnded | AudioChunk | TextDelta | Finished | Failed


class Status(msgspec.Struct, frozen=True, tag=True):
    """What the listener makes of one frame of the microphone."""

    frame: int  #: its number: it ends with sample 2048 * (frame + 1) of what was pushed, at 24 kHz
    irq: bool  #: the user wants the assistant to stop
    margin: float  #: how far irq's logit is above n-irq's; irq is said from the checkpoint's margin on


class ListenerEnded(msgspec.Struct, frozen=True, tag=True):
    """The last event of a listener that can't go on."""

    error: Exception  #: an OmniError


ListenerEvent = Status | ListenerEnded


@dataclass(frozen=True)
class EngineInfo:
    """What the server may know of the model behind the engine."""

    model: str
    sample_rate: int  #: of the answer's audio
    frame_samples: int  #: of one frame: what a listener hears at once
    tasks: tuple[Task, ...]
    max_audio_s: float | None  #: longest spoken input; None: any length
    listener: bool  #: it can listen while it speaks
    letters: bool  #: its audio encoder kept its CTC head, and tells by itself which words were said
    memory_turns: int  #: earlier turns that the model takes in, the newest of a request's history; 0: it was not trained for any, all are ignored
    read_aloud: ReadAloudConfig | None = None  #: how it is asked to say a text; None: it answers every text

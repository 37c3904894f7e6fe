"""One response: its events in the order that works with every client tried, from `response.created` to `response.done`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from server.protocol import server_events as events
from server.protocol.audio_formats import AudioOut
from server.protocol.errors import ProtocolError
from server.protocol.media import pcm_samples, samples_to_ms
from server.protocol.server_events import Place, ServerEvent
from server.protocol.session_object import AudioOutput, OutputTokens
from server.session.conversation import Conversation, Item, Turn
from server.session.messages import AnswerAudio, AnswerFailed, AnswerFinished, AnswerText, ReportTimings


class Status(Enum):
    """`response.status`."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Ending:
    """Why a response ends."""

    status: Status
    reason: str | None = None  #: one of turn_detected, client_cancelled, max_output_tokens, content_filter
    error: ProtocolError | None = None
    finished: AnswerFinished | None = None  #: the engine's own account, where it gave one

    def details(self) -> dict[str, Any] | None:
        """`response.status_details`."""
        if self.status is Status.COMPLETED:
            return None
        details: dict[str, Any] = {"type": self.status.value}
        if self.reason is not None:
            details["reason"] = self.reason
        if self.error is not None:
            details["error"] = {"type": self.error.type, "code": self.error.code, "message": self.error.message}
        return details


@dataclass
class Response:
    """A response being made. It writes to `conversation`, or to none (out-of-band)."""

    id: str
    item: Item
    turn: Turn
    asked_at: float
    max_output_tokens: OutputTokens
    output: AudioOutput  #: its voice, and the format that its audio leaves in
    metadata: dict[str, str] | None = None
    conversation: Conversation | None = None
    conversation_id: str | None = None
    status: Status = Status.IN_PROGRESS
    held: list[AnswerAudio | AnswerText | AnswerFinished | AnswerFailed] | None = None  #: of one that is prepared: what the engine made, untold
    heard: bool = False  #: the engine has taken in its turn

    def __post_init__(self) -> None:
        self._encoder = AudioOut(self.output.format)

    @property
    def place(self) -> Place:
        return Place(self.id, self.item.id)

    def open(self) -> list[ServerEvent]:
        """Everything before the first delta."""
        opening = [events.response_created(self._wire(None)), events.output_item_added(self.place, self.item.wire())]
        if self.conversation is not None:
            opening.append(events.item_added(self.item.wire(), self.conversation.previous_id(self.item)))
        return [*opening, events.content_part_added(self.place, self._part())]

    def audio(self, pcm: bytes) -> list[ServerEvent]:
        """More speech, s16le 24 kHz, leaves for the client."""
        self.item.samples += pcm_samples(pcm)
        return self._delta(self._encoder.push(pcm))

    def _delta(self, encoded: bytes) -> list[ServerEvent]:
        return [events.audio_delta(self.place, encoded)] if encoded else []

    def text(self, delta: str) -> ServerEvent:
        """More of the answer's words: of the speech's transcript, or of the text."""
        self.item.text += delta
        return events.transcript_delta(self.place, delta) if self.item.speaks else events.text_delta(self.place, delta)

    def close(self, ending: Ending) -> list[ServerEvent | ReportTimings]:
        """The `.done` events, which come on every ending, then `response.done`: once, and nothing of the response after it."""
        self.status = ending.status
        self.item.status = "completed" if ending.status is Status.COMPLETED else "incomplete"
        if self.item.speaks:
            closing: list[ServerEvent | ReportTimings] = [
                *self._delta(self._encoder.flush()),
                events.audio_done(self.place),
                events.transcript_done(self.place, self.item.text),
            ]
        else:
            closing = [events.text_done(self.place, self.item.text)]
        closing.append(events.content_part_done(self.place, self._part()))
        if self.conversation is not None and self.item.id in self.conversation:
            closing.append(events.item_done(self.item.wire(), self.conversation.previous_id(self.item)))
        rtf = ending.finished.rtf if ending.finished else None
        return [
            *closing,
            events.output_item_done(self.place, self.item.wire()),
            ReportTimings(self.id, self.asked_at, samples_to_ms(self.item.samples), rtf),
            events.response_done(self._wire(ending)),
            events.rate_limits_updated(),
        ]

    def _part(self) -> dict[str, Any]:
        # In content_part events the type is audio / text, in items output_audio / output_text.
        return {"type": "audio", "transcript": self.item.text} if self.item.speaks else {"type": "text", "text": self.item.text}

    def _wire(self, ending: Ending | None) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status.value,
            "status_details": ending.details() if ending else None,
            "output": [self.item.wire()] if ending else [],
            "conversation_id": self.conversation_id,
            "output_modalities": ["audio"] if self.item.speaks else ["text"],
            "max_output_tokens": self.max_output_tokens,
            "audio": {"output": {"format": self.output.format.model_dump(), "voice": self.output.voice}},
            "metadata": self.metadata,
            "usage": self._usage(ending.finished) if ending else None,
        }

    def _usage(self, finished: AnswerFinished | None) -> dict[str, Any]:
        """Token counts. The engine gives none for an answer that was cut short, and is not waited for: zeros then."""
        prompt, text, audio = (finished.prompt_tokens, finished.text_tokens, finished.audio_tokens) if finished else (0, 0, 0)
        spoken = self.turn.audio is not None
        return {
            "total_tokens": prompt + text + audio,
            "input_tokens": prompt,
            "output_tokens": text + audio,
            "input_token_details": {
                "text_tokens": 0 if spoken else prompt,
                "audio_tokens": prompt if spoken else 0,
                "image_tokens": 0,
                "cached_tokens": 0,
            },
            "output_token_details": {"text_tokens": text, "audio_tokens": audio},
        }

"""Server events of the Realtime protocol: one builder each, the only home of their shapes.

A builder leaves `event_id` to whoever sends the event. Own extensions (`omni.*`) go only to connections that asked for
them, because strict clients reject unknown types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from server.protocol.errors import ProtocolError
from server.protocol.media import encode_base64
from server.protocol.session_object import SessionObject

ServerEvent = dict[str, Any]


def error(refused: ProtocolError) -> ServerEvent:
    """`error`; `message` is always a string."""
    return {
        "type": "error",
        "error": {
            "type": refused.type,
            "code": refused.code,
            "message": refused.message,
            "param": refused.param,
            "event_id": refused.event_id,
        },
    }


def session_created(session: SessionObject) -> ServerEvent:
    return {"type": "session.created", "session": session.model_dump()}


def session_updated(session: SessionObject) -> ServerEvent:
    return {"type": "session.updated", "session": session.model_dump()}


# -- the input audio buffer


def speech_started(item_id: str, audio_start_ms: int) -> ServerEvent:
    return {"type": "input_audio_buffer.speech_started", "item_id": item_id, "audio_start_ms": audio_start_ms}


def speech_stopped(item_id: str, audio_end_ms: int) -> ServerEvent:
    return {"type": "input_audio_buffer.speech_stopped", "item_id": item_id, "audio_end_ms": audio_end_ms}


def timeout_triggered(item_id: str, audio_start_ms: int, audio_end_ms: int) -> ServerEvent:
    """Nobody has spoken for `idle_timeout_ms`, between these places in the input audio."""
    return {"type": "input_audio_buffer.timeout_triggered", "item_id": item_id, "audio_start_ms": audio_start_ms, "audio_end_ms": audio_end_ms}


def buffer_committed(item_id: str, previous_item_id: str | None) -> ServerEvent:
    return {"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": previous_item_id}


def buffer_cleared() -> ServerEvent:
    return {"type": "input_audio_buffer.cleared"}


# -- conversation items


def item_added(item: dict[str, Any], previous_item_id: str | None) -> ServerEvent:
    return {"type": "conversation.item.added", "item": item, "previous_item_id": previous_item_id}


def item_done(item: dict[str, Any], previous_item_id: str | None) -> ServerEvent:
    return {"type": "conversation.item.done", "item": item, "previous_item_id": previous_item_id}


def item_retrieved(item: dict[str, Any]) -> ServerEvent:
    return {"type": "conversation.item.retrieved", "item": item}


def item_deleted(item_id: str) -> ServerEvent:
    return {"type": "conversation.item.deleted", "item_id": item_id}


def item_truncated(item_id: str, content_index: int, audio_end_ms: int) -> ServerEvent:
    return {"type": "conversation.item.truncated", "item_id": item_id, "content_index": content_index, "audio_end_ms": audio_end_ms}


def transcription_delta(item_id: str, delta: str) -> ServerEvent:
    return {"type": "conversation.item.input_audio_transcription.delta", "item_id": item_id, "content_index": 0, "delta": delta}


def transcription_completed(item_id: str, transcript: str, seconds: float) -> ServerEvent:
    return {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": item_id,
        "content_index": 0,
        "transcript": transcript,
        "usage": {"type": "duration", "seconds": seconds},
    }


def transcription_failed(item_id: str, failure: ProtocolError) -> ServerEvent:
    return {
        "type": "conversation.item.input_audio_transcription.failed",
        "item_id": item_id,
        "content_index": 0,
        "error": {"type": failure.type, "code": failure.code, "message": failure.message, "param": failure.param},
    }


# -- responses


@dataclass(frozen=True)
class Place:
    """Where a response's events belong: one item with one content part."""

    response_id: str
    item_id: str

    def of_part(self) -> dict[str, Any]:
        return {"response_id": self.response_id, "item_id": self.item_id, "output_index": 0, "content_index": 0}

    def of_item(self) -> dict[str, Any]:
        return {"response_id": self.response_id, "output_index": 0}


def response_created(response: dict[str, Any]) -> ServerEvent:
    return {"type": "response.created", "response": response}


def response_done(response: dict[str, Any]) -> ServerEvent:
    return {"type": "response.done", "response": response}


def output_item_added(place: Place, item: dict[str, Any]) -> ServerEvent:
    return {"type": "response.output_item.added", **place.of_item(), "item": item}


def output_item_done(place: Place, item: dict[str, Any]) -> ServerEvent:
    return {"type": "response.output_item.done", **place.of_item(), "item": item}


def content_part_added(place: Place, part: dict[str, Any]) -> ServerEvent:
    return {"type": "response.content_part.added", **place.of_part(), "part": part}


def content_part_done(place: Place, part: dict[str, Any]) -> ServerEvent:
    return {"type": "response.content_part.done", **place.of_part(), "part": part}


def audio_delta(place: Place, audio: bytes) -> ServerEvent:
    """`audio` is in the format of the response (`audio_formats.AudioOut`)."""
    return {"type": "response.output_audio.delta", **place.of_part(), "delta": encode_base64(audio)}


def audio_done(place: Place) -> ServerEvent:
    return {"type": "response.output_audio.done", **place.of_part()}


def transcript_delta(place: Place, delta: str) -> ServerEvent:
    return {"type": "response.output_audio_transcript.delta", **place.of_part(), "delta": delta}


def transcript_done(place: Place, transcript: str) -> ServerEvent:
    return {"type": "response.output_audio_transcript.done", **place.of_part(), "transcript": transcript}


def text_delta(place: Place, delta: str) -> ServerEvent:
    return {"type": "response.output_text.delta", **place.of_part(), "delta": delta}


def text_done(place: Place, text: str) -> ServerEvent:
    return {"type": "response.output_text.done", **place.of_part(), "text": text}


def rate_limits_updated() -> ServerEvent:
    """Nothing is rationed here; clients still wait for the event after `response.done`."""
    return {"type": "rate_limits.updated", "rate_limits": []}


def omni_timings(response_id: str, server_ttfa_ms: float | None, rtf: float | None, audio_ms: int) -> ServerEvent:
    """Extension: how fast the server answered."""
    return {
        "type": "omni.response.timings",
        "response_id": response_id,
        "server_ttfa_ms": server_ttfa_ms,
        "rtf": rtf,
        "audio_ms": audio_ms,
    }


def omni_listener_status(place: Place, audio_end_ms: int, irq: bool, margin: float) -> ServerEvent:
    """Extension: the listener's opinion, during an answer, of the input audio that ends at `audio_end_ms`; irq wins by `margin` (a logit)."""
    return {
        "type": "omni.listener.status",
        "response_id": place.response_id,
        "item_id": place.item_id,
        "audio_end_ms": audio_end_ms,
        "status": "irq" if irq else "n-irq",
        "margin": margin,
    }

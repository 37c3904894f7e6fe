"""Every server event has the shape that the protocol's own package accepts."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from server.protocol import server_events as events
from server.protocol.errors import ProtocolError
from server.protocol.server_events import Place, ServerEvent
from server.protocol.session_object import SessionObject
from tests.session.harness import check

PLACE = Place("resp_1", "item_1")
SESSION = SessionObject(id="sess_1", expires_at=1, model="nano").updated(
    {
        "tools": [{"type": "function", "name": "f"}],
        "audio": {
            "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"idle_timeout_ms": 6000}, "transcription": {"model": "whisper-1"}},
            "output": {"format": {"type": "audio/pcma"}},
        },
    }
)
ITEM = {"id": "item_1", "object": "realtime.item", "type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "Hi"}]}
RESPONSE: dict[str, Any] = {"object": "realtime.response", "id": "resp_1", "status": "in_progress", "output": [ITEM], "output_modalities": ["audio"]}
REFUSAL = ProtocolError("invalid_value", "No", param="session.audio", event_id="event_of_client")

BUILT = {
    events.error: (REFUSAL,),
    events.session_created: (SESSION,),
    events.session_updated: (SESSION,),
    events.speech_started: ("item_1", 20),
    events.speech_stopped: ("item_1", 20),
    events.timeout_triggered: ("item_1", 0, 6000),
    events.buffer_committed: ("item_1", None),
    events.buffer_cleared: (),
    events.item_added: (ITEM, None),
    events.item_done: (ITEM, "item_0"),
    events.item_retrieved: (ITEM,),
    events.item_deleted: ("item_1",),
    events.item_truncated: ("item_1", 0, 1500),
    events.transcription_delta: ("item_1", "Hi"),
    events.transcription_completed: ("item_1", "Hi", 1.5),
    events.transcription_failed: ("item_1", REFUSAL),
    events.response_created: (RESPONSE,),
    events.response_done: (RESPONSE,),
    events.output_item_added: (PLACE, ITEM),
    events.output_item_done: (PLACE, ITEM),
    events.content_part_added: (PLACE, {"type": "audio", "transcript": ""}),
    events.content_part_done: (PLACE, {"type": "text", "text": "Hi"}),
    events.audio_delta: (PLACE, b"\0\0"),
    events.audio_done: (PLACE,),
    events.transcript_delta: (PLACE, "Hi"),
    events.transcript_done: (PLACE, "Hi"),
    events.text_delta: (PLACE, "Hi"),
    events.text_done: (PLACE, "Hi"),
    events.rate_limits_updated: (),
}


@pytest.mark.parametrize("event", [builder(*values) for builder, values in BUILT.items()], ids=lambda event: event["type"])
def test_strict_clients_accept(event: ServerEvent) -> None:
    check({"event_id": "event_1", **event})


def test_the_table_is_complete_but_for_our_own_extensions() -> None:
    builders = {value for name, value in vars(events).items() if inspect.isfunction(value) and value.__module__ == events.__name__}
    assert {builder.__name__ for builder in builders - set(BUILT)} == {"omni_timings", "omni_listener_status"}


def test_a_listener_status_says_where_and_how_sure() -> None:
    assert events.omni_listener_status(PLACE, 4000, True, 2.5) == {
        "type": "omni.listener.status",
        "response_id": "resp_1",
        "item_id": "item_1",
        "audio_end_ms": 4000,
        "status": "irq",
        "margin": 2.5,
    }

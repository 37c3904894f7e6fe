"""The beta dialect: flat sessions and older names at the edge, GA inside."""

from __future__ import annotations

import asyncio
import json
from typing import Any, get_args

import pytest
from openai.types.beta.realtime import RealtimeServerEvent
from websockets.asyncio.client import connect

from server.protocol import server_events as events
from server.protocol.dialects import Dialect
from server.protocol.errors import ProtocolError
from server.protocol.events import ResponseCreate, SessionUpdate
from server.protocol.server_events import Place, ServerEvent
from server.protocol.session_object import SessionObject
from server.protocol.wire import parse
from tests.server.conftest import PATIENCE_S, Server

BETA_EVENTS = {cls.model_fields["type"].annotation.__args__[0]: cls for cls in get_args(get_args(RealtimeServerEvent)[0])}
SESSION = SessionObject(id="sess_t", expires_at=1, model="gpt-realtime")
FLAT = {
    "modalities": ["text"],
    "instructions": "Be brief",
    "voice": "alloy",
    "input_audio_format": "g711_ulaw",
    "output_audio_format": "g711_alaw",
    "input_audio_transcription": {"model": "whisper-1"},
    "turn_detection": {"type": "server_vad", "threshold": 0.7},
    "max_response_output_tokens": 200,
    "temperature": 0.6,
    "speed": 1.25,
}
PLACE = Place("resp_1", "item_1")


def updated(dialect: Dialect, **session: Any) -> SessionObject:
    return applied(session, dialect)


def applied(session: Any, dialect: Dialect) -> SessionObject:
    event = parse(json.dumps({"type": "session.update", "session": session}), dialect)
    assert isinstance(event, SessionUpdate)
    return SESSION.updated(event.session)


def told(event: ServerEvent, dialect: Dialect | None = None) -> dict[str, Any]:
    """What a beta client is told, which its types accept."""
    (translated,) = (dialect or Dialect(beta=True)).outgoing({"event_id": "event_1", **event})
    BETA_EVENTS[translated["type"]].model_validate(translated)
    return translated


@pytest.mark.parametrize(
    ("header", "subprotocols", "beta"),
    [(None, [], False), ("realtime=v1", [], True), ("assistants=v2", ["realtime"], False), (None, ["realtime", "openai-beta.realtime-v1"], True)],
)
def test_the_handshake_chooses(header: str | None, subprotocols: list[str], beta: bool) -> None:
    assert Dialect.of(header, subprotocols).beta is beta


def test_a_flat_session_update_chooses_beta_for_good() -> None:
    dialect = Dialect()
    updated(dialect, instructions="Hello")
    assert not dialect.beta  # both dialects say that so
    updated(dialect, type="realtime", voice="alloy")
    assert not dialect.beta
    updated(dialect, turn_detection=None)
    updated(dialect, instructions="Hello")
    assert dialect.beta


def test_a_flat_session_there_and_back() -> None:
    dialect = Dialect()
    session = updated(dialect, **FLAT)
    assert session.output_modalities == ["text"]
    assert (session.audio.input.format.type, session.audio.output.format.type) == ("audio/pcmu", "audio/pcma")
    assert session.audio.input.turn_detection is not None
    flat = told(events.session_updated(session), dialect)["session"]
    assert {key: flat[key] for key in FLAT if key != "turn_detection"} == {key: value for key, value in FLAT.items() if key != "turn_detection"}
    assert flat["turn_detection"]["threshold"] == 0.7
    assert not {"audio", "type", "output_modalities", "max_output_tokens"} & set(flat)


def test_null_and_both_modalities() -> None:
    session = updated(Dialect(), turn_detection=None, input_audio_format=None, modalities=["text", "audio"])
    flat = told(events.session_created(session))["session"]
    assert (flat["turn_detection"], flat["input_audio_format"], flat["modalities"]) == (None, "pcm16", ["audio", "text"])


def test_a_ga_session_on_a_beta_connection_is_understood() -> None:
    session = updated(Dialect(beta=True), type="realtime", audio={"output": {"voice": "marin"}}, output_modalities=["text"])
    assert (session.audio.output.voice, session.speaks) == ("marin", False)


def test_overrides_of_a_response() -> None:
    response = {"modalities": ["text"], "max_response_output_tokens": 50, "voice": "alloy", "output_audio_format": "g711_ulaw"}
    event = parse(json.dumps({"type": "response.create", "response": response}), Dialect(beta=True))
    assert isinstance(event, ResponseCreate)
    assert event.response is not None
    assert (event.response.output_modalities, event.response.max_output_tokens) == (["text"], 50)
    output = event.response.audio_output(SESSION.audio.output)
    assert (output.voice, output.format.type, output.speed) == ("alloy", "audio/pcmu", 1.0)


def test_errors_name_what_the_client_wrote() -> None:
    with pytest.raises(ProtocolError) as unknown:
        parse('{"type": "session.update", "event_id": "mine", "session": {"input_audio_format": "mp3"}}', Dialect())
    assert (unknown.value.param, unknown.value.event_id) == ("session.input_audio_format", "mine")
    assert "pcm16, g711_ulaw, g711_alaw" in unknown.value.message
    with pytest.raises(ProtocolError) as bad:
        updated(Dialect(), turn_detection={"type": "server_vad", "threshold": 2})
    assert told(events.error(bad.value))["error"]["param"] == "session.turn_detection.threshold"


@pytest.mark.parametrize(
    "session", [None, [], "loud", {"audio": "loud"}, {"voice": None, "modalities": 5}, {"input_audio_format": {"type": "pcm16"}}]
)
def test_nonsense_is_refused_as_in_ga(session: Any) -> None:
    with pytest.raises(ProtocolError):
        applied(session, Dialect(beta=True))


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (events.audio_delta(PLACE, b"\0\0"), "response.audio.delta"),
        (events.audio_done(PLACE), "response.audio.done"),
        (events.transcript_delta(PLACE, "Hi"), "response.audio_transcript.delta"),
        (events.transcript_done(PLACE, "Hi"), "response.audio_transcript.done"),
        (events.text_delta(PLACE, "Hi"), "response.text.delta"),
        (events.text_done(PLACE, "Hi"), "response.text.done"),
        (events.content_part_added(PLACE, {"type": "audio", "transcript": ""}), "response.content_part.added"),
        (events.buffer_committed("item_1", None), "input_audio_buffer.committed"),
        (events.rate_limits_updated(), "rate_limits.updated"),
    ],
)
def test_events_have_their_beta_names(event: ServerEvent, name: str) -> None:
    translated = told(event)
    assert translated["type"] == name
    assert translated == {"event_id": "event_1", **event, "type": name}


def test_items_hold_audio_and_text() -> None:
    item = {"id": "item_1", "object": "realtime.item", "type": "message", "role": "assistant", "status": "completed"}
    spoken = {**item, "content": [{"type": "output_audio", "transcript": "Hi"}]}
    created = told(events.item_added(spoken, "item_0"))
    assert (created["type"], created["previous_item_id"]) == ("conversation.item.created", "item_0")
    assert created["item"]["content"] == [{"type": "audio", "transcript": "Hi"}]
    assert spoken["content"][0]["type"] == "output_audio"  # the session's own item is as it was
    done = told(events.output_item_done(PLACE, {**item, "content": [{"type": "output_text", "text": "Hi"}]}))
    assert done["item"]["content"] == [{"type": "text", "text": "Hi"}]
    call = {"id": "item_2", "object": "realtime.item", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    assert told(events.item_retrieved(call))["item"] == call


def test_a_response_is_flat_too() -> None:
    response = {
        "object": "realtime.response",
        "id": "resp_1",
        "status": "completed",
        "output": [{"id": "item_1", "type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "Hi"}]}],
        "output_modalities": ["audio"],
        "max_output_tokens": "inf",
        "audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": "alloy"}},
    }
    flat = told(events.response_done(response))["response"]
    assert (flat["modalities"], flat["output_audio_format"], flat["voice"]) == (["audio", "text"], "g711_ulaw", "alloy")
    assert flat["output"][0]["content"] == [{"type": "audio", "transcript": "Hi"}]
    assert flat["max_output_tokens"] == "inf"
    assert "audio" not in flat


@pytest.mark.parametrize("event", [events.item_done({}, None), events.timeout_triggered("item_1", 0, 5000)])
def test_what_beta_does_not_know_is_not_said(event: ServerEvent) -> None:
    assert Dialect(beta=True).outgoing(event) == []


def test_ga_clients_are_told_everything_as_it_is() -> None:
    event = events.item_done({"content": [{"type": "output_text"}]}, None)
    assert Dialect().outgoing(event) == [event]


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_beta_client_gets_a_spoken_answer(server: Server, by_header: bool) -> None:
    """Over a socket; chosen by the header, or by the first session.update."""
    names: list[str] = []
    url, headers = f"{server.url}?model=gpt-realtime", {"OpenAI-Beta": "realtime=v1"} if by_header else {}
    async with asyncio.timeout(PATIENCE_S), connect(url, additional_headers=headers, proxy=None) as socket:

        async def until(name: str) -> dict[str, Any]:
            while True:
                event = json.loads(await socket.recv())
                names.append(event["type"])
                if by_header or len(names) > 1:
                    BETA_EVENTS[event["type"]].model_validate(event)
                if event["type"] == name:
                    return event

        assert ("modalities" in (await until("session.created"))["session"]) is by_header
        await socket.send(json.dumps({"type": "session.update", "session": {"turn_detection": None, "voice": "alloy"}}))
        assert (await until("session.updated"))["session"]["turn_detection"] is None
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello?"}]}
        await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await socket.send(json.dumps({"type": "response.create", "response": {"modalities": ["audio", "text"], "max_response_output_tokens": 160}}))
        done = await until("response.done")
    assert done["response"]["output"][0]["content"][0]["type"] == "audio"
    assert names.count("conversation.item.created") == 2
    assert {"response.audio.delta", "response.audio_transcript.done"} <= set(names)

"""Frames to events and errors to the wire."""

from __future__ import annotations

import inspect
import json
from typing import Any, get_args

import pytest
from openai.types.realtime import RealtimeClientEvent

import omni_core.errors
from server.protocol.errors import ERROR_CODES, ProtocolError, as_protocol_error
from server.protocol.events import ClientEvent, ConversationItemCreate, ResponseCreate
from server.protocol.media import decode_base64, encode_base64, ms_to_samples, samples_to_ms
from server.protocol.wire import parse, serialise
from tests.session.harness import Talk, names


def refused(frame: str) -> ProtocolError:
    with pytest.raises(ProtocolError) as error:
        parse(frame)
    return error.value


@pytest.mark.parametrize("frame", ["", "{", "[1, 2]", "null", '"text"', "[" * 100_000, '{"type": "response.create", "x": NaN}'])
def test_what_is_not_a_json_object(frame: str) -> None:
    assert refused(frame).code == "invalid_json"


def test_an_unknown_event_carries_its_event_id() -> None:
    error = refused('{"type": "response.dance", "event_id": "mine"}')
    assert (error.code, error.param, error.event_id) == ("unknown_event_type", "type", "mine")
    assert "response.dance" in error.message


def test_an_event_without_a_type() -> None:
    assert refused('{"event_id": "mine"}').code == "missing_required_parameter"


@pytest.mark.parametrize(
    ("event", "param"),
    [
        ({"type": "input_audio_buffer.append"}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": 5}, "audio"),
        ({"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": -1}, "audio_end_ms"),
        ({"type": "conversation.item.create", "item": {"type": "message", "content": [{}]}}, "item.content.0.type"),
        ({"type": "response.create", "response": {"max_output_tokens": "many"}}, "response.max_output_tokens"),
        ({"type": "session.update", "session": []}, "session"),
    ],
)
def test_a_bad_parameter_is_named(event: dict[str, Any], param: str) -> None:
    error = refused(json.dumps({**event, "event_id": "mine"}))
    assert error.param is not None
    assert error.param.startswith(param)
    assert error.event_id == "mine"


def test_an_event_id_that_is_none_does_no_harm() -> None:
    assert refused('{"type": "nothing", "event_id": 5}').event_id is None


def test_extras_of_stock_clients_are_ignored() -> None:
    content = [{"type": "input_text", "text": "Hi", "detail": "auto"}]
    item = {"type": "message", "role": "user", "id": "a", "object": "realtime.item", "content": content}
    event = parse(json.dumps({"type": "conversation.item.create", "item": item, "previous_item_id": None, "extra": 1}))
    assert isinstance(event, ConversationItemCreate)
    response = {"tools": [], "tool_choice": "auto", "prompt": None, "audio": {"output": {"voice": "x"}}}
    event = parse(json.dumps({"type": "response.create", "response": response}))
    assert isinstance(event, ResponseCreate)


def test_every_event_of_the_protocol_is_known() -> None:
    theirs = {cls.model_fields["type"].annotation.__args__[0] for cls in get_args(get_args(RealtimeClientEvent)[0])}
    ours = {cls.model_fields["type"].annotation.__args__[0] for cls in get_args(ClientEvent)}
    assert theirs - ours == set()
    assert ours - theirs == {"input_image_buffer.append", "omni.playback"}


def test_audio_keeps_every_byte() -> None:
    every_byte = bytes(range(256))
    assert decode_base64(encode_base64(every_byte), "audio") == every_byte
    assert samples_to_ms(ms_to_samples(1234)) == 1234


def test_serialise_refuses_what_json_can_not_hold() -> None:
    assert serialise({"type": "x", "text": "ü\ud800"}).encode() == rb'{"type":"x","text":"\u00fc\ud800"}'
    with pytest.raises(ValueError, match="JSON"):
        serialise({"type": "x", "rtf": float("nan")})


def test_every_error_of_the_core_has_a_code() -> None:
    classes = [cls for _, cls in inspect.getmembers(omni_core.errors, inspect.isclass) if issubclass(cls, Exception)]
    assert len(classes) > 8
    never_served = {"DataError", "TrainingError"}
    assert not {cls.__name__ for cls in classes} - never_served - set(ERROR_CODES)


def test_errors_become_codes_by_their_class() -> None:
    class Quieter(omni_core.errors.AudioError):
        pass

    error = as_protocol_error(Quieter("a rate of 0 Hz"))
    assert (error.type, error.code, error.message) == ("invalid_request_error", "invalid_audio", "a rate of 0 Hz")
    internal = as_protocol_error(KeyError("secret"))
    assert internal.code == "internal_error"
    assert "secret" not in internal.message


def test_a_refused_event_reaches_the_client_and_the_session_goes_on() -> None:
    talk = Talk()
    (error,) = talk.send("response.dance", event_id="mine")
    assert error["error"] == {
        "type": "invalid_request_error",
        "code": "unknown_event_type",
        "message": "Unknown event type 'response.dance'",
        "param": "type",
        "event_id": "mine",
    }
    assert names(talk.text_item()) == ["conversation.item.added", "conversation.item.done"]

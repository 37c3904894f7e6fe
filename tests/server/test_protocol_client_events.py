"""What clients may send beside the conversation's own events, and overrides of one response."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from server.protocol import events
from server.protocol.errors import ProtocolError
from server.protocol.media import decode_frame
from server.protocol.session_object import AudioOutput, SessionObject
from server.protocol.wire import parse
from tests.session.harness import PICTURE, PNG

SESSION = SessionObject(id="sess_1", expires_at=1, model="nano")


def parsed(**event: Any) -> events.ClientEvent:
    return parse(json.dumps(event))


def test_events_that_only_some_clients_send() -> None:
    assert isinstance(parsed(type="output_audio_buffer.clear"), events.OutputAudioBufferClear)
    assert parsed(type="omni.playback", item_id="a", audio_ms=40) == events.OmniPlayback(type="omni.playback", item_id="a", audio_ms=40)
    with pytest.raises(ProtocolError, match="audio_ms"):
        parsed(type="omni.playback", item_id="a", audio_ms=-1)


@pytest.mark.parametrize("image", [PICTURE, base64.b64encode(PNG).decode()])
def test_a_camera_frame_is_base64_or_a_data_url(image: str) -> None:
    event = parsed(type="input_image_buffer.append", image=image)
    assert isinstance(event, events.InputImageBufferAppend)
    assert decode_frame(event.image, "image") == PNG


@pytest.mark.parametrize("image", ["", "?", "https://example.com/a.png", base64.b64encode(b"text").decode(), "data:image/png,raw"])
def test_what_is_no_picture_is_named(image: str) -> None:
    with pytest.raises(ProtocolError) as error:
        decode_frame(image, "image")
    assert (error.value.code, error.value.param) == ("invalid_image", "image")


def test_a_response_may_be_spoken_in_its_own_way() -> None:
    everything = {
        "audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": "marin"}},
        "instructions": "Be brief",
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": True,
        "reasoning": {"effort": "low"},
        "prompt": {"id": "p"},
        "metadata": {"turn": "1"},
    }
    event = parsed(type="response.create", response=everything)
    assert isinstance(event, events.ResponseCreate)
    assert event.response is not None
    usual = AudioOutput(speed=1.25)
    output = event.response.audio_output(usual)
    assert (output.format.type, output.voice, output.speed) == ("audio/pcmu", "marin", 1.25)
    for nothing in ({}, {"audio": None}, {"audio": {"output": None}}, {"audio": {"output": {"voice": None, "format": None}}}):
        event = parsed(type="response.create", response=nothing)
        assert isinstance(event, events.ResponseCreate)
        assert event.response is not None
        assert event.response.audio_output(usual) == usual


def test_formats_of_the_session() -> None:
    session = SESSION.updated({"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    assert (session.audio.input.format.type, session.audio.output.format.type) == ("audio/pcmu", "audio/pcm")
    session = session.updated({"audio": {"input": {"format": {"rate": 24000}}, "output": {"format": {"type": "audio/pcma", "rate": 8000}}}})
    assert session.model_dump()["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session.model_dump()["audio"]["output"]["format"] == {"type": "audio/pcma"}
    assert session.updated({"audio": {"output": {"format": None}}}).audio.output.format.type == "audio/pcm"


@pytest.mark.parametrize("format", ["pcm16", {"type": "audio/opus"}, {"type": "audio/pcm", "rate": 16_000}, {"type": 5}, []])
def test_a_format_that_is_not_served_is_named_with_those_that_are(format: Any) -> None:
    with pytest.raises(ProtocolError, match="audio/pcmu") as error:
        SESSION.updated({"audio": {"input": {"format": format}}})
    assert error.value.code == "unsupported_audio_format"
    assert error.value.param is not None
    assert error.value.param.startswith("session.audio.input.format")


@pytest.mark.parametrize(("ms", "legal"), [(5_000, True), (30_000, True), (None, True), (4_999, False), (30_001, False), (0, False)])
def test_the_idle_timeout_has_the_bounds_of_the_protocol(ms: int | None, legal: bool) -> None:
    patch = {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": ms}}}}
    if legal:
        vad = SESSION.updated(patch).model_dump()["audio"]["input"]["turn_detection"]
        assert vad["idle_timeout_ms"] == ms
    else:
        with pytest.raises(ProtocolError, match="idle_timeout_ms"):
            SESSION.updated(patch)

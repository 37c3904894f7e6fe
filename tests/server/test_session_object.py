"""session.update: a partial merge, answered with the whole effective session."""

from __future__ import annotations

from typing import Any

import pytest

from server.session.messages import AnswerAudio
from tests.session.harness import Talk, names, only, silence


def updated(talk: Talk, **session: Any) -> dict[str, Any]:
    return only(talk.update(**session), "session.updated")["session"]


def test_what_is_absent_stays() -> None:
    talk = Talk()
    updated(talk, instructions="Be brief", audio={"output": {"voice": "marin"}})
    session = updated(talk, audio={"input": {"transcription": {"model": "whisper-1", "language": "en"}}})
    assert session["instructions"] == "Be brief"
    assert session["audio"]["output"]["voice"] == "marin"
    assert session["audio"]["input"]["transcription"] == {"model": "whisper-1", "language": "en"}


def test_empty_values_and_null_clear() -> None:
    talk = Talk()
    updated(talk, instructions="Be brief", tools=[{"type": "function", "name": "f"}], audio={"input": {"transcription": {}}})
    session = updated(talk, instructions="", tools=[], max_output_tokens=None, audio={"input": {"transcription": None, "turn_detection": None}})
    assert (session["instructions"], session["tools"], session["max_output_tokens"]) == ("", [], "inf")
    assert session["audio"]["input"]["transcription"] is session["audio"]["input"]["turn_detection"] is None


def test_turn_detection_merges_within_its_kind_only() -> None:
    talk = Talk()
    updated(talk, audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7, "interrupt_response": False}}})
    session = updated(talk, audio={"input": {"turn_detection": {"silence_duration_ms": 300}}})
    vad = session["audio"]["input"]["turn_detection"]
    assert (vad["threshold"], vad["silence_duration_ms"], vad["interrupt_response"]) == (0.7, 300, False)
    session = updated(talk, audio={"input": {"turn_detection": {"type": "semantic_vad"}}})
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }


def test_what_is_not_supported_is_echoed() -> None:
    """pipecat drops its session on any error, and agents-js sends tracing in every session."""
    session = updated(
        Talk(),
        tracing="auto",
        truncation="disabled",
        include=["item.input_audio_transcription.logprobs"],
        tool_choice={"type": "function", "name": "f"},
        audio={"input": {"noise_reduction": {"type": "near_field"}}, "output": {"speed": 1.25}},
        unknown_extra=1,
    )
    assert (session["tracing"], session["truncation"], session["tool_choice"]) == ("auto", "disabled", "auto")
    assert session["audio"]["output"]["speed"] == 1.25


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}}, "session.audio.input.turn_detection.threshold"),
        ({"audio": {"input": {"turn_detection": {"type": "magic"}}}}, "session.audio.input.turn_detection"),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}, "session.audio.input.format.rate"),
        ({"audio": {"output": {"format": {"type": "audio/opus"}}}}, "session.audio.output.format"),
        ({"audio": "loud"}, "session.audio"),
        ({"output_modalities": ["smell"]}, "session.output_modalities.0"),
        ({"max_output_tokens": 0}, "session.max_output_tokens"),
        ({"type": "transcription"}, "session.type"),
    ],
)
def test_a_bad_value_is_named_and_changes_nothing(session: dict[str, Any], param: str) -> None:
    talk = Talk()
    before = talk.session.config
    (error,) = talk.update(**session)
    assert error["error"]["param"] == param
    assert talk.session.config is before


def test_the_voice_stays_once_it_was_heard() -> None:
    talk = Talk()
    start = talk.started(talk.turn())
    talk.feed(AnswerAudio(start.response_id, silence(100)))
    assert talk.update(audio={"output": {"voice": "other"}})[0]["error"]["code"] == "cannot_update_voice"
    assert names(talk.update(instructions="x")) == ["session.updated"]


def test_identity_is_the_servers() -> None:
    session = updated(Talk(), id="mine", model="gpt-realtime", expires_at=5)
    assert (session["id"], session["model"], session["expires_at"]) == ("sess_t", "tiny", 1)

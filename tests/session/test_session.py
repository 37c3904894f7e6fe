"""The session: lists in, lists out. Orders are those of the Realtime protocol that work with every client tried."""

from __future__ import annotations

import pytest

from server.protocol.errors import ProtocolError
from server.session import Limits
from server.session.floor import State
from server.session.messages import (
    AnswerAudio,
    AnswerFailed,
    AnswerFinished,
    AnswerText,
    CancelResponse,
    Close,
    Expired,
    SpeechProbability,
    TranscriptFailed,
    TranscriptFinished,
    TranscriptText,
)
from tests.session.harness import NANO, PNG, RATE, SEEING, Talk, base64_audio, names, only, silence

COMMITTED = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
BEGUN = ["response.created", "response.output_item.added", "conversation.item.added", "response.content_part.added"]
OPENED = [*BEGUN, "StartResponse"]
STARTED, STOPPED = "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"
SPOKEN = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "ReportTimings",
    "response.done",
    "rate_limits.updated",
]
FRAME = silence(1000)[: 2 * 2048]
SECOND = base64_audio(silence(1000))


def finished(response_id: str, complete: bool = True) -> AnswerFinished:
    return AnswerFinished(response_id, complete, prompt_tokens=30, text_tokens=5, audio_tokens=14, rtf=0.25)


def answering(talk: Talk) -> str:
    """A spoken turn was heard and its answer has begun: the response's id."""
    id = talk.started(talk.turn()).response_id
    talk.feed(AnswerText(id, "Hello there, how are you doing today?"))
    talk.feed(AnswerAudio(id, silence(2000)))
    return id


def error_code(outputs: list) -> str:
    return only(outputs, "error")["error"]["code"]


def test_the_first_event_shows_the_effective_session() -> None:
    (created,) = Talk().first
    assert created["type"] == "session.created"
    assert created["session"]["audio"]["input"]["turn_detection"]["interrupt_response"] is True
    assert created["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}


class TestDetectedTurns:
    def test_a_spoken_turn_and_its_answer(self) -> None:
        talk = Talk()
        out = talk.turn()
        assert names(out) == [STARTED, "StartResponse", STOPPED, *COMMITTED, *BEGUN]  # it was prepared before it was certain
        start = talk.started(out)
        assert (start.task, start.image, start.text) == ("A1A2", None, None)
        events = talk.feed(AnswerText(start.response_id, "Hi"))
        events += talk.feed(AnswerAudio(start.response_id, FRAME))
        events += talk.feed(finished(start.response_id))
        assert names(events) == ["response.output_audio_transcript.delta", "response.output_audio.delta", *SPOKEN]
        done = only(events, "response.done")["response"]
        assert (done["status"], done["usage"]["total_tokens"]) == ("completed", 49)
        assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "Hi"}]
        assert only(events, "ReportTimings").audio_ms == 85

    def test_the_turn_is_the_speech_with_its_padding_and_a_little_silence(self) -> None:
        talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "prefix_padding_ms": 200, "silence_duration_ms": 320}}})
        out = talk.hear(960) + talk.hear(640, 0.9) + talk.hear(640)
        started, stopped = only(out, "input_audio_buffer.speech_started"), only(out, "input_audio_buffer.speech_stopped")
        assert started["audio_start_ms"] == 960 - 200
        assert stopped["audio_end_ms"] == 960 + 640 + 120  # later silence never enters the prompt
        assert started["item_id"] == stopped["item_id"] == only(out, "input_audio_buffer.committed")["item_id"]
        assert len(talk.started(out).audio or b"") == 2 * RATE * (200 + 640 + 120) // 1000

    def test_a_click_is_no_turn(self) -> None:
        talk = Talk()
        assert names(talk.hear(320) + talk.hear(32, 1.0) + talk.hear(1000)) == []

    def test_a_quiet_syllable_does_not_end_a_turn(self) -> None:
        talk = Talk()
        out = talk.hear(320, 0.9) + talk.hear(1600, 0.4)
        assert names(out) == [STARTED]

    def test_silence_before_speech_is_not_kept(self) -> None:
        talk = Talk(limits=Limits(buffer_s=2.0))
        for _ in range(50):
            assert names(talk.hear(1000)) == []

    def test_an_hour_of_silence_is_nothing(self) -> None:
        talk = Talk()
        for second in range(1, 3601):
            assert names(talk.send("input_audio_buffer.append", audio=SECOND)) == ["DetectSpeech"]
            assert talk.feed(SpeechProbability(second * RATE, 0.0)) == []
        assert len(talk.session._microphone._buffer._pcm) <= 2 * RATE
        talk._judged = 3600 * RATE
        out = talk.turn()
        assert only(out, STARTED)["audio_start_ms"] == pytest.approx(3_600_000 + 400 - 300, abs=64)
        assert "StartResponse" in names(out)

    def test_create_response_false_only_commits(self) -> None:
        talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
        out = talk.turn()
        assert names(out) == [STARTED, STOPPED, *COMMITTED]
        assert names(talk.send("response.create")) == OPENED

    @pytest.mark.parametrize(("eagerness", "silence_ms"), [("low", 1200), ("auto", 900), ("high", 400)])
    def test_semantic_vad_ends_turns_by_eagerness(self, eagerness: str, silence_ms: int) -> None:
        talk = Talk(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}})
        talk.hear(320, 0.9)
        assert STOPPED not in names(talk.hear(silence_ms - 32))
        assert STOPPED in names(talk.hear(64))

    def test_a_turn_as_long_as_the_model_hears_is_committed_with_its_events(self) -> None:
        talk = Talk(max_audio_s=2.0, audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
        out = talk.hear(320) + talk.hear(5000, 0.9) + talk.hear(1000)
        assert names(out).count("input_audio_buffer.committed") == 3
        starts = [event["audio_start_ms"] for event in out if event["type"] == "input_audio_buffer.speech_started"]
        ends = [event["audio_end_ms"] for event in out if event["type"] == "input_audio_buffer.speech_stopped"]
        assert ends[:2] == [starts[0] + 2000, starts[1] + 2000]
        assert starts[1:] == ends[:2]  # nothing between them is lost

    def test_clear_forgets_the_turn(self) -> None:
        talk = Talk()
        talk.hear(640, 0.9)
        assert names(talk.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
        assert names(talk.hear(1000)) == []

    def test_commit_in_the_middle_of_speech_keeps_the_announced_item(self) -> None:
        talk = Talk()
        started = only(talk.hear(640, 0.9), "input_audio_buffer.speech_started")
        out = talk.send("input_audio_buffer.commit")
        assert names(out) == COMMITTED
        assert only(out, "input_audio_buffer.committed")["item_id"] == started["item_id"]

    def test_new_silence_length_applies_to_the_turn_being_spoken(self) -> None:
        talk = Talk()
        talk.hear(640, 0.9)
        talk.update(audio={"input": {"turn_detection": {"silence_duration_ms": 1000}}})
        assert names(talk.hear(704)) == ["StartResponse"]
        assert "input_audio_buffer.committed" in names(talk.hear(500))


class TestBargeIn:
    def test_the_answer_ends_before_speech_started(self) -> None:
        talk = Talk()
        id = answering(talk)
        out = talk.hear(160, 0.9)
        assert names(out) == ["CancelResponse", *SPOKEN, "input_audio_buffer.speech_started"]
        done = only(out, "response.done")["response"]
        assert (done["status"], done["status_details"]) == ("cancelled", {"type": "cancelled", "reason": "turn_detected"})
        assert names(talk.feed(AnswerAudio(id, FRAME)) + talk.feed(finished(id))) == []  # nothing of a response after response.done

    def test_the_item_is_truncated_to_what_was_played(self) -> None:
        talk = Talk()
        answering(talk)
        talk.wait(936)
        item_id = only(talk.hear(320, 0.9), "response.output_item.done")["item"]["id"]
        item = only(talk.send("conversation.item.retrieve", item_id=item_id), "conversation.item.retrieved")["item"]
        # Played for 1 s, 64 ms of which an onset takes: 15 characters of speech.
        assert item["content"][0]["transcript"] == "Hello there,"
        assert item["status"] == "incomplete"


class TestManualTurns:
    def test_commit_then_create(self) -> None:
        talk = Talk().manual()
        assert names(talk.hear(500)) == []
        assert names(talk.send("input_audio_buffer.commit")) == COMMITTED
        out = talk.send("response.create")
        assert names(out) == OPENED
        assert talk.started(out).audio == silence(500)

    @pytest.mark.parametrize("ms", [0, 99])
    def test_an_empty_commit_is_refused(self, ms: int) -> None:
        talk = Talk().manual()
        talk.hear(ms)
        out = talk.send("input_audio_buffer.commit", event_id="mine")
        assert error_code(out) == "input_audio_buffer_commit_empty"
        assert only(out, "error")["error"]["event_id"] == "mine"

    def test_a_full_buffer_names_its_limit_and_keeps_what_it_has(self) -> None:
        talk = Talk(limits=Limits(buffer_s=1.0)).manual()
        talk.hear(900)
        out = talk.send("input_audio_buffer.append", audio=base64_audio(silence(200)))
        assert error_code(out) == "input_audio_buffer_full"
        assert "1 s" in only(out, "error")["error"]["message"]
        talk.send("input_audio_buffer.commit")
        assert talk.started(talk.send("response.create")).audio == silence(900)

    def test_audio_longer_than_the_model_hears_is_committed_in_parts(self) -> None:
        talk = Talk(max_audio_s=1.0).manual()
        assert names(talk.hear(2500)) == COMMITTED * 2
        talk.send("input_audio_buffer.commit")
        assert talk.started(talk.send("response.create")).audio == silence(500)

    @pytest.mark.parametrize("audio", ["%%%", base64_audio(b"abc")])
    def test_audio_that_is_none_is_refused(self, audio: str) -> None:
        assert error_code(Talk().send("input_audio_buffer.append", audio=audio)) == "invalid_audio"


class TestResponses:
    def test_a_typed_question(self) -> None:
        talk = Talk()
        assert names(talk.text_item("How are you?")) == ["conversation.item.added", "conversation.item.done"]
        start = talk.started(talk.send("response.create"))
        assert (start.task, start.text, start.audio) == ("T1A2", "How are you?", None)

    def test_text_only_answers(self) -> None:
        talk = Talk(output_modalities=["text"])
        start = talk.started(talk.turn())
        assert start.task == "A1T2"
        out = talk.feed(AnswerText(start.response_id, "Fine")) + talk.feed(finished(start.response_id))
        assert names(out)[:3] == ["response.output_text.delta", "response.output_text.done", "response.content_part.done"]
        assert only(out, "response.done")["response"]["output"][0]["content"] == [{"type": "output_text", "text": "Fine"}]

    def test_the_responses_own_modality_wins(self) -> None:
        talk = Talk()
        talk.text_item()
        assert talk.started(talk.send("response.create", response={"output_modalities": ["text"]})).task == "T1T2"

    def test_metadata_and_limits_are_echoed(self) -> None:
        talk = Talk()
        talk.text_item()
        out = talk.send("response.create", response={"metadata": {"client_event_id": "7"}, "max_output_tokens": 80, "instructions": "Be brief"})
        created = only(out, "response.created")["response"]
        assert (created["metadata"], created["max_output_tokens"]) == ({"client_event_id": "7"}, 80)
        start = talk.started(out)
        assert start.max_output_tokens == 80
        done = only(talk.feed(finished(start.response_id, complete=False)), "response.done")["response"]
        assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "max_output_tokens")

    def test_only_one_response_at_a_time_writes_to_the_conversation(self) -> None:
        talk = Talk()
        answering(talk)
        out = talk.send("response.create", event_id="second")
        assert error_code(out) == "conversation_already_has_active_response"
        assert only(out, "error")["error"]["event_id"] == "second"

    def test_an_out_of_band_response_leaves_the_conversation_alone(self) -> None:
        talk = Talk()
        answering(talk)
        own = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Sum it up"}]}]
        out = talk.send("response.create", response={"conversation": "none", "input": own, "output_modalities": ["text"]})
        start = talk.started(out)
        out += talk.feed(finished(start.response_id))
        assert (start.task, start.text) == ("T1T2", "Sum it up")
        assert not [name for name in names(out) if name.startswith("conversation.")]
        assert only(out, "response.created")["response"]["conversation_id"] is None
        assert talk.session.state is State.SPEAKING

    def test_out_of_band_responses_are_bounded(self) -> None:
        talk = Talk(limits=Limits(parallel_responses=2))
        talk.text_item()
        for _ in range(2):
            talk.send("response.create", response={"conversation": "none"})
        assert error_code(talk.send("response.create", response={"conversation": "none"})) == "too_many_responses"

    def test_an_item_can_be_referred_to(self) -> None:
        talk = Talk()
        talk.text_item("First", event_id="e")
        item_id = only(talk.text_item("Second"), "conversation.item.added")["item"]["id"]
        talk.text_item("Third")
        out = talk.send("response.create", response={"conversation": "none", "input": [{"type": "item_reference", "id": item_id}]})
        assert talk.started(out).text == "Second"
        out = talk.send("response.create", response={"input": [{"type": "item_reference", "id": "nobody"}]})
        assert error_code(out) == "item_reference_invalid_item_id"

    def test_nothing_to_answer(self) -> None:
        assert error_code(Talk().send("response.create")) == "response_input_empty"

    def test_instructions_are_answered_where_no_turn_waits_for_an_answer(self) -> None:
        talk = Talk()
        start = talk.started(talk.send("response.create", response={"instructions": "Greet the user"}))
        assert (start.task, start.text) == ("T1A2", "Greet the user")
        talk.feed(finished(start.response_id))
        talk.text_item("Who are you?")
        assert talk.started(talk.send("response.create", response={"instructions": "Be kind"})).text == "Who are you?"

    def test_a_task_that_the_model_lacks_is_refused_with_its_name(self) -> None:
        talk = Talk(tasks=frozenset({"A1A2"}))
        talk.text_item()
        out = talk.send("response.create", event_id="mine")
        assert names(out) == ["error"]
        assert out[0]["error"]["code"] == "task_not_supported"
        assert "T1A2" in out[0]["error"]["message"]

    def test_a_failed_response_says_why(self) -> None:
        talk = Talk()
        id = talk.started(talk.turn()).response_id
        done = only(talk.feed(AnswerFailed(id, ProtocolError("server_busy", "try again", type="server_error"))), "response.done")["response"]
        assert done["status"] == "failed"
        assert done["status_details"]["error"]["code"] == "server_busy"
        assert talk.session.state is State.IDLE

    def test_cancel(self) -> None:
        talk = Talk()
        id = answering(talk)
        out = talk.send("response.cancel")
        assert names(out) == ["CancelResponse", *SPOKEN]
        assert out[0] == CancelResponse(id)
        assert only(out, "response.done")["response"]["status_details"]["reason"] == "client_cancelled"

    @pytest.mark.parametrize("made", [[], ["text"], ["text", "audio"], ["audio", "finish"]], ids="+".join)
    def test_cancelled_at_any_moment_it_leaves_nothing_behind(self, made: list[str]) -> None:
        talk = Talk(memory_turns=2)
        id = talk.started(talk.turn()).response_id
        events = {"text": AnswerText(id, "Hello there"), "audio": AnswerAudio(id, silence(1000)), "finish": finished(id)}
        for what in made:
            talk.feed(events[what])
        out = talk.send("response.cancel", event_id="mine")
        if "finish" in made:
            assert (error_code(out), only(out, "error")["error"]["event_id"]) == ("response_cancel_not_active", "mine")
        else:
            assert names(out) == ["CancelResponse", *SPOKEN]
        assert names([output for event in events.values() for output in talk.feed(event)]) == []
        talk.wait(2000)
        assert talk.session.state is State.IDLE
        start = talk.started(talk.turn())  # a later turn works
        assert start.history == ((("", "Hello there"),) if "text" in made and "audio" in made else ())

    @pytest.mark.parametrize("fields", [{}, {"response_id": "resp_unknown"}])
    def test_cancel_with_nothing_active(self, fields: dict) -> None:
        out = Talk().send("response.cancel", event_id="stop", **fields)
        assert error_code(out) == "response_cancel_not_active"
        assert out[0]["error"]["message"].startswith("Cancellation failed")  # LiveKit matches this
        assert out[0]["error"]["event_id"] == "stop"


class TestPictures:
    def test_the_newest_picture_goes_with_the_next_turn_only(self) -> None:
        talk = Talk(SEEING)
        assert "StartResponse" not in names(talk.image_item() + talk.image_item())
        start = talk.started(talk.turn())
        assert (start.task, start.image) == ("VA1A2", PNG)
        talk.feed(finished(start.response_id))
        assert talk.started(talk.turn()).task == "A1A2"

    def test_an_interrupted_answer_leaves_the_picture_for_the_next(self) -> None:
        talk = Talk(SEEING)
        talk.image_item()
        answering(talk)
        assert talk.started(talk.turn()).task == "VA1A2"

    def test_a_picture_with_text(self) -> None:
        talk = Talk(SEEING, output_modalities=["text"])
        talk.image_item()
        talk.text_item("What is this?")
        assert talk.started(talk.send("response.create")).task == "VT1T2"

    def test_a_model_that_can_not_see_says_so_and_answers_the_speech(self) -> None:
        talk = Talk(NANO)
        talk.image_item()
        out = talk.turn()
        assert error_code(out) == "image_not_supported"
        start = talk.started(out)
        assert (start.task, start.image) == ("A1A2", None)
        talk.feed(finished(start.response_id))
        assert "error" not in names(talk.turn())

    def test_a_deleted_picture_is_not_looked_at(self) -> None:
        talk = Talk(SEEING)
        talk.image_item(id="frame")
        talk.send("conversation.item.delete", item_id="frame")
        assert talk.started(talk.turn()).task == "A1A2"

    @pytest.mark.parametrize("url", ["https://example.com/a.png", "data:image/png,abc", "data:image/png;base64,%", "data:image/png;base64,aGVsbG8="])
    def test_an_image_that_is_no_image(self, url: str) -> None:
        item = {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": url}]}
        out = Talk(SEEING).send("conversation.item.create", item=item)
        assert error_code(out) == "invalid_image"
        assert out[0]["error"]["param"] == "item.content.0.image_url"


class TestTranscription:
    ASKED = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}  # noqa: RUF012

    def test_words_arrive_then_the_whole(self) -> None:
        talk = Talk(**self.ASKED)
        out = talk.turn()
        command = only(out, "StartTranscription")
        assert command.audio == talk.started(out).audio
        out = [
            *talk.feed(TranscriptText(command.item_id, "Hel")),
            *talk.feed(TranscriptText(command.item_id, "lo")),
            *talk.feed(TranscriptFinished(command.item_id)),
        ]
        prefix = "conversation.item.input_audio_transcription."
        assert names(out) == [f"{prefix}delta", f"{prefix}delta", f"{prefix}completed"]
        assert out[-1]["transcript"] == "Hello"
        assert out[-1]["usage"] == {"type": "duration", "seconds": pytest.approx(len(command.audio) / 2 / RATE, abs=0.001)}
        item = talk.send("conversation.item.retrieve", item_id=command.item_id)[0]["item"]
        assert item["content"] == [{"type": "input_audio", "transcript": "Hello"}]

    def test_failure(self) -> None:
        talk = Talk(**self.ASKED)
        item_id = only(talk.turn(), "StartTranscription").item_id
        out = talk.feed(TranscriptFailed(item_id, ProtocolError("server_busy", "try again")))
        assert names(out) == ["conversation.item.input_audio_transcription.failed"]

    def test_transcriptions_in_progress_are_bounded(self) -> None:
        talk = Talk(**self.ASKED, limits=Limits(parallel_transcriptions=1)).manual()
        talk.hear(500)
        first = only(talk.send("input_audio_buffer.commit"), "StartTranscription")
        talk.hear(500)
        out = talk.send("input_audio_buffer.commit")
        assert only(out, "conversation.item.input_audio_transcription.failed")["error"]["code"] == "too_many_transcriptions"
        talk.feed(TranscriptFinished(first.item_id))
        talk.hear(500)
        assert "StartTranscription" in names(talk.send("input_audio_buffer.commit"))

    def test_a_model_that_can_not_transcribe_says_so(self) -> None:
        out = Talk(frozenset({"A1A2"}), **self.ASKED).turn()
        assert only(out, "conversation.item.input_audio_transcription.failed")["error"]["code"] == "transcription_not_supported"
        assert "StartResponse" in names(out)


def test_the_session_ends_with_an_error_and_1001() -> None:
    talk = Talk()
    out = talk.feed(Expired())
    assert error_code(out) == "session_expired"
    assert out[-1] == Close(1001, "session_expired")
    assert talk.send("response.create") == []

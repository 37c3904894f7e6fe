"""Listening while speaking: interruption by voice and by meaning, work hidden in the silence, what was heard of a cut answer."""

from __future__ import annotations

from typing import Any

import pytest

from server.protocol.errors import ProtocolError
from server.session import Limits
from server.session.floor import TRANSITIONS, Floor, State, Trigger
from server.session.messages import (
    AnswerAudio,
    AnswerFailed,
    AnswerFinished,
    AnswerText,
    CancelResponse,
    FindWords,
    Hear,
    Hearing,
    HearNoMore,
    Listen,
    ListenerStatus,
    ListenNoMore,
    Output,
    Played,
    PlayedNoMore,
    StartResponse,
    TurnFinished,
    WordsHeard,
)
from tests.session.harness import RATE, SEEING, Talk, names, only, silence
from tests.session.test_session import BEGUN, COMMITTED, OPENED, SPOKEN, STARTED, STOPPED, finished

WORDS = "Hello there, how are you doing today?"


def semantic(**fields: Any) -> dict[str, Any]:
    """A session that only the command interrupts."""
    return {"audio": {"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False, **fields}}}}


def answering(talk: Talk, ms: int = 2000) -> str:
    """A spoken turn was heard and its answer has begun, `ms` of it sent: the response's id."""
    id = talk.started(talk.turn()).response_id
    talk.feed(AnswerText(id, WORDS))
    talk.feed(AnswerAudio(id, silence(ms)))
    return id


def irq(talk: Talk) -> list[Output]:
    """The listener hears the command end now."""
    return talk.feed(ListenerStatus(int(talk.now * RATE), True, 3.0))


def plumbing(talk: Talk, kind: type) -> list[Any]:
    return [command for command in talk.plumbing if isinstance(command, kind)]


class TestFloor:
    @pytest.mark.parametrize(("state", "trigger"), sorted(TRANSITIONS, key=str))
    def test_every_transition_changes_the_state(self, state: State, trigger: Trigger) -> None:
        floor = Floor()
        floor.state = state
        floor.advance(trigger)
        assert floor.state is TRANSITIONS[state, trigger] is not state

    def test_a_conversation_passes_through_its_states(self) -> None:
        talk, states = Talk(**semantic()), []

        def note(_: object) -> None:
            states.append(talk.session.state)

        note(None)
        note(talk.hear(640, 0.9))
        out = talk.hear(700)
        note(out)
        id = talk.started(out).response_id
        note(talk.feed(AnswerAudio(id, silence(1000))))
        note(talk.hear(320, 0.9))
        note(talk.feed(finished(id)))
        note(talk.wait(1000))
        note(talk.hear(700))
        assert states == [
            State.IDLE,
            State.USER_SPEAKING,
            State.THINKING,
            State.SPEAKING,
            State.OVER_SPEAKING,
            State.OVER_SPEAKING,  # made, but not yet heard to its end
            State.USER_SPEAKING,
            State.THINKING,
        ]


class TestPreparation:
    def test_an_answer_is_prepared_in_the_pause_and_told_when_the_turn_has_ended(self) -> None:
        talk = Talk()
        talk.hear(640, 0.9)
        out = talk.hear(160)
        start = talk.started(out)
        assert names(out) == ["StartResponse"]
        assert names(talk.feed(AnswerText(start.response_id, "Hi")) + talk.feed(AnswerAudio(start.response_id, silence(80)))) == []
        assert names(talk.hear(400)) == [
            STOPPED,
            *COMMITTED,
            *BEGUN,
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
        ]
        assert names(talk.feed(finished(start.response_id))) == SPOKEN

    def test_it_is_thrown_away_unheard_when_the_user_goes_on(self) -> None:
        talk = Talk()
        talk.hear(640, 0.9)
        id = talk.started(talk.hear(160)).response_id
        talk.feed(AnswerAudio(id, silence(80)))
        assert talk.hear(64, 0.9) == [CancelResponse(id)]
        assert talk.feed(AnswerAudio(id, silence(80))) + talk.feed(finished(id)) == []
        out = talk.hear(700)
        second = talk.started(out)
        assert second.response_id != id
        assert names(out) == ["StartResponse", STOPPED, *COMMITTED, *BEGUN]
        assert len(second.audio or b"") == 2 * RATE * (640 + 160 + 64 + 120) // 1000

    def test_it_is_exactly_the_answer_that_would_have_been_given(self) -> None:
        prepared, plain = Talk(SEEING), Talk(SEEING, audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
        starts: list[StartResponse] = []
        for talk in (prepared, plain):
            talk.image_item()
            out = talk.turn()
            starts += [output for output in out + talk.send("response.create") if isinstance(output, StartResponse)]
        first, second = starts
        assert (first.task, first.audio, first.image, first.history) == (second.task, second.audio, second.image, second.history)

    def test_the_picture_is_the_newest_when_the_user_paused(self) -> None:
        talk = Talk(SEEING)
        talk.image_item(id="before")
        talk.hear(640, 0.9)
        prepared = talk.started(talk.hear(160))
        talk.image_item(id="after")  # a camera's next frame changes nothing
        assert "CancelResponse" not in names(talk.hear(500))
        talk.feed(finished(prepared.response_id))
        assert talk.started(talk.turn()).task == "VA1A2"  # and is there for the next turn

    @pytest.mark.parametrize("event", ["session.update", "input_audio_buffer.clear", "input_audio_buffer.commit", "response.create", "text"])
    def test_what_changes_the_conversation_throws_it_away(self, event: str) -> None:
        talk = Talk()
        talk.text_item("Earlier")
        talk.hear(640, 0.9)
        id = talk.started(talk.hear(160)).response_id
        fields = {"session": {"type": "realtime", "output_modalities": ["text"]}} if event == "session.update" else {}
        out = talk.text_item() if event == "text" else talk.send(event, **fields)
        assert CancelResponse(id) in out

    def test_nothing_is_prepared_where_no_answer_follows(self) -> None:
        talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
        talk.hear(640, 0.9)
        assert talk.hear(160) == []

    def test_one_that_failed_fails_when_it_is_asked_for(self) -> None:
        talk = Talk()
        talk.hear(640, 0.9)
        id = talk.started(talk.hear(160)).response_id
        talk.feed(AnswerFailed(id, ProtocolError("server_busy", "try again")))
        assert only(talk.hear(500), "response.done")["response"]["status"] == "failed"
        assert talk.session.state is State.IDLE

    def test_a_client_does_not_see_what_is_prepared(self) -> None:
        talk = Talk()
        talk.hear(640, 0.9)
        id = talk.started(talk.hear(160)).response_id
        out = talk.send("response.cancel", response_id=id)
        assert only(out, "error")["error"]["code"] == "response_cancel_not_active"


class TestHearing:
    def test_a_turn_goes_to_the_engine_while_it_is_spoken(self) -> None:
        talk = Talk()
        out = talk.turn()
        start = talk.started(out)
        assert start.hearing == Hearing(only(out, STARTED)["item_id"], len(start.audio or b"") // 2)
        heard = plumbing(talk, Hear)
        assert len(heard) > 1
        assert b"".join(command.pcm for command in heard)[: len(start.audio or b"")] == start.audio
        talk.feed(AnswerText(start.response_id, "Hi"))
        assert plumbing(talk, HearNoMore) == [HearNoMore(start.hearing.name)]

    def test_so_does_one_that_the_client_commits(self) -> None:
        talk = Talk().manual()
        for _ in range(3):
            talk.hear(200)
        talk.send("input_audio_buffer.commit")
        start = talk.started(talk.send("response.create"))
        assert start.hearing is not None
        assert start.hearing.samples == len(start.audio or b"") // 2

    def test_a_model_with_a_window_hears_turns_at_once(self) -> None:
        talk = Talk(max_audio_s=30.0).manual()
        talk.hear(500)
        talk.send("input_audio_buffer.commit")
        assert talk.started(talk.send("response.create")).hearing is None

    def test_a_cleared_turn_is_forgotten(self) -> None:
        talk = Talk()
        name = only(talk.hear(640, 0.9), STARTED)["item_id"]
        talk.send("input_audio_buffer.clear")
        assert plumbing(talk, HearNoMore) == [HearNoMore(name)]


class TestSemanticTurns:
    DETECTION = {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}  # noqa: RUF012

    def test_a_finished_turn_ends_soon_and_one_that_only_pauses_late(self) -> None:
        for probability, ends_after in ((0.9, 320), (0.6, 928), (0.1, 2016)):
            talk = Talk(**self.DETECTION)
            talk.hear(640, 0.9)
            talk.feed(TurnFinished(talk.started(talk.hear(160)).response_id, probability))
            before = talk.hear(ends_after - 160 - 64)
            assert STOPPED not in names(before)
            assert STOPPED in names(talk.hear(96))

    def test_the_opinion_of_an_earlier_pause_does_not_count(self) -> None:
        talk = Talk(**self.DETECTION)
        talk.hear(640, 0.9)
        old = talk.started(talk.hear(160)).response_id
        talk.hear(320, 0.9)
        talk.hear(160)
        talk.feed(TurnFinished(old, 0.99))
        assert STOPPED not in names(talk.hear(600))
        assert STOPPED in names(talk.hear(200))  # the usual 900 ms

    def test_server_vad_goes_by_silence_alone(self) -> None:
        talk = Talk()
        talk.hear(640, 0.9)
        talk.feed(TurnFinished(talk.started(talk.hear(160)).response_id, 0.01))
        assert STOPPED in names(talk.hear(400))


class TestVoice:
    """Barge-in by voice: `interrupt_response` true."""

    def test_speech_over_the_end_of_a_finished_answer_cuts_it_too(self) -> None:
        talk = Talk()
        id = answering(talk)
        item_id = only(talk.feed(finished(id)), "response.output_item.done")["item"]["id"]
        assert talk.session.state is State.SPEAKING
        assert names(talk.hear(1000, 0.9)) == [STARTED]
        item = only(talk.send("conversation.item.retrieve", item_id=item_id), "conversation.item.retrieved")["item"]
        assert len(item["content"][0]["transcript"]) < len(WORDS) / 2

    def test_an_answer_of_which_nothing_was_heard_was_never_said(self) -> None:
        talk = Talk(memory_turns=2)
        id = talk.started(talk.turn()).response_id
        talk.feed(AnswerText(id, WORDS))
        talk.hear(320, 0.9)
        assert talk.started(talk.hear(700)).history == ()

    def test_the_words_that_were_heard_are_found_out(self) -> None:
        talk = Talk(memory_turns=2)
        answering(talk)
        talk.hear(500, 0.9)
        (find,) = plumbing(talk, FindWords)
        assert (find.text, len(find.pcm) // 2) == (WORDS, pytest.approx(0.064 * RATE, abs=200))  # it was cut at the onset
        talk.feed(WordsHeard(find.item_id, len(find.pcm) // 2, len("Hello")))
        assert talk.started(talk.hear(700)).history == (("", "Hello"),)

    def test_what_was_found_out_about_an_earlier_cut_does_not_count(self) -> None:
        talk = Talk()
        id = answering(talk)
        item_id = only(talk.feed(finished(id)), "response.output_item.done")["item"]["id"]
        for ms in (1500, 800):
            talk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=ms)
        first, second = plumbing(talk, FindWords)
        talk.feed(WordsHeard(item_id, len(second.pcm) // 2, 12))
        talk.feed(WordsHeard(item_id, len(first.pcm) // 2, 30))
        item = only(talk.send("conversation.item.retrieve", item_id=item_id), "conversation.item.retrieved")["item"]
        assert item["content"][0]["transcript"] == WORDS[:12]

    def test_a_client_that_has_thrown_its_audio_away_has_the_floor(self) -> None:
        talk = Talk()
        talk.feed(finished(answering(talk)))
        talk.send("output_audio_buffer.clear")
        assert talk.session.state is State.IDLE

    def test_a_client_may_say_that_it_is_behind(self) -> None:
        talk = Talk()
        item_id = only(talk.feed(finished(answering(talk))), "response.output_item.done")["item"]["id"]
        talk.wait(1500)
        talk.send("omni.playback", item_id=item_id, audio_ms=500)
        talk.wait(1400)
        assert talk.session.state is State.SPEAKING
        talk.wait(200)
        assert talk.session.state is State.IDLE

    def test_what_leaves_is_known_with_its_time(self) -> None:
        talk = Talk()
        answering(talk, ms=300)
        at = talk.now
        assert [command.begins for command in plumbing(talk, Played)] == [at]
        talk.hear(100, 0.9)
        assert len(plumbing(talk, PlayedNoMore)) == 1


class TestMeaning:
    """Barge-in by meaning: `interrupt_response` false, and a model that listens."""

    def test_the_listener_is_on_while_the_answer_is_heard(self) -> None:
        talk = Talk(listens=True, **semantic())
        id = answering(talk, ms=1000)
        assert [type(command) for command in plumbing(talk, Listen) + plumbing(talk, ListenNoMore)] == [Listen]
        talk.feed(finished(id))
        assert not plumbing(talk, ListenNoMore)  # what was made is still heard
        talk.wait(1000)
        assert len(plumbing(talk, ListenNoMore)) == 1

    @pytest.mark.parametrize("talk", [Talk(), Talk(listens=True).manual()], ids=["a model that can't", "turns that the client commits"])
    def test_otherwise_it_is_off(self, talk: Talk) -> None:
        talk.text_item()
        id = talk.started(talk.send("response.create")).response_id
        talk.feed(AnswerAudio(id, silence(1000)))
        assert not plumbing(talk, Listen)
        assert irq(talk) == []

    def test_the_command_ends_the_answer_and_is_no_turn(self) -> None:
        talk = Talk(listens=True, **semantic())
        id = answering(talk)
        assert names(talk.hear(640, 0.9)) == []
        out = irq(talk)
        assert names(out) == ["CancelResponse", *SPOKEN, STARTED, STOPPED]
        assert only(out, "response.done")["response"]["status_details"]["reason"] == "turn_detected"
        assert talk.session.state is State.IDLE
        assert names(talk.hear(160, 0.9) + talk.hear(1000)) == []  # the end of the command itself
        assert "StartResponse" in names(talk.turn())  # a later turn works
        assert talk.feed(AnswerAudio(id, silence(80))) == []

    def test_so_it_does_when_the_voice_had_stopped_before_the_listener_was_sure(self) -> None:
        talk = Talk(listens=True, **semantic(silence_duration_ms=200))
        answering(talk)
        assert names(talk.hear(960, 0.9) + talk.hear(300)) == []
        assert names(irq(talk)) == ["CancelResponse", *SPOKEN, STARTED, STOPPED]
        assert names(talk.hear(1000)) == []

    def test_and_when_no_voice_was_found_at_all(self) -> None:
        talk = Talk(listens=True, **semantic())
        answering(talk)
        out = irq(talk)
        assert only(out, STARTED)["item_id"] == only(out, STOPPED)["item_id"]

    def test_what_was_said_before_the_command_is_a_turn(self) -> None:
        talk = Talk(listens=True, **semantic(silence_duration_ms=200))
        answering(talk, ms=9000)
        talk.hear(1000, 0.9)
        talk.hear(3000)
        talk.hear(900, 0.9)
        out = irq(talk)
        assert names(out) == ["CancelResponse", *SPOKEN, STARTED, STOPPED, STARTED, STOPPED, *COMMITTED, *OPENED]
        assert len(talk.started(out).audio or b"") == pytest.approx(2 * RATE * (300 + 1000 + 120) / 1000, rel=0.03)

    def test_what_is_said_after_the_command_is_a_turn(self) -> None:
        talk = Talk(listens=True, **semantic())
        answering(talk)
        talk.hear(640, 0.9)
        irq(talk)
        out = talk.hear(320) + talk.hear(960, 0.9) + talk.hear(700)
        assert names(out) == [STARTED, "StartResponse", STOPPED, *COMMITTED, *BEGUN]

    def test_other_speech_becomes_a_turn_when_the_answer_has_been_heard(self) -> None:
        talk = Talk(**semantic())
        id = answering(talk, ms=4000)
        assert names(talk.hear(960, 0.9) + talk.hear(700)) == []  # speech_started would stop stock clients' playback
        assert names(talk.feed(finished(id))) == SPOKEN
        out = talk.wait(4000)
        assert names(out) == [STARTED, STOPPED, *COMMITTED, *OPENED]
        assert only(out, STARTED)["item_id"] == only(out, "input_audio_buffer.committed")["item_id"]

    @pytest.mark.parametrize("ms", [200, 600])
    def test_a_backchannel_changes_nothing(self, ms: int) -> None:
        talk = Talk(**semantic())
        id = answering(talk, ms=3000)
        assert names(talk.hear(ms, 0.9) + talk.hear(700) + talk.feed(finished(id)) + talk.wait(4000)) == SPOKEN
        assert talk.session.state is State.IDLE

    def test_speech_that_outlasts_the_answer_is_announced_then(self) -> None:
        talk = Talk(**semantic())
        id = answering(talk, ms=500)
        assert names(talk.hear(640, 0.9)) == []
        assert names(talk.feed(finished(id))) == [*SPOKEN, STARTED]
        assert names(talk.hear(700)) == ["StartResponse", STOPPED, *COMMITTED, *BEGUN]

    def test_turns_that_wait_are_bounded(self) -> None:
        talk = Talk(limits=Limits(held_turns=2), **semantic())
        answering(talk, ms=20_000)
        for _ in range(4):
            talk.hear(960, 0.9)
            talk.hear(700)
        out = talk.send("response.cancel") + talk.send("output_audio_buffer.clear")
        assert names(out).count("input_audio_buffer.committed") == 2
        assert names(out).count("StartResponse") == 1

    def test_after_an_interruption_by_voice_the_command_is_still_told_from_a_turn(self) -> None:
        talk = Talk(listens=True, audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}})
        answering(talk)
        assert names(talk.hear(800, 0.9)) == ["CancelResponse", *SPOKEN, STARTED]
        prepared = talk.started(talk.hear(320))  # the turn does not end before the listener has had its time
        assert irq(talk)[0] == CancelResponse(prepared.response_id)
        assert names(talk.hear(1000)) == []
        assert len(plumbing(talk, ListenNoMore)) == 1

    def test_statuses_go_to_those_who_ask_for_extensions(self) -> None:
        talk = Talk(listens=True, extended=True, **semantic())
        answering(talk)
        (status,) = talk.feed(ListenerStatus(RATE, False, -2.5))
        assert (status["type"], status["status"], status["audio_end_ms"]) == ("omni.listener.status", "n-irq", 1000)


class TestIdle:
    def test_a_silence_after_an_answer_is_answered_once(self) -> None:
        talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}})
        assert talk.wait(60_000) == []  # nothing was said yet
        talk.feed(finished(answering(talk, ms=1000)))
        out = talk.wait(5900) + talk.hear(160)
        assert names(out) == ["input_audio_buffer.timeout_triggered", *COMMITTED, *OPENED]
        assert only(out, "input_audio_buffer.timeout_triggered")["item_id"] == only(out, "input_audio_buffer.committed")["item_id"]
        talk.feed(AnswerFinished(talk.started(out).response_id, True, 1, 1, 1, None))

    def test_speech_keeps_it_away(self) -> None:
        talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000, "create_response": False}}})
        talk.turn()
        talk.feed(finished(talk.started(talk.send("response.create")).response_id))
        talk.hear(960, 0.9)
        assert "input_audio_buffer.timeout_triggered" not in names(talk.wait(20_000))

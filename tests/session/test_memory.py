"""What an answer is told of the conversation before it, and where the words of spoken turns come from."""

from __future__ import annotations

from server.protocol.errors import ProtocolError
from server.session import Limits
from server.session.memory import recent_turns
from server.session.messages import (
    AnswerAudio,
    AnswerFinished,
    AnswerText,
    Output,
    StartResponse,
    TranscriptFailed,
    TranscriptFinished,
    TranscriptText,
)
from tests.session.harness import NANO, Talk, base64_audio, names, only, silence

TRANSCRIPTION = "conversation.item.input_audio_transcription."


def answer(talk: Talk, out: list[Output], text: str, ms: int = 2000) -> str:
    """The response in `out` is made to the end, and heard: its item's id."""
    start = talk.started(out)
    talk.feed(AnswerText(start.response_id, text))
    if start.task.endswith("A2"):
        talk.feed(AnswerAudio(start.response_id, silence(ms)))
    item_id = only(talk.feed(AnswerFinished(start.response_id, True, 1, 1, 1, None)), "response.output_item.done")["item"]["id"]
    talk.wait(ms)
    return item_id


def transcribed(talk: Talk, out: list[Output], text: str) -> list[Output]:
    """The transcription in `out` is made to the end."""
    item_id = only(out, "StartTranscription").item_id
    return [*talk.feed(TranscriptText(item_id, text)), *talk.feed(TranscriptFinished(item_id))]


def ask(talk: Talk, text: str, **response: object) -> StartResponse:
    """A typed question whose answer begins."""
    talk.text_item(text)
    return talk.started(talk.send("response.create", response=response))


def say(talk: Talk, question: str, reply: str) -> None:
    """A typed turn with its answer."""
    talk.text_item(question)
    answer(talk, talk.send("response.create"), reply)


class TestTurns:
    def test_a_turn_is_what_the_user_said_and_the_answer_after_it(self) -> None:
        said = [
            ("assistant", "Welcome!"),  # nobody asked
            ("user", "One"),
            ("assistant", "1"),
            ("user", "Two"),
            ("assistant", ""),  # cancelled before a word
            ("user", "Three"),
            ("system", "Be brief"),
            (None, ""),
            ("user", "and four"),
            ("assistant", "3 4"),
            ("assistant", "or 7"),  # the same once more
            ("user", ""),  # not transcribed
            ("assistant", "5"),
            ("user", "Six"),
        ]
        assert recent_turns(said, 9) == (("One", "1"), ("Three and four", "3 4"), ("", "5"))
        assert recent_turns(said, 2) == (("Three and four", "3 4"), ("", "5"))
        assert recent_turns(said, 0) == ()


class TestHistory:
    def test_the_newest_turns_go_with_the_next(self) -> None:
        talk = Talk(memory_turns=2)
        for number in (1, 2, 3):
            say(talk, f"Question {number}", f"Answer {number}")
        assert ask(talk, "Now?").history == (("Question 2", "Answer 2"), ("Question 3", "Answer 3"))

    def test_a_model_without_memory_is_given_none(self) -> None:
        talk = Talk()
        say(talk, "Question", "Answer")
        out = talk.turn()
        assert talk.started(out).history == ()
        assert "StartTranscription" not in names(out)

    def test_of_an_interrupted_answer_what_was_heard_is_remembered(self) -> None:
        talk = Talk(memory_turns=2)
        start = ask(talk, "How are you?")
        talk.feed(AnswerText(start.response_id, "Hello there, how are you doing today?"))
        talk.feed(AnswerAudio(start.response_id, silence(3000)))
        talk.wait(936)
        out = talk.turn()  # heard for 1.4 s, up to the 64 ms that an onset takes: 21 characters
        assert "CancelResponse" in names(out)
        assert talk.started(out).history == (("How are you?", "Hello there, how are"),)

    def test_so_is_a_truncated_one(self) -> None:
        talk = Talk(memory_turns=2)
        talk.text_item("Count")
        item_id = answer(talk, talk.send("response.create"), "One two three four", ms=1800)
        talk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=800)
        assert ask(talk, "Go on").history == (("Count", "One two"),)

    def test_an_answer_cancelled_before_a_word_leaves_no_turn(self) -> None:
        talk = Talk(memory_turns=2)
        ask(talk, "Never mind")
        talk.send("response.cancel")
        assert ask(talk, "Hello").history == ()

    def test_the_same_question_again_does_not_know_its_first_answer(self) -> None:
        talk = Talk(memory_turns=2)
        say(talk, "Earlier", "Yes")
        say(talk, "A joke?", "Knock, knock")
        assert talk.started(talk.send("response.create")).history == (("Earlier", "Yes"),)

    def test_instructions_are_answered_with_the_whole_conversation_before_them(self) -> None:
        talk = Talk(memory_turns=2)
        say(talk, "Hi", "Hello")
        start = talk.started(talk.send("response.create", response={"instructions": "Say goodbye"}))
        assert (start.text, start.history) == ("Say goodbye", (("Hi", "Hello"),))

    def test_items_that_the_client_restores_count_as_said(self) -> None:
        talk = Talk(memory_turns=2)
        spoken = {"type": "input_audio", "audio": base64_audio(silence(300)), "transcript": "I am Ann"}
        for role, part in (("user", spoken), ("assistant", {"type": "output_text", "text": "Hello, Ann"})):
            talk.send("conversation.item.create", item={"type": "message", "role": role, "content": [part]})
        assert ask(talk, "Who am I?").history == (("I am Ann", "Hello, Ann"),)

    def test_a_deleted_turn_is_forgotten(self) -> None:
        talk = Talk(memory_turns=2)
        talk.text_item("Secret")
        item_id = answer(talk, talk.send("response.create"), "Hush")
        talk.send("conversation.item.delete", item_id=item_id)
        assert ask(talk, "Hello").history == ()

    def test_a_response_with_its_own_input_knows_only_that(self) -> None:
        talk = Talk(memory_turns=2)
        say(talk, "I am Ann", "Hello, Ann")
        own = [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "I am Bob"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello, Bob"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Who am I?"}]},
        ]
        start = talk.started(talk.send("response.create", response={"conversation": "none", "input": own}))
        assert (start.text, start.history) == ("Who am I?", (("I am Bob", "Hello, Bob"),))
        start = talk.started(talk.send("response.create", response={"conversation": "none", "input": own[:1]}))
        assert (start.text, start.history) == ("I am Bob", ())

    def test_an_out_of_band_response_without_input_knows_the_conversation(self) -> None:
        talk = Talk(memory_turns=2)
        say(talk, "I am Ann", "Hello, Ann")
        assert ask(talk, "Who am I?", conversation="none").history == (("I am Ann", "Hello, Ann"),)


class TestWordsOfSpeech:
    def test_a_spoken_turn_is_transcribed_beside_its_answer_and_nobody_is_told(self) -> None:
        talk = Talk(memory_turns=2)
        out = talk.turn()
        assert names(out)[-1] == "StartTranscription"
        assert talk.started(out).audio == only(out, "StartTranscription").audio
        assert transcribed(talk, out, "I am Ann") == []
        answer(talk, out, "Hello, Ann")
        assert talk.started(talk.turn()).history == (("I am Ann", "Hello, Ann"),)

    def test_a_late_transcript_is_not_waited_for(self) -> None:
        talk = Talk(memory_turns=2)
        first = talk.turn()
        answer(talk, first, "Hello, Ann")
        second = talk.turn()
        assert talk.started(second).history == (("", "Hello, Ann"),)
        transcribed(talk, first, "I am Ann")
        answer(talk, second, "You are Ann")
        assert talk.started(talk.turn()).history == (("I am Ann", "Hello, Ann"), ("", "You are Ann"))

    def test_a_failed_one_harms_nothing(self) -> None:
        talk = Talk(memory_turns=2)
        out = talk.turn()
        assert talk.feed(TranscriptFailed(only(out, "StartTranscription").item_id, ProtocolError("server_busy", "try again"))) == []
        answer(talk, out, "Hello")
        assert talk.started(talk.turn()).history == (("", "Hello"),)

    def test_one_transcript_serves_memory_and_the_client_who_asked(self) -> None:
        talk = Talk(memory_turns=2, audio={"input": {"transcription": {"model": "whisper-1"}}})
        out = talk.turn()
        assert names(out)[-1] == "StartTranscription"
        assert names(transcribed(talk, out, "I am Ann")) == [f"{TRANSCRIPTION}delta", f"{TRANSCRIPTION}completed"]
        answer(talk, out, "Hello, Ann")
        assert talk.started(talk.turn()).history == (("I am Ann", "Hello, Ann"),)

    def test_a_turn_that_gets_no_answer_is_not_transcribed(self) -> None:
        talk = Talk(memory_turns=2).manual()
        talk.hear(500)
        assert "StartTranscription" not in names(talk.send("input_audio_buffer.commit"))
        assert "StartTranscription" not in names(talk.send("response.create", response={"conversation": "none"}))
        assert "StartTranscription" in names(talk.send("response.create"))

    def test_speech_in_an_item_is_transcribed_too(self) -> None:
        talk = Talk(memory_turns=2)
        content = [{"type": "input_text", "text": "Listen:"}, {"type": "input_audio", "audio": base64_audio(silence(600))}]
        talk.send("conversation.item.create", item={"id": "a", "type": "message", "role": "user", "content": content})
        out = talk.send("response.create")
        transcribed(talk, out, "I am Ann")
        answer(talk, out, "Hello, Ann")
        assert ask(talk, "Who am I?").history == (("Listen: I am Ann", "Hello, Ann"),)

    def test_a_transcript_does_not_go_to_another_item_of_the_same_id(self) -> None:
        talk = Talk(memory_turns=2)
        item = {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_audio", "audio": base64_audio(silence(600))}]}
        talk.send("conversation.item.create", item=item)
        out = talk.send("response.create")
        talk.send("conversation.item.delete", item_id="a")
        talk.send("conversation.item.create", item=item)
        transcribed(talk, out, "I am Ann")
        retrieved = only(talk.send("conversation.item.retrieve", item_id="a"), "conversation.item.retrieved")
        assert retrieved["item"]["content"] == [{"type": "input_audio"}]

    def test_what_can_not_be_transcribed_stays_unknown_in_silence(self) -> None:
        deaf = Talk(NANO - {"A1T1"}, memory_turns=2)
        busy = Talk(memory_turns=2, limits=Limits(parallel_transcriptions=0))
        for talk in (deaf, busy):
            out = talk.turn()
            assert "StartTranscription" not in names(out)
            assert not [name for name in names(out) if name.startswith(TRANSCRIPTION)]
            answer(talk, out, "Hello")
            assert talk.started(talk.turn()).history == (("", "Hello"),)

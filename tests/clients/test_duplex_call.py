"""One call against a scripted server: what is said when, what the loudspeaker does, and what a case makes of it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from clients.duplex.call import Call, Echo
from clients.duplex.evaluation import ECHO, INTERRUPTIONS, PREPARED, TURNS, LongAnswer
from clients.duplex.scenarios import BY_COMMAND, BY_VOICE, Ask, Endure, Interrupt, Line
from clients.duplex.sound import Speech, Word
from clients.duplex.truncation import judge
from clients.errors import ClientError
from clients.python.audio import RATE
from tests.clients.conftest import Script, tone

QUESTION = Speech.of("What is it?", np.concatenate([tone(0.5), np.zeros(RATE // 10, np.float32)]))
INTERRUPTION = Speech.of("Wait!", np.concatenate([np.zeros(RATE // 10, np.float32), tone(0.3)]))


async def test_a_question_is_said_on_the_sample_and_its_answer_recorded_beside_it(script: Script) -> None:
    asked = await Ask(TURNS, PREPARED, QUESTION, to_the_end=True).play(Line(script.url))
    assert asked.as_it_should
    assert asked.answer is not None
    assert asked.answer.text == "word0 word1 word2 "
    assert asked.latency_s == pytest.approx(0.55, abs=0.2)  # the server waits for 0.5 s of silence, and hears it in chunks
    recording = asked.recording
    assert recording is not None
    assert recording.microphone[: int(0.4 * RATE)].any() == np.False_
    assert np.array_equal(recording.microphone[int(0.4 * RATE) :][: len(QUESTION.wave)], QUESTION.wave)
    heard = np.flatnonzero(recording.loudspeaker) / RATE
    assert heard[0] == pytest.approx(0.9 + asked.latency_s, abs=0.01)
    assert heard[-1] - heard[0] == pytest.approx(0.6, abs=0.02)
    assert [mark.name for mark in recording.marks if mark.name != "speech started"] == [
        "end of speech", "speech stopped", "committed", "response", "first sound", "completed",
    ]  # fmt: skip


async def test_a_pause_in_a_question_is_answered_too_early(script: Script) -> None:
    pause = np.zeros(round(0.7 * RATE), np.float32)
    asked = await Ask(TURNS, PREPARED, Speech.of("What … is it?", np.concatenate([tone(0.3), pause, tone(0.3)]))).play(Line(script.url))
    assert asked.early
    assert not asked.as_it_should
    assert asked.latency_s is not None  # and answered again, after the end


async def test_an_interruption_stops_the_loudspeaker_and_what_was_kept_is_judged_by_the_words_that_were_heard(script: Script) -> None:
    script.chunks = 20
    line = Line(script.url)
    whole = (await Ask(TURNS, PREPARED, QUESTION, to_the_end=True).play(line)).answer
    assert whole is not None
    interrupted = await Interrupt(INTERRUPTIONS, BY_VOICE, QUESTION, INTERRUPTION, 0.5).play(line)
    assert interrupted is not None
    assert interrupted.as_it_should
    assert interrupted.from_onset_s is not None
    assert 0 < interrupted.from_onset_s < 0.2
    assert interrupted.from_end_s == pytest.approx(interrupted.from_onset_s - 0.3, abs=0.001)
    assert interrupted.answered
    reply = interrupted.reply
    assert reply.heard_s == pytest.approx(0.6 + interrupted.from_onset_s, abs=0.01)
    truncate = next(event for event in script.received if event["type"] == "conversation.item.truncate")
    assert truncate["audio_end_ms"] == round(1000 * reply.heard_s)
    assert reply.kept == ["word0 word1", "word0 word1"]  # as the script has it

    class Words:
        def words(self, text: str, wave: np.ndarray) -> list[Word]:
            assert text == whole.text
            return [Word(0.2 * number, 0.2 * number + 0.2) for number in range(20)]

    judged = judge([interrupted], {QUESTION: LongAnswer(whole.text, whole.audio)}, Words())
    assert judged.corrected == (2 - int(reply.heard_s / 0.2),)
    assert not judged.not_judged


async def test_the_loudspeaker_comes_back_into_the_microphone_later_and_lower(script: Script) -> None:
    async with Call.open(script.url, BY_COMMAND.turn_detection, echo=Echo(-6.0, 0.2)) as call:
        call.say(QUESTION.wave)
        assert await call.until(lambda: call.replies and call.replies[0].done_at is not None and not call.playing, 5.0)
        await call.pause(0.3)
        recording = call.recording
    played, echo = np.flatnonzero(recording.loudspeaker)[0], int(RATE * 0.7)
    delay = round(0.2 * RATE)
    heard = recording.microphone[echo:]
    assert np.allclose(heard, 10 ** (-6 / 20) * recording.loudspeaker[echo - delay : len(recording.microphone) - delay], atol=1e-4)
    assert np.flatnonzero(heard)[0] + echo == played + delay


async def test_an_echo_that_interrupts_is_counted(script: Script) -> None:
    script.chunks = 10
    endured = await Endure(ECHO, BY_VOICE, QUESTION, echo=Echo(-6.0, 0.1)).play(Line(script.url))
    assert endured is not None
    assert endured.interrupted  # this server takes anything loud for speech
    assert 0.05 < endured.heard_s < 0.5


async def test_a_call_ends_with_its_connection(script: Script) -> None:
    script.error = "no"

    async def ask_in_vain() -> None:
        async with Call.open(script.url, PREPARED.turn_detection) as call:
            await call.create_response()
            await call.pause(5.0)

    with pytest.raises(ClientError, match="the server says: no"):
        await ask_in_vain()
    before = script.samples
    await asyncio.sleep(0.15)
    assert script.samples == before  # the microphone is off

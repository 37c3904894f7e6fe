"""A scripted call with nano: a question, its answer, and another question said into it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clients.duplex.call import Call, Echo
from clients.duplex.evaluation import INTERRUPTIONS
from clients.duplex.scenarios import BY_VOICE, Interrupt, Line
from clients.duplex.sound import Speech
from clients.python.audio import load_audio


async def test_a_story_is_interrupted_by_a_question_and_the_question_answered(nano_url: str, repository: Path) -> None:
    questions = repository / "tests/assets/questions"
    story, joke = (Speech.of(name, load_audio(questions / f"{name}.flac")) for name in ("story-annie", "joke-linda"))
    interrupted = await Interrupt(INTERRUPTIONS, BY_VOICE, story, joke, after_s=0.5).play(Line(nano_url))
    assert interrupted is not None
    reply = interrupted.reply
    assert reply.answer.status == "cancelled"
    assert reply.answer.reason == "turn_detected"
    assert interrupted.from_onset_s is not None
    assert interrupted.from_onset_s < 1.0  # some 150 ms where nothing else runs
    assert len(reply.kept) == 2
    assert all(reply.answer.text.strip().startswith(kept) for kept in reply.kept)
    assert len(reply.kept[1]) < len(reply.answer.text)
    assert interrupted.latency_s is not None  # the interruption is a turn, and was answered
    recording = interrupted.recording
    assert recording is not None
    silenced = next(mark.at for mark in recording.marks if mark.name == "silenced")
    answered = [mark.at for mark in recording.marks if mark.name == "first sound"][1]
    assert not np.any(recording.loudspeaker[round(silenced * 24_000) + 1 : round(answered * 24_000) - 1])


async def test_a_loudspeaker_in_the_room_does_not_interrupt_and_its_owner_does(nano_url: str, repository: Path) -> None:
    questions = repository / "tests/assets/questions"
    story, joke = (Speech.of(name, load_audio(questions / f"{name}.flac")) for name in ("story-annie", "joke-linda"))
    async with Call.open(nano_url, BY_VOICE.turn_detection, echo=Echo(-6.0, 0.2)) as call:
        ended = call.say(story.wave, 0.4) + story.end / 24_000
        assert await call.until(lambda: call.replies and call.replies[0].first_sound_at is not None, ended + 5)
        reply = call.replies[0]
        assert not await call.until(lambda: reply.cut_at is not None, call.now + 2)
        said = call.say(joke.wave) + joke.onset / 24_000
        assert await call.until(lambda: reply.cut_at is not None, said + 1)
        assert reply.answer.reason == "turn_detected"

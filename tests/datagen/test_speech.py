import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from omni_core.datagen import speech
from omni_core.datagen.questions import DEMO_QUESTIONS, QUESTIONS, write_demo_questions
from omni_core.datagen.sentences import load_dialogues
from omni_core.datagen.speech import SpeechConfig, SpeechSet
from omni_core.datagen.voices import EVALUATION_VARIANTS, QUESTION_VOICES

ROOT = Path(__file__).parents[2]


@pytest.mark.speech
def test_a_small_set_is_made_read_and_gone_on_with(tmp_path):
    config = SpeechConfig(str(tmp_path), open_clips=5, takes=0, held_out_clips=4, part_clips=3)
    speech.run(config)
    folder = tmp_path / "speech"
    clips = SpeechSet(folder, speech.OPEN)
    assert len(clips) == 5
    for index in range(5):
        wave = clips.wave(index)
        assert wave.dtype == np.float32
        assert len(wave) == clips.rows[index]["samples"] > 3000
        assert clips.rows[index]["voice"]["speaker"] not in (*EVALUATION_VARIANTS, "rms")
    held_out = SpeechSet(folder, speech.HELD_OUT_FLITE)
    assert {row["voice"]["speaker"] for row in held_out.rows} == {"rms"}
    assert [row["dialogue"] is None for row in held_out.rows] == [True, False, True, False]

    before = (folder / "open-00000.npy").read_bytes()
    (folder / "open-00000.jsonl").unlink()
    assert len(SpeechSet(folder, speech.OPEN)) == 2
    speech.run(config)
    assert (folder / "open-00000.npy").read_bytes() == before

    answers = [json.loads(line) for line in (tmp_path / "answers" / "manifest.jsonl").read_text().splitlines()]
    assert [row["text"] for row in answers] == [dialogue.answer for dialogue in load_dialogues()]
    wave, rate = soundfile.read(tmp_path / "answers" / answers[0]["audio"])
    assert (rate, len(wave)) == (24_000, answers[0]["samples"])


def test_each_part_of_the_questions_is_a_mixture():
    config = SpeechConfig(takes=3)
    listed = speech._question_list(config)
    assert len(listed) == 3 * sum(len(dialogue.wordings) for dialogue in load_dialogues())
    assert len({name for _, name in listed[:200]}) > 35


@pytest.mark.parametrize(
    ("folder", "count"), [("tests/assets/questions", QUESTIONS * len(QUESTION_VOICES)), ("clients/questions", len(DEMO_QUESTIONS))]
)
def test_the_questions_that_ship_are_those_of_the_dialogues(folder, count):
    answers = {dialogue.question: dialogue.answer for dialogue in load_dialogues()}
    rows = [json.loads(line) for line in (ROOT / folder / "manifest.jsonl").read_text().splitlines()]
    assert len({row["audio"] for row in rows}) == count
    for row in rows:
        assert answers[row["question"]] == row["expect"]
        info = soundfile.info(ROOT / folder / row["audio"])
        assert (info.samplerate, info.channels) == (16_000, 1)


@pytest.mark.speech
def test_questions_are_written_the_same_each_time(tmp_path):
    write_demo_questions(tmp_path)
    for name in DEMO_QUESTIONS:
        assert (tmp_path / f"{name}.flac").read_bytes() == (ROOT / "clients/questions" / f"{name}.flac").read_bytes()

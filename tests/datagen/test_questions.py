import json
from pathlib import Path

import pytest
import soundfile

from omni_core.datagen.questions import DEMO_QUESTIONS, QUESTIONS, write_demo_questions
from omni_core.datagen.sentences import load_dialogues
from omni_core.datagen.voices import QUESTION_VOICES

ROOT = Path(__file__).parents[2]


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

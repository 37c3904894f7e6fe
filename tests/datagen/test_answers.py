import numpy as np
import pytest

from omni_core.datagen import answers
from omni_core.datagen.answers import ANSWER_RATE, OPEN, AnswerSet, answer_texts, make_answers
from omni_core.datagen.exchange import Split
from omni_core.datagen.sentences import load_dialogues
from omni_core.datagen.skills import SKILLS
from omni_core.datagen.skills.sums import SPOKEN
from omni_core.datagen.synthesis import SAMPLE_RATE, speak
from omni_core.datagen.voices import ANSWER_VOICE
from omni_core.errors import DataError


def test_every_answer_of_training_is_spoken_once():
    texts = answer_texts()
    rng = np.random.default_rng(0)
    for name, skill in SKILLS.items():
        spoken = [skill.draw(rng, Split.TRAIN).answer in texts for _ in range(200)]
        assert any(spoken) if name == "sums" else all(spoken), f"{name}: of sums alone there are too many to speak all"
    groups = list(texts.values())
    assert groups.count(OPEN) == 3000
    assert groups.count("talk") == len(load_dialogues()), "what memory echoes belongs to talk"
    assert groups.count("sums") == SPOKEN


def test_a_folder_without_answers_is_an_error(tmp_path):
    with pytest.raises(DataError, match="omni data answers"):
        AnswerSet(tmp_path)


@pytest.mark.speech
def test_answers_are_spoken_and_found_by_their_text(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "answer_texts", lambda sentences: {"Two plus two is four.": "sums", "Give me smokes.": OPEN})
    make_answers(tmp_path)
    spoken = AnswerSet(tmp_path)
    assert spoken.texts == ("Two plus two is four.", "Give me smokes.")
    assert spoken.group("Give me smokes.") == OPEN
    assert "Two plus two is five." not in spoken
    seconds = len(speak("Two plus two is four.", ANSWER_VOICE)) / SAMPLE_RATE
    assert len(spoken.wave("Two plus two is four.")) / ANSWER_RATE == pytest.approx(seconds, abs=0.001)

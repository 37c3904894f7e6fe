import re

import numpy as np
import pytest

from omni_core.datagen.sentences import TEMPLATES, load_dialogues, open_sentence, spoken_form, words
from omni_core.encoders.ctc import character_ids
from omni_core.errors import ConfigError


def test_the_dialogues_are_44_with_distinct_wordings_and_answers():
    dialogues = load_dialogues()
    assert len(dialogues) == 44
    assert len({dialogue.answer for dialogue in dialogues}) == 44
    for dialogue in dialogues:
        assert 2 <= len(dialogue.paraphrases) <= 4
        assert 4 <= len(dialogue.answer.split()) <= 35
        assert not re.search(r"\d", " ".join((*dialogue.wordings, dialogue.answer))), "numbers are spelt out"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {id: a, question: Hi., paraphrases: [], answer: Yes.}\n- {id: b, question: hi, paraphrases: [], answer: No.}", "twice"),
        ("- {id: a, question: Hi., answer: Yes.}", "entry 1"),
    ],
)
def test_a_malformed_dialogue_is_named(tmp_path, text, message):
    path = tmp_path / "dialogues.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_dialogues(path)


def test_there_are_enough_plain_words_and_every_template_finds_its_categories():
    everything = {word for members in words().values() for word in members}
    assert len(everything) >= 1500
    assert all(re.fullmatch(r"[a-z]+('[a-z]+)?", word) for word in everything)
    assert {name for template in TEMPLATES for name in re.findall(r"\{(\w+)\}", template)} <= set(words())


def test_a_sentence_follows_from_its_seed():
    sentence = open_sentence(np.random.default_rng(3))
    assert sentence == open_sentence(np.random.default_rng(3))
    assert sentence != open_sentence(np.random.default_rng(4))


def test_sentences_are_in_spoken_form_and_can_be_written_in_ctc_characters():
    rng = np.random.default_rng(0)
    for _ in range(300):
        sentence = open_sentence(rng)
        assert spoken_form(sentence) == sentence
        assert 2 <= len(sentence.split()) <= 12
        character_ids(sentence)


def test_spoken_form_drops_all_but_letters_spaces_and_inner_apostrophes():
    assert spoken_form("What’s your name,  'Omni'?") == "what's your name omni"

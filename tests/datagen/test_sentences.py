import re

import numpy as np
import pytest

from omni_core.datagen.exchange import Split
from omni_core.datagen.sentences import TEMPLATES, load_dialogues, open_sentence, spoken_form, stable_share, words
from omni_core.encoders.ctc import character_ids
from omni_core.errors import ConfigError


def test_there_are_many_dialogues_and_the_first_file_begins_with_the_acceptance_questions():
    dialogues = load_dialogues()
    assert len(dialogues) >= 200
    assert [dialogue.id for dialogue in dialogues[:3]] == ["who-are-you", "your-name", "what-can-you-do"]
    assert max(len(dialogue.answer.split()) for dialogue in dialogues) > 40, "a story is long enough to be interrupted"


GOOD = "{id: %s, question: Hi %s., paraphrases: [a %s, b %s, c %s, d %s, e %s], held_out: f %s, answer: Hello.}"


def entry(name):
    return "- " + GOOD.replace("%s", name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (entry("x") + "\n" + entry("y").replace("Hi y.", "hi X!"), r"b\.yaml, entry 2 \(y\): 'hi x' is in .*b\.yaml, entry 1 \(x\)"),
        (entry("x").replace("f x", "HI x"), "'hi x' is in"),
        (entry("first"), r"'id first' is in .*a\.yaml, entry 1"),
        (entry("x").replace("held_out: f x, ", ""), "entry 1: needs exactly the keys id, question, paraphrases, held_out, answer"),
        (entry("x").replace(", e x", ""), "at least 5 paraphrases"),
        (entry("x").replace("Hello.", "Hello 2."), "'Hello 2.' must be text, with numbers spelt out"),
        (entry("x").replace("Hello.", "yes"), "True must be text"),
        ("- {id: x", r"b\.yaml: can't be read as YAML"),
        ("id: x", r"b\.yaml: must be a list"),
    ],
)
def test_a_malformed_dialogue_is_named(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(entry("first"))
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_dialogues(tmp_path)


def test_files_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("02-b", "01-a"):
        (tmp_path / f"{name}.yaml").write_text(entry(name[-1]))
    assert [dialogue.id for dialogue in load_dialogues(tmp_path)] == ["a", "b"]


def test_a_folder_without_dialogues_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="holds no dialogues"):
        load_dialogues(tmp_path)


def test_the_share_of_a_key_never_changes():
    assert stable_share("plus 7 3") == pytest.approx(0.816023, abs=1e-6)


def test_there_are_enough_plain_words_and_every_template_finds_its_categories():
    everything = {word for members in words().values() for word in members}
    assert len(everything) >= 1500
    assert all(re.fullmatch(r"[a-z]+('[a-z]+)?", word) for word in everything)
    assert {name for template in TEMPLATES for name in re.findall(r"\{(\w+)\}", template)} <= set(words())


def test_a_sentence_follows_from_its_seed():
    sentence = open_sentence(np.random.default_rng(3))
    assert sentence == open_sentence(np.random.default_rng(3))
    assert sentence != open_sentence(np.random.default_rng(4))


def test_training_and_test_never_share_a_sentence():
    rng = np.random.default_rng(0)
    trained, tested = ({open_sentence(rng, split) for _ in range(1000)} for split in Split)
    assert not trained & tested


def test_sentences_are_in_spoken_form_and_can_be_written_in_ctc_characters():
    rng = np.random.default_rng(0)
    for _ in range(300):
        sentence = open_sentence(rng)
        assert spoken_form(sentence) == sentence
        assert 2 <= len(sentence.split()) <= 12
        character_ids(sentence)


def test_spoken_form_drops_all_but_letters_spaces_and_inner_apostrophes():
    assert spoken_form("What’s your name,  'Omni'?") == "what's your name omni"

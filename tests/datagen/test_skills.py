import re

import numpy as np
import pytest

from omni_core.datagen.exchange import Split, Turn
from omni_core.datagen.sentences import load_dialogues, spoken_form, words
from omni_core.datagen.skills import SKILLS
from omni_core.datagen.skills.memory import MemorySkill
from omni_core.datagen.skills.sums import SumsSkill
from omni_core.datagen.skills.templates import number_words, pattern
from omni_core.errors import DataError

DRAWS = 800


def drawn(name, split, count=DRAWS):
    rng = np.random.default_rng(5)
    return [SKILLS[name].draw(rng, split) for _ in range(count)]


def test_the_skills_in_their_order():
    assert list(SKILLS) == ["talk", "sums", "repeat", "memory", "pictures", "unclear"]


@pytest.mark.parametrize("name", SKILLS)
def test_what_was_spoken_is_completed_to_the_exchange_that_asks_it(name):
    for split in Split:
        rng = np.random.default_rng(1)
        for _ in range(200):
            question = SKILLS[name].spoken(rng, split)
            exchange = SKILLS[name].draw(rng, split, question)
            assert (exchange.skill, exchange.question) == (name, question)


@pytest.mark.parametrize("name", SKILLS)
def test_answers_are_listed_once_with_numbers_spelt_out(name):
    answers = SKILLS[name].answers()
    assert len(set(answers)) == len(answers)
    assert not re.search(r"\d|\{", " ".join(answers))


@pytest.mark.parametrize("name", [name for name in SKILLS if name != "sums"])
def test_answers_lists_all_that_training_draws(name):
    assert {exchange.answer for exchange in drawn(name, Split.TRAIN)} <= set(SKILLS[name].answers())


def test_a_part_of_the_sums_is_spoken_and_none_that_is_held_out():
    answers = set(SKILLS["sums"].answers())
    assert answers & {exchange.answer for exchange in drawn("sums", Split.TRAIN)}
    assert not answers & {exchange.answer for exchange in drawn("sums", Split.TEST, 3000)}


@pytest.mark.parametrize("name", [name for name in SKILLS if name != "unclear"])
def test_a_question_of_another_skill_is_refused(name):
    with pytest.raises(DataError):
        SKILLS[name].draw(np.random.default_rng(0), Split.TRAIN, "Blor krax wug.")


@pytest.mark.parametrize("name", ["talk", "sums", "repeat"])
def test_training_never_asks_what_is_held_out(name):
    trained, tested = ({spoken_form(exchange.question) for exchange in drawn(name, split, 2000)} for split in Split)
    assert not trained & tested


def test_no_wording_belongs_to_two_skills():
    memory = SKILLS["memory"]
    rng = np.random.default_rng(0)
    spoken = {spoken_form(memory.spoken(rng, split)) for split in Split for _ in range(2000)}
    assert not spoken & {spoken_form(text) for dialogue in load_dialogues() for text in (*dialogue.wordings, dialogue.held_out)}


def test_talk_gives_the_same_answer_whatever_was_said_before():
    exchanges = drawn("talk", Split.TRAIN)
    assert 0.2 < np.mean([bool(exchange.history) for exchange in exchanges]) < 0.3
    answers = {text: dialogue.answer for dialogue in load_dialogues() for text in dialogue.wordings}
    for exchange in exchanges:
        assert exchange.answer == answers[exchange.question]
        assert exchange.answer not in [turn.answer for turn in exchange.history]


@pytest.mark.parametrize(
    ("number", "text"), [(0, "zero"), (13, "thirteen"), (40, "forty"), (99, "ninety nine"), (100, "one hundred"), (107, "one hundred and seven")]
)
def test_numbers_in_words(number, text):
    assert number_words(number) == text


def test_a_template_is_read_in_the_other_direction():
    found = pattern("Can you take {b} away from {a}?").match(spoken_form("Can you take twenty one away from forty?"))
    assert found is not None
    assert found.groupdict() == {"b": "twenty one", "a": "forty"}


def test_sums_are_right_and_a_tenth_of_the_pairs_is_held_out():
    skill = SKILLS["sums"]
    assert isinstance(skill, SumsSkill)
    pairs = {}
    for split in Split:
        pairs[split] = {skill.read(exchange.question) for exchange in drawn("sums", split, 12_000)}
        assert all(b >= 0 and (sign == "plus" or a >= b) for sign, a, b in pairs[split])
    assert not pairs[Split.TRAIN] & {(sign, b, a) for sign, a, b in pairs[Split.TEST] if sign == "plus"}
    assert len(pairs[Split.TEST]) == pytest.approx(1500, rel=0.15)  # there are 10,000 pairs of plus and 5,050 of minus
    assert skill.draw(np.random.default_rng(0), Split.TRAIN, "Can you subtract three from ninety?").answer == "Ninety minus three is eighty seven."
    assert skill.draw(np.random.default_rng(0), Split.TRAIN, "What is two plus two?").answer == "Two plus two is four."


def test_repeat_answers_with_the_words_it_heard():
    for exchange in drawn("repeat", Split.TRAIN, 300):
        assert spoken_form(exchange.question).endswith(spoken_form(exchange.answer))
        assert exchange.answer[0].isupper()
        assert 2 <= len(exchange.answer.split()) <= 6


def test_memory_recalls_a_fact_of_the_last_two_turns_or_says_it_was_not_told():
    unknown = between = 0
    rng = np.random.default_rng(0)
    recalled = [SKILLS["memory"].draw(rng, Split.TRAIN, "What is my name?") for _ in range(300)]
    for exchange in recalled:
        told = [turn for turn in exchange.history if turn.answer.startswith("Nice to meet you")]
        assert len(exchange.history) <= 2
        if not told:
            assert exchange.answer == "You have not told me yet."
            unknown += 1
        else:
            assert exchange.answer == told[0].answer.replace("Nice to meet you,", "Your name is")
            between += exchange.history[-1] is not told[0]
    assert 30 < unknown < 60
    assert 100 < between < 160


def test_memory_acknowledges_and_echoes():
    rng = np.random.default_rng(0)
    skill = SKILLS["memory"]
    assert skill.draw(rng, Split.TRAIN, "I am seven years old.").answer == "Seven is a good age."
    for question, echo in (("What did you answer?", "{0.answer}"), ("What did I just ask?", "You asked: {0.question}")):
        exchange = next(e for e in (skill.draw(rng, Split.TRAIN, question) for _ in range(50)) if e.history)
        assert exchange.answer == echo.format(exchange.history[-1])


def test_memory_holds_out_wordings_and_combinations():
    def combinations(split):
        return {
            (exchange.answer, "" if turn is exchange.history[-1] else exchange.history[-1].answer)
            for exchange in drawn("memory", split, 4000) for turn in exchange.history if turn.question == f"I live in {exchange.answer[12:]}"
        }  # fmt: skip

    trained, tested = combinations(Split.TRAIN), combinations(Split.TEST)
    assert trained
    assert tested
    assert not trained & tested
    assert not {e.question for e in drawn("memory", Split.TRAIN)} & {e.question for e in drawn("memory", Split.TEST)}


def test_unclear_is_gibberish_and_one_answer():
    exchange = SKILLS["unclear"].draw(np.random.default_rng(0), Split.TRAIN)
    vocabulary = {word for members in words().values() for word in members}
    assert not set(exchange.question.split()) & vocabulary
    assert exchange.history == ()
    assert SKILLS["unclear"].draw(np.random.default_rng(0), Split.TRAIN, "").answer == exchange.answer


def test_the_values_of_memory_and_the_numbers_are_in_the_vocabulary():
    vocabulary = {word for members in words().values() for word in members}
    vocabulary |= {word + "s" for word in vocabulary}
    memory = SKILLS["memory"]
    assert isinstance(memory, MemorySkill)
    values = {word for fact in memory.facts for value in fact.values for word in value.lower().split()}
    numbers = {word for number in range(200) for word in number_words(number).split()}
    assert not (values | numbers) - vocabulary


def test_turns_are_texts():
    assert all(isinstance(turn, Turn) and turn.question and turn.answer for e in drawn("memory", Split.TEST, 200) for turn in e.history)

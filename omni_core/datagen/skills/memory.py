"""Remembering: facts that a person tells about themselves, asked for one or two turns later, and the last turn itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from omni_core.datagen.exchange import Exchange, Split, Turn
from omni_core.datagen.sentences import load_dialogues, split_of, spoken_form
from omni_core.datagen.skills.talk import talk_turn
from omni_core.datagen.skills.templates import number_words, read_templates, sentence_case
from omni_core.errors import ConfigError, DataError

_FACT_KEYS = {"statements", "acknowledgement", "questions", "held_out", "answer"}
_ECHO_KEYS = {"questions", "held_out", "answer", "unknown"}
_HELD_OUT = 0.1  # of (fact, value, what came between)
_STATEMENT_SHARE, _ECHO_SHARE = 0.35, 0.15  # of what TRAIN speaks; the rest asks for facts
_UNKNOWN_SHARE = 0.15
_ECHOED_WORDS = 16
_TOLD_BETWEEN_SHARE = 0.3  # of the other turns: another fact, not a dialogue


@dataclass(frozen=True)
class Fact:
    """One kind of fact."""

    name: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    acknowledgement: str
    questions: tuple[str, ...]
    held_out: str
    answer: str

    def told(self, statement: str, value: str) -> Turn:
        """The turn in which `value` is told by `statement`."""
        return Turn(sentence_case(statement.format(v=value)), sentence_case(self.acknowledgement.format(v=value)))


class MemorySkill:
    """Facts and echoes of `memory.yaml`. TEST asks by the held-out wordings, with values and turns between that TRAIN never combined."""

    name = "memory"

    def __init__(self) -> None:
        data = read_templates("memory.yaml", ("facts", "unknown", "echoes"))
        self._unknown: str = data["unknown"]
        self.facts = [_fact(name, entry) for name, entry in data["facts"].items()]
        self._echoes: dict[str, dict[str, Any]] = data["echoes"]
        if set(self._echoes) != {"answer", "question"} or any(set(echo) != _ECHO_KEYS for echo in self._echoes.values()):
            raise ConfigError(f"memory.yaml: echoes must be `answer` and `question`, each with {', '.join(sorted(_ECHO_KEYS))}")
        self._statements = {
            spoken_form(turn.question): turn
            for fact in self.facts for value in fact.values for statement in fact.statements for turn in [fact.told(statement, value)]
        }  # fmt: skip
        self._asked = {spoken_form(text): fact for fact in self.facts for text in (*fact.questions, fact.held_out)}
        self._echoed = {spoken_form(text): name for name, echo in self._echoes.items() for text in (*echo["questions"], echo["held_out"])}

    def spoken(self, rng: np.random.Generator, split: Split) -> str:
        """A statement, a question about one, or about the last turn. TEST speaks held-out questions only."""
        part = rng.random()
        if split is Split.TEST:
            return self._echoes[_choice(rng, list(self._echoes))]["held_out"] if part < _ECHO_SHARE else _choice(rng, self.facts).held_out
        if part < _STATEMENT_SHARE:
            return self._tell(rng, _choice(rng, self.facts)).question
        if part < _STATEMENT_SHARE + _ECHO_SHARE:
            return _choice(rng, self._echoes[_choice(rng, list(self._echoes))]["questions"])
        return _choice(rng, _choice(rng, self.facts).questions)

    def draw(self, rng: np.random.Generator, split: Split, question: str | None = None) -> Exchange:
        """An exchange with the turns that it needs, or, sometimes, without. DataError for a question of another kind."""
        question = self.spoken(rng, split) if question is None else question
        text = spoken_form(question)
        if turn := self._statements.get(text):
            return Exchange(self.name, question, turn.answer)
        if fact := self._asked.get(text):
            return self._recall(rng, split, question, fact)
        if name := self._echoed.get(text):
            return self._echo(rng, question, name)
        raise DataError(f"memory: {question!r} is not of memory.yaml: made of older templates? Run `omni data speech` again")

    def answers(self) -> list[str]:
        """Every answer there is: what is told, recalled, unknown, and what may be echoed."""
        told = [turn.answer for turn in self._statements.values()]
        recalled = [sentence_case(fact.answer.format(v=value)) for fact in self.facts for value in fact.values]
        unknown = [self._unknown, *(echo["unknown"] for echo in self._echoes.values())]
        turns = [Turn(dialogue.question, dialogue.answer) for dialogue in load_dialogues()]
        echoed = [self._echoed_answer(name, turn) for name in self._echoes for turn in turns if _short(turn)]
        return list(dict.fromkeys((*told, *recalled, *unknown, *echoed)))

    def _recall(self, rng: np.random.Generator, split: Split, question: str, fact: Fact) -> Exchange:
        if rng.random() < _UNKNOWN_SHARE:
            others = tuple(self._other(rng, fact)[0] for _ in range(rng.integers(3)))
            return Exchange(self.name, question, self._unknown, others)
        while True:
            value = _choice(rng, fact.values)
            other, label = self._other(rng, fact)
            told = self._tell(rng, fact, value)
            place = rng.random()
            history = (told, other) if place < 0.5 else (other, told) if place < 0.75 else (told,)
            key = f"{fact.name} {value} {label if place < 0.5 else ''}"
            if split_of(key, _HELD_OUT) is split:
                return Exchange(self.name, question, sentence_case(fact.answer.format(v=value)), history)

    def _echo(self, rng: np.random.Generator, question: str, name: str) -> Exchange:
        echo = self._echoes[name]
        if rng.random() < _UNKNOWN_SHARE:
            return Exchange(self.name, question, echo["unknown"])
        while not _short(last := talk_turn(rng)):
            pass
        history = (talk_turn(rng), last) if rng.random() < 0.5 else (last,)
        return Exchange(self.name, question, self._echoed_answer(name, last), history)

    def _echoed_answer(self, name: str, turn: Turn) -> str:
        return self._echoes[name]["answer"].format(v=turn.answer if name == "answer" else turn.question)

    def _tell(self, rng: np.random.Generator, fact: Fact, value: str | None = None) -> Turn:
        return fact.told(_choice(rng, fact.statements), value or _choice(rng, fact.values))

    def _other(self, rng: np.random.Generator, fact: Fact) -> tuple[Turn, str]:
        """A turn that doesn't tell `fact`, and what it is called in a held-out combination."""
        if rng.random() < _TOLD_BETWEEN_SHARE:
            other = _choice(rng, [entry for entry in self.facts if entry is not fact])
            return self._tell(rng, other), other.name
        turn = talk_turn(rng)
        return turn, turn.question


def _fact(name: str, entry: dict[str, Any]) -> Fact:
    if set(entry) not in (_FACT_KEYS | {"values"}, _FACT_KEYS | {"numbers"}):
        raise ConfigError(f"memory.yaml, fact {name!r}: needs the keys {', '.join(sorted(_FACT_KEYS))}, and values or numbers")
    if "numbers" in entry:
        first, last, step = entry["numbers"]
        values = tuple(number_words(number) for number in range(first, last + 1, step))
    else:
        values = tuple(entry["values"])
    return Fact(name, values, tuple(entry["statements"]), entry["acknowledgement"], tuple(entry["questions"]), entry["held_out"], entry["answer"])


def _short(turn: Turn) -> bool:
    """Whether it may be echoed: a story would be too long."""
    return len(turn.answer.split()) <= _ECHOED_WORDS


def _choice(rng: np.random.Generator, items: Any) -> Any:
    return items[rng.integers(len(items))]

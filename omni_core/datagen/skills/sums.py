"""Arithmetic on spoken numbers: plus and minus from zero to ninety-nine, never below zero."""

from __future__ import annotations

import functools

import numpy as np

from omni_core.datagen.exchange import Exchange, Split
from omni_core.datagen.sentences import split_of, spoken_form
from omni_core.datagen.skills.templates import number_words, pattern, read_templates, sentence_case
from omni_core.errors import DataError

LIMIT = 100  #: numbers are below
_SMALL_LIMIT, _SMALL_SHARE = 21, 0.3  # people ask for small sums more often
_HELD_OUT = 0.1
SPOKEN = 2500  #: sums whose answers the answer voice speaks: training writes them all
_SEED = 30

Sum = tuple[str, int, int]  #: "plus" or "minus", and the numbers


class SumsSkill:
    """Templates of `sums.yaml`. A tenth of the pairs is held out, for plus in both orders.

    An answer says the sum before its result: what was heard is settled, and the result follows from words, spoken question or written.
    """

    name = "sums"

    def __init__(self) -> None:
        data = read_templates("sums.yaml", ("plus", "minus", "answers"))
        self._answers: dict[str, str] = data["answers"]
        self._templates: dict[str, list[str]] = {sign: data[sign] for sign in ("plus", "minus")}
        self._patterns = [(sign, pattern(text)) for sign, texts in self._templates.items() for text in texts]
        self._numbers = {number_words(number): number for number in range(LIMIT)}

    def spoken(self, rng: np.random.Generator, split: Split) -> str:
        """A sum of the split."""
        while sum_split(asked := _any_sum(rng)) is not split:
            pass
        sign, a, b = asked
        templates = self._templates[sign]
        return templates[rng.integers(len(templates))].format(a=number_words(a), b=number_words(b))

    def draw(self, rng: np.random.Generator, split: Split, question: str | None = None) -> Exchange:
        """A sum and its result, without history. DataError for a question that is none."""
        question = self.spoken(rng, split) if question is None else question
        return Exchange(self.name, question, self.answer(self.read(question)))

    def read(self, question: str) -> Sum:
        """Which sum `question` asks for."""
        text = spoken_form(question)
        for sign, expression in self._patterns:
            if (found := expression.match(text)) and found["a"] in self._numbers and found["b"] in self._numbers:
                return sign, self._numbers[found["a"]], self._numbers[found["b"]]
        raise DataError(f"sums: {question!r} is no sum of sums.yaml: made of older templates? Run `omni data speech` again")

    def answer(self, asked: Sum) -> str:
        """The sum and its result in words."""
        sign, a, b = asked
        result = a + b if sign == "plus" else a - b
        return sentence_case(self._answers[sign].format(a=number_words(a), b=number_words(b), result=number_words(result)))

    def answers(self) -> list[str]:
        """The answers to SPOKEN of the sums of TRAIN."""
        return [self.answer(asked) for asked in _spoken_sums()]


def sum_split(asked: Sum) -> Split:
    """On which side a sum is; a plus b is where b plus a is."""
    sign, a, b = asked
    return split_of(f"{sign} {max(a, b)} {min(a, b)}", _HELD_OUT)


def _any_sum(rng: np.random.Generator) -> Sum:
    limit = _SMALL_LIMIT if rng.random() < _SMALL_SHARE else LIMIT
    a, b = (int(number) for number in rng.integers(limit, size=2))
    return ("plus", a, b) if rng.random() < 0.5 else ("minus", max(a, b), min(a, b))


@functools.cache
def _spoken_sums() -> tuple[Sum, ...]:
    """Always the same ones."""
    rng = np.random.default_rng(_SEED)
    found: dict[Sum, None] = {}
    while len(found) < SPOKEN:
        asked = _any_sum(rng)
        if sum_split(asked) is Split.TRAIN:
            found[asked] = None
    return tuple(found)

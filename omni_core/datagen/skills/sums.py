"""Arithmetic on spoken numbers: plus and minus from zero to ninety-nine, never below zero."""

from __future__ import annotations

import numpy as np

from omni_core.datagen.exchange import Exchange, Split
from omni_core.datagen.sentences import split_of, spoken_form
from omni_core.datagen.skills.templates import number_words, pattern, read_templates
from omni_core.errors import DataError

LIMIT = 100  #: numbers are below
_SMALL_LIMIT, _SMALL_SHARE = 21, 0.3  # people ask for small sums more often
_HELD_OUT = 0.1

Sum = tuple[str, int, int]  #: "plus" or "minus", and the numbers


class SumsSkill:
    """Templates of `sums.yaml`. A tenth of the pairs is held out, for plus in both orders."""

    name = "sums"

    def __init__(self) -> None:
        data = read_templates("sums.yaml", ("plus", "minus", "answer"))
        self._answer: str = data["answer"]
        self._templates: dict[str, list[str]] = {sign: data[sign] for sign in ("plus", "minus")}
        self._patterns = [(sign, pattern(text)) for sign, texts in self._templates.items() for text in texts]
        self._numbers = {number_words(number): number for number in range(LIMIT)}

    def spoken(self, rng: np.random.Generator, split: Split) -> str:
        """A sum of the split."""
        while True:
            limit = _SMALL_LIMIT if rng.random() < _SMALL_SHARE else LIMIT
            a, b = (int(number) for number in rng.integers(limit, size=2))
            sign = "plus" if rng.random() < 0.5 else "minus"
            asked: Sum = (sign, a, b) if sign == "plus" else (sign, max(a, b), min(a, b))
            if sum_split(asked) is split:
                templates = self._templates[sign]
                return templates[rng.integers(len(templates))].format(a=number_words(asked[1]), b=number_words(asked[2]))

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
        """The result in words."""
        sign, a, b = asked
        return self._answer.format(result=number_words(a + b if sign == "plus" else a - b))

    def answers(self) -> list[str]:
        """Every answer there is."""
        return [self.answer(("plus", number - number // 2, number // 2)) for number in range(2 * LIMIT - 1)]


def sum_split(asked: Sum) -> Split:
    """On which side a sum is; a plus b is where b plus a is."""
    sign, a, b = asked
    return split_of(f"{sign} {max(a, b)} {min(a, b)}", _HELD_OUT)

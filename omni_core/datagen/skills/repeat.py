"""Saying again what was said: the open vocabulary, in and out."""

from __future__ import annotations

import functools

import numpy as np

from omni_core.datagen.exchange import Exchange, Split
from omni_core.datagen.sentences import open_sentence, spoken_form
from omni_core.datagen.skills.templates import pattern, read_templates, sentence_case
from omni_core.errors import DataError

SENTENCES = 3000  #: that training may ask for: as many as the answer voice speaks (`answers`)
WORDS = range(2, 7)
_SEED = 20


class RepeatSkill:
    """Templates of `repeat.yaml` around open sentences. TRAIN draws from `sentences()`, TEST any held-out sentence."""

    name = "repeat"

    def __init__(self) -> None:
        self._templates: list[str] = read_templates("repeat.yaml", ("questions",))["questions"]
        longest_first = sorted(self._templates, key=len, reverse=True)  # "repeat after me X" is not "repeat X"
        self._patterns = [pattern(text) for text in longest_first]

    def spoken(self, rng: np.random.Generator, split: Split) -> str:
        """A request to say something."""
        sentence = _short(rng, split) if split is Split.TEST else sentences()[rng.integers(SENTENCES)]
        return self._templates[rng.integers(len(self._templates))].format(x=sentence_case(sentence))

    def draw(self, rng: np.random.Generator, split: Split, question: str | None = None) -> Exchange:
        """A request and the sentence it asks for, without history. DataError for a question that asks for none."""
        question = self.spoken(rng, split) if question is None else question
        text = spoken_form(question)
        for expression in self._patterns:
            if found := expression.match(text):
                return Exchange(self.name, question, sentence_case(found["x"]))
        raise DataError(f"repeat: {question!r} is no request of repeat.yaml: made of older templates? Run `omni data speech` again")

    def answers(self) -> list[str]:
        """Every sentence that TRAIN asks for."""
        return [sentence_case(text) for text in sentences()]


@functools.cache
def sentences() -> tuple[str, ...]:
    """The sentences that training asks to repeat, always the same."""
    rng = np.random.default_rng(_SEED)
    found: dict[str, None] = {}
    while len(found) < SENTENCES:
        found[_short(rng, Split.TRAIN)] = None
    return tuple(found)


def _short(rng: np.random.Generator, split: Split) -> str:
    while len((sentence := open_sentence(rng, split)).split()) not in WORDS:
        pass
    return sentence

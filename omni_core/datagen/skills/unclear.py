"""Saying so when there was nothing to understand."""

from __future__ import annotations

import numpy as np

from omni_core.datagen.exchange import Exchange, Split
from omni_core.datagen.skills.templates import read_templates


class UnclearSkill:
    """Gibberish of `unclear.yaml`'s syllables, and the one answer. Clips may be anything else without meaning (see `speech`): their text is empty."""

    name = "unclear"

    def __init__(self) -> None:
        data = read_templates("unclear.yaml", ("answer", "syllables"))
        self.answer: str = data["answer"]
        self._syllables: list[str] = data["syllables"].split()

    def spoken(self, rng: np.random.Generator, split: Split) -> str:
        """Some words that are none."""
        return " ".join("".join(rng.choice(self._syllables, rng.integers(1, 4))) for _ in range(rng.integers(2, 6)))

    def draw(self, rng: np.random.Generator, split: Split, question: str | None = None) -> Exchange:
        """Gibberish, or what was heard, and the answer; no history."""
        return Exchange(self.name, self.spoken(rng, split) if question is None else question, self.answer)

    def answers(self) -> list[str]:
        """The one there is."""
        return [self.answer]

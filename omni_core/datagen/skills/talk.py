"""Conversation: the dialogues. The earlier turns of a conversation don't change the answer."""

from __future__ import annotations

import functools

import numpy as np

from omni_core.datagen.exchange import Exchange, Split, Turn
from omni_core.datagen.sentences import Dialogue, load_dialogues, spoken_form
from omni_core.errors import DataError

_HISTORY_SHARE = 0.25
_FIRST, _OFTEN = 40, 4  # the first dialogues, which people ask first, are asked so many times as often in training


class TalkSkill:
    """Answers the dialogues of `dialogues/*.yaml`. TRAIN asks by question and paraphrases, TEST by the held-out wording."""

    name = "talk"

    def __init__(self, history_share: float = _HISTORY_SHARE) -> None:
        self._history_share = history_share

    def spoken(self, rng: np.random.Generator, split: Split) -> str:
        """A wording of one of the dialogues."""
        dialogue = draw_dialogue(rng)
        return dialogue.held_out if split is Split.TEST else dialogue.wordings[rng.integers(len(dialogue.wordings))]

    def draw(self, rng: np.random.Generator, split: Split, question: str | None = None) -> Exchange:
        """An exchange; a quarter of them after one or two turns of other dialogues. DataError for a question that is in no dialogue."""
        question = self.spoken(rng, split) if question is None else question
        dialogue = _by_wording().get(spoken_form(question))
        if dialogue is None:
            raise DataError(f"talk: {question!r} is in no dialogue: spoken before they changed? Run `omni data speech` again")
        history: list[Turn] = []
        if rng.random() < self._history_share:
            history = [talk_turn(rng, apart_from=dialogue) for _ in range(rng.integers(1, 3))]
        return Exchange(self.name, question, dialogue.answer, tuple(history))

    def weight(self, question: str) -> float:
        """How often TRAIN asks `question`, against others."""
        return _OFTEN if spoken_form(question) in _first_wordings() else 1.0

    def answers(self) -> list[str]:
        """Every answer there is."""
        return [dialogue.answer for dialogue in load_dialogues()]


def draw_dialogue(rng: np.random.Generator) -> Dialogue:
    """Any dialogue."""
    dialogues = load_dialogues()
    return dialogues[rng.integers(len(dialogues))]


def talk_turn(rng: np.random.Generator, apart_from: Dialogue | None = None) -> Turn:
    """An earlier turn: a dialogue, but not this one, by its canonical question."""
    while (dialogue := draw_dialogue(rng)) is apart_from:
        pass
    return Turn(dialogue.question, dialogue.answer)


@functools.cache
def _first_wordings() -> frozenset[str]:
    return frozenset(spoken_form(text) for dialogue in load_dialogues()[:_FIRST] for text in dialogue.wordings)


@functools.cache
def _by_wording() -> dict[str, Dialogue]:
    return {spoken_form(text): dialogue for dialogue in load_dialogues() for text in (*dialogue.wordings, dialogue.held_out)}

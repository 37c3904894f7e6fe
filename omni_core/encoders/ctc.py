"""Characters that the CTC head of `ChunkedEncoder` reads: a blank, a space, an apostrophe, a to z; and how far into a text a sound has come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
BLANK = 0
VOCABULARY = 1 + len(CHARACTERS)

_IDS = {character: index for index, character in enumerate(CHARACTERS, 1)}


def character_ids(text: str) -> list[int]:
    """Label ids of `text`, which must be in spoken form (`datagen.sentences.spoken_form`); KeyError for other characters."""
    return [_IDS[character] for character in text]


def greedy_text(logits: torch.Tensor) -> str:
    """The text of `logits` [T, VOCABULARY]: best label a step, repeats merged, blanks dropped."""
    best = torch.unique_consecutive(logits.argmax(-1)).tolist()
    return " ".join("".join(CHARACTERS[index - 1] for index in best if index != BLANK).split())


class Prefixes:
    """How likely each beginning of a text is to be all that was said so far: one CTC forward pass scores them all.

    The pass keeps, for each label and each blank between labels, the probability of having come just there (Graves et al., 2006, section 4.1);
    those two ways to end after l labels are the probability of that beginning.
    """

    def __init__(self, labels: Sequence[int]) -> None:
        """labels: ids of the whole text, n of them."""
        self._states = np.full(2 * len(labels) + 1, BLANK)
        self._states[1::2] = labels
        before = np.concatenate([[BLANK, BLANK], self._states])[:-2]
        self._leaps = (self._states != BLANK) & (self._states != before)  # a blank may be left out between labels that differ
        self._leaps[1:2] = False  # before the first label there is nothing to leap from
        self._paths = np.full(len(self._states), -np.inf)
        self._paths[0] = 0.0  # before the first step

    def push(self, log_probabilities: NDArray[np.floating]) -> None:
        """The next steps [T, VOCABULARY], natural logarithms."""
        for step in log_probabilities:
            paths = self._paths
            one = np.concatenate([[-np.inf], paths[:-1]])
            two = np.where(self._leaps, np.concatenate([[-np.inf, -np.inf], paths[:-2]])[: len(paths)], -np.inf)
            self._paths = np.logaddexp(np.logaddexp(paths, one), two) + step[self._states]

    def scores(self) -> NDArray[np.floating]:
        """[n + 1]: log probability that the first l labels, and no more, were said."""
        return np.logaddexp(self._paths[::2], np.concatenate([[-np.inf], self._paths[1::2]]))

"""Characters that the CTC head of `ChunkedEncoder` reads: a blank, a space, an apostrophe, a to z."""

from __future__ import annotations

import torch

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

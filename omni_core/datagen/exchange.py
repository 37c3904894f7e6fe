"""What is said in one turn, and what a skill is. Owns no text: see `skills`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from omni_core.datagen.pictures import Picture


class Split(StrEnum):
    """What may be trained on, and what is kept for evaluation."""

    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True)
class Turn:
    """An earlier turn of the conversation."""

    question: str
    answer: str


@dataclass(frozen=True)
class Exchange:
    """A question and the right answer to it, with what it depends on."""

    skill: str
    question: str
    answer: str
    history: tuple[Turn, ...] = ()  #: oldest first
    picture: Picture | None = None


class Skill(Protocol):
    """One kind of thing that nano can do. Everything random comes from `rng`; TRAIN and TEST never draw the same held-out thing."""

    name: str

    def spoken(self, rng: np.random.Generator, split: Split) -> str:
        """The text of a question to be spoken."""
        ...

    def draw(self, rng: np.random.Generator, split: Split, question: str | None = None) -> Exchange:
        """An exchange; with `question` (a text of `spoken`) one that asks just this, its history and picture drawn anew."""
        ...

    def answers(self) -> Sequence[str]:
        """The answers of TRAIN that are to be spoken: all that it can draw, where they aren't too many."""
        ...

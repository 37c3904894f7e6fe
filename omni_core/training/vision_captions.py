"""Pictures with their captions, batch by batch: what the vision encoder learns from. Every batch is drawn and painted anew from (seed, step)."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from omni_core.datagen.exchange import Split
from omni_core.datagen.painting import COLOURS, PLACES, SHAPES
from omni_core.datagen.pictures import MOST, SIGNS, Picture, Thing, any_picture, counted

END = 0  #: the word before and after a caption
PADDING = -1  #: after END: nothing to learn
LONGEST = 40  #: words of a caption with its END, at most


@dataclass(frozen=True)
class Batch:
    """Pictures and their captions."""

    pictures: tuple[Picture, ...]
    images: Tensor  #: uint8 [B, 3, S, S]
    before: Tensor  #: int64 [B, U]: END, then the caption
    after: Tensor  #: int64 [B, U]: the caption, then END, then PADDING

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        return dataclasses.replace(self, images=self.images.to(device), before=self.before.to(device), after=self.after.to(device))


class Words:
    """The words of captions as ids."""

    def __init__(self) -> None:
        things = (Thing(*each) for each in itertools.product(SHAPES, COLOURS, PLACES))
        captions = [Picture((thing,), "", 0).caption() for thing in things] + [f"{counted(n, 'thing')}," for n in range(1, MOST + 1)]
        self._words = ["", *sorted({word for caption in captions + list(SIGNS.values()) for word in _split(caption)})]
        self._ids = {word: number for number, word in enumerate(self._words)}

    def __len__(self) -> int:
        return len(self._words)

    def encode(self, caption: str) -> list[int]:
        """Ids, END not among them."""
        return [self._ids[word] for word in _split(caption)]

    def decode(self, ids: Sequence[int]) -> str:
        """The words up to END."""
        return " ".join(self._words[number] for number in itertools.takewhile(lambda number: number != END, ids))


class Gallery:
    """Endless batches for training, and one for validation."""

    def __init__(self, words: Words, size: int, batch: int, seed: int) -> None:
        self.words, self.size, self.batch, self.seed = words, size, batch, seed

    def make(self, step: int) -> Batch:
        """The batch of `step`."""
        rng = np.random.default_rng((self.seed, step))
        return self._paint([any_picture(rng, Split.TRAIN) for _ in range(self.batch)])

    def held_out(self, count: int) -> list[Batch]:
        """`count` pictures that training never shows; the same for every seed."""
        rng = np.random.default_rng(0)
        pictures = [any_picture(rng, Split.TEST) for _ in range(count)]
        return [self._paint(pictures[start : start + self.batch]) for start in range(0, count, self.batch)]

    def _paint(self, pictures: Sequence[Picture]) -> Batch:
        images = torch.from_numpy(np.stack([picture.render(self.size) for picture in pictures])).permute(0, 3, 1, 2)
        captions = [torch.tensor(self.words.encode(picture.caption())) for picture in pictures]
        before = pad_sequence([F.pad(ids, (1, 0), value=END) for ids in captions], batch_first=True, padding_value=END)
        after = pad_sequence([F.pad(ids, (0, 1), value=END) for ids in captions], batch_first=True, padding_value=PADDING)
        return Batch(tuple(pictures), images, before, after)


def _split(caption: str) -> list[str]:
    return re.findall(r"\w+|[:,]", caption)

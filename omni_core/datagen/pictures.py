"""Pictures that nano learns to see: what one shows, and which are held out.

How it looks is `painting`'s business, what is asked about it that of `skills.pictures`.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from omni_core.datagen.exchange import Split
from omni_core.datagen.painting import COLOURS, PLACES, SHAPES, SIZE, paint
from omni_core.datagen.sentences import split_of
from omni_core.errors import DataError

T = TypeVar("T")

#: digits and capital letters, each as it is named
SIGNS = {
    **{digit: f"the number {word}" for digit, word in zip(string.digits, "zero one two three four five six seven eight nine".split(), strict=True)},
    **{letter: f"the letter {letter}" for letter in string.ascii_uppercase},
}
NUMBERS = ("no", "one", "two", "three", "four", "five")
WHERE = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom", "middle": "in the middle"}
MOST = len(PLACES)  #: things of one picture: one at each place

_HELD_OUT = 0.1


@dataclass(frozen=True)
class Thing:
    """One coloured shape and where it is."""

    shape: str
    colour: str
    place: str


@dataclass(frozen=True)
class Picture:
    """What a picture shows, and the seed of all that varies in how it looks: either one to five things, in the order of PLACES, or one sign."""

    things: tuple[Thing, ...]
    sign: str  #: a key of SIGNS; empty: there are things
    seed: int

    def render(self, size: int = SIZE) -> np.ndarray:
        """uint8 [size, size, 3]: the same scene at any size."""
        return paint(self, size)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Picture:
        """Raises DataError when `data` is nothing that `to_json` gave."""
        try:
            things = tuple(Thing(**thing) for thing in data["things"])
            known = all(thing.shape in SHAPES and thing.colour in COLOURS and thing.place in PLACES for thing in things)
            if not known or (data["sign"] not in SIGNS if data["sign"] else not things):
                raise ValueError("it holds nothing, or something that is not known")
            return cls(things, data["sign"], int(data["seed"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"no picture: {data!r} ({error})") from error

    def caption(self) -> str:
        """All that there is to see, in words."""
        if self.sign:
            return SIGNS[self.sign]
        named = (f"{article(thing.colour)} {thing.colour} {thing.shape} {WHERE[thing.place]}" for thing in self.things)
        return f"{counted(len(self.things), 'thing')}: {', '.join(named)}"

    @property
    def split(self) -> Split:
        """A tenth of the pictures is kept for evaluation: by what is shown; of signs, of which there are few, by the seed too."""
        shown = f"{self.sign} {self.seed}" if self.sign else " ".join(f"{thing.shape} {thing.colour} {thing.place}" for thing in self.things)
        return split_of(shown, _HELD_OUT)


def any_picture(rng: np.random.Generator, split: Split) -> Picture:
    """A picture to describe: three in four show things, the others a sign."""

    def draw() -> Picture:
        if rng.random() < 0.25:
            return draw_sign(rng, list(SIGNS))
        count = int(rng.integers(1, MOST + 1))
        return draw_things(rng, some(rng, count) if rng.random() < 0.7 else alike(rng, count))

    return of_split(split, draw)


def of_split(split: Split, draw: Callable[[], Picture]) -> Picture:
    """The first picture of `draw` that `split` may use."""
    while True:
        picture = draw()
        if picture.split is split:
            return picture


def draw_things(rng: np.random.Generator, kinds: Sequence[tuple[str, str]]) -> Picture:
    """Things of these (shape, colour), at most MOST, each at a place of its own."""
    places = list(PLACES)
    at = rng.permutation(MOST)[: len(kinds)]
    things = [Thing(shape, colour, places[place]) for (shape, colour), place in zip(kinds, at, strict=True)]
    return Picture(tuple(sorted(things, key=lambda thing: places.index(thing.place))), "", _seed(rng))


def draw_sign(rng: np.random.Generator, signs: Sequence[str]) -> Picture:
    """One of `signs`."""
    return Picture((), pick(rng, signs), _seed(rng))


def some(rng: np.random.Generator, count: int, shapes: Sequence[str] = SHAPES, colours: Sequence[str] = tuple(COLOURS)) -> list[tuple[str, str]]:
    """`count` random (shape, colour)."""
    return [(pick(rng, shapes), pick(rng, colours)) for _ in range(count)]


def alike(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """`count` (shape, colour) of one shape, half the time of one colour too."""
    shape, colours = pick(rng, SHAPES), list(COLOURS)
    return some(rng, count, [shape], colours if rng.random() < 0.5 else [pick(rng, colours)])


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of `items`."""
    return items[int(rng.integers(len(items)))]


def counted(count: int, thing: str) -> str:
    """A number of things in words: two red circles, one thing."""
    return f"{NUMBERS[count]} {thing}{'' if count == 1 else 's'}"


def article(word: str) -> str:
    """The one that `word` takes."""
    return "an" if word[0] in "aeiou" else "a"


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))

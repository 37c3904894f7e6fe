"""What is asked about pictures, and the right answers: the skill `pictures`.

The wordings are in `pictures.yaml`, what is shown in `datagen.pictures`. Answers come from a closed set (`PictureSkill.answers`), for a small model
learns them by heart; so a crowd is counted rather than told thing by thing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omni_core.datagen.exchange import Exchange, Split
from omni_core.datagen.painting import COLOURS, PLACES, SHAPES
from omni_core.datagen.pictures import MOST, SIGNS, WHERE, Picture, alike, article, counted, draw_sign, draw_things, of_split, pick, some
from omni_core.datagen.sentences import read_yaml, spoken_form
from omni_core.errors import ConfigError, DataError

WORDINGS = Path(__file__).parent / "pictures.yaml"

Slots = dict[str, str]

_DIGITS = [sign for sign in SIGNS if sign.isdigit()]
_LETTERS = [sign for sign in SIGNS if sign.isalpha()]


class PictureSkill:
    """Looks at a picture and answers. A `datagen.exchange.Skill`."""

    name = "pictures"

    def __init__(self, wordings: Path = WORDINGS) -> None:
        self._wordings = _read_wordings(wordings)
        self._asked: dict[str, tuple[str, Slots]] = {}  # spoken form of a question -> its kind and what fills its slots
        for kind, by_split in self._wordings.items():
            for template, slots in itertools.product(itertools.chain(*by_split.values()), _fillings(kind)):
                question = _fill(template, slots)
                if spoken_form(question) in self._asked:
                    raise ConfigError(f"{wordings}, {kind}: {question!r} is there twice; every wording must be its own")
                self._asked[spoken_form(question)] = kind, slots

    def spoken(self, rng: np.random.Generator, split: Split) -> str:
        """A question; every kind is as likely."""
        kind = pick(rng, list(_KINDS))
        return _fill(pick(rng, self._wordings[kind][split]), pick(rng, _fillings(kind)))

    def draw(self, rng: np.random.Generator, split: Split, question: str | None = None) -> Exchange:
        """A question with a picture that it fits. Raises DataError for a `question` that the wordings do not hold."""
        question = question or self.spoken(rng, split)
        if spoken_form(question) not in self._asked:
            raise DataError(f"pictures: {question!r} is no question of pictures.yaml: made of older wordings? Run `omni data speech` again")
        name, slots = self._asked[spoken_form(question)]
        kind = _KINDS[name]
        picture = of_split(split, lambda: kind.draw(rng, slots))
        return Exchange(self.name, question, kind.answer(picture, slots), picture=picture)

    def kind_of(self, question: str) -> str:
        """The kind of a question, as `pictures.yaml` names it; for scores by kind. Raises KeyError for one that it does not hold."""
        return self._asked[spoken_form(question)][0]

    def answers(self) -> list[str]:
        """Every answer that `draw` can give."""
        several = range(2, MOST + 1)
        return [
            *(f"I see {article(colour)} {colour} {shape}." for colour in COLOURS for shape in SHAPES),
            *(f"I see {counted(2, f'{colour} {shape}')}." for colour in COLOURS for shape in SHAPES),
            *(f"I see {counted(count, shape)}." for count in several for shape in SHAPES),
            *(f"I see a {first} and a {second}." for first, second in itertools.combinations(SHAPES, 2)),
            *(f"I see {counted(count, 'thing')}." for count in several if count > 2),
            *(f"It is {name}." for name in SIGNS.values()),
            *(_there_are(count, "thing") for count in range(1, MOST + 1)),
            *(_there_are(count, shape) for count in range(MOST + 1) for shape in SHAPES),
            *(f"The {shape} is {colour}." for shape in SHAPES for colour in COLOURS),
            *(f"It is {colour}." for colour in COLOURS),
            *(f"It is a {shape}." for shape in SHAPES),
            *(f"The {shape} is {place}." for shape in SHAPES for place in WHERE.values()),
            _YES,
            _NO,
        ]


_YES, _NO = "Yes, there is.", "No, there is not."


@dataclass(frozen=True)
class _Kind:
    """One kind of question: the slots of its wordings, a picture that it fits, and the answer."""

    slots: tuple[str, ...]
    draw: Callable[[np.random.Generator, Slots], Picture]
    answer: Callable[[Picture, Slots], str]


def _draw_seen(rng: np.random.Generator, slots: Slots) -> Picture:
    if rng.random() < 0.2:
        return draw_sign(rng, list(SIGNS))
    count = int(rng.choice(MOST, p=(0.35, 0.35, 0.1, 0.1, 0.1))) + 1
    return draw_things(rng, alike(rng, count) if rng.random() < 0.6 else some(rng, count))


def _seen(picture: Picture, slots: Slots) -> str:
    things = picture.things
    if picture.sign:
        return _sign(picture, slots)
    shapes = sorted({thing.shape for thing in things}, key=SHAPES.index)
    if len(things) == 1:
        return f"I see {article(things[0].colour)} {things[0].colour} {things[0].shape}."
    if len(things) == 2 and len(shapes) == 2:
        return f"I see a {shapes[0]} and a {shapes[1]}."
    if len(things) == 2 and things[0].colour == things[1].colour:
        return f"I see {counted(2, f'{things[0].colour} {things[0].shape}')}."
    return f"I see {counted(len(things), shapes[0] if len(shapes) == 1 else 'thing')}."


def _sign(picture: Picture, slots: Slots) -> str:
    return f"It is {SIGNS[picture.sign]}."


def _draw_crowd(rng: np.random.Generator, slots: Slots) -> Picture:
    count = int(rng.integers(1, MOST + 1))
    return draw_things(rng, alike(rng, count) if rng.random() < 0.3 else some(rng, count))


def _draw_counted(rng: np.random.Generator, slots: Slots) -> Picture:
    """Any number of the shape in question, none too, among others."""
    count = int(rng.integers(MOST + 1))
    others = int(rng.integers(0 if count else 1, MOST - count + 1))
    return draw_things(rng, some(rng, count, [slots["shape"]]) + some(rng, others, _but(SHAPES, slots["shape"])))


def _draw_only_shape(rng: np.random.Generator, slots: Slots) -> Picture:
    """One thing of the shape in question, among others."""
    return draw_things(rng, some(rng, 1, [slots["shape"]]) + some(rng, int(rng.integers(MOST)), _but(SHAPES, slots["shape"])))


def _draw_only_colour(rng: np.random.Generator, slots: Slots) -> Picture:
    """One thing of the colour in question, among others."""
    others = some(rng, int(rng.integers(MOST)), SHAPES, _but(COLOURS, slots["colour"]))
    return draw_things(rng, some(rng, 1, SHAPES, [slots["colour"]]) + others)


def _draw_occupied(rng: np.random.Generator, slots: Slots) -> Picture:
    """A crowd with a thing at the place in question."""
    while True:
        picture = _draw_crowd(rng, slots)
        if any(thing.place == slots["place"] for thing in picture.things):
            return picture


def _draw_maybe(rng: np.random.Generator, slots: Slots) -> Picture:
    """The thing in question, half the time; beside it things that share its shape, its colour, or neither."""
    shape, colour = slots["shape"], slots["colour"]
    there = rng.random() < 0.5
    kinds = [(shape, colour)] if there else []
    for _ in range(int(rng.integers(0 if there else 1, MOST - len(kinds) + 1))):
        alike_in = rng.random()
        shapes = [shape] if alike_in < 0.3 else _but(SHAPES, shape)
        kinds += some(rng, 1, shapes, [colour] if 0.3 <= alike_in < 0.6 else _but(COLOURS, colour))
    return draw_things(rng, kinds)


def _one(picture: Picture, **like: str) -> dict[str, str]:
    """The first thing that is like this, as `shape`, `colour` and `place`."""
    return next(vars(thing) for thing in picture.things if like.items() <= vars(thing).items())


def _there_are(count: int, thing: str) -> str:
    return f"There {'is' if count == 1 else 'are'} {counted(count, thing)}."


def _there_are_such(picture: Picture, slots: Slots) -> str:
    return _there_are(sum(thing.shape == slots["shape"] for thing in picture.things), slots["shape"])


def _is_there(picture: Picture, slots: Slots) -> str:
    return _YES if any(slots.items() <= vars(thing).items() for thing in picture.things) else _NO


_KINDS = {
    "see": _Kind((), _draw_seen, _seen),
    "things": _Kind((), _draw_crowd, lambda picture, slots: _there_are(len(picture.things), "thing")),
    "count": _Kind(("shape",), _draw_counted, _there_are_such),
    "colour": _Kind(("shape",), _draw_only_shape, lambda picture, slots: f"The {slots['shape']} is {_one(picture, **slots)['colour']}."),
    "its_colour": _Kind((), lambda rng, slots: draw_things(rng, some(rng, 1)), lambda picture, slots: f"It is {picture.things[0].colour}."),
    "its_shape": _Kind((), lambda rng, slots: draw_things(rng, some(rng, 1)), lambda picture, slots: f"It is a {picture.things[0].shape}."),
    "where": _Kind(("shape",), _draw_only_shape, lambda picture, slots: f"The {slots['shape']} is {WHERE[_one(picture, **slots)['place']]}."),
    "shape_of_colour": _Kind(("colour",), _draw_only_colour, lambda picture, slots: f"It is a {_one(picture, **slots)['shape']}."),
    "shape_at_place": _Kind(("place",), _draw_occupied, lambda picture, slots: f"It is a {_one(picture, **slots)['shape']}."),
    "number": _Kind((), lambda rng, slots: draw_sign(rng, _DIGITS), _sign),
    "letter": _Kind((), lambda rng, slots: draw_sign(rng, _LETTERS), _sign),
    "sign": _Kind((), lambda rng, slots: draw_sign(rng, list(SIGNS)), _sign),
    "is_there": _Kind(("colour", "shape"), _draw_maybe, _is_there),
}
_SLOTS = {"shape": SHAPES, "colour": tuple(COLOURS), "place": tuple(PLACES)}


def _but(items: tuple[str, ...] | dict[str, tuple[int, int, int]], without: str) -> list[str]:
    return [item for item in items if item != without]


def _fillings(kind: str) -> list[Slots]:
    """Every way to fill the slots of a kind."""
    names = _KINDS[kind].slots
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(_SLOTS[name] for name in names))]


def _fill(template: str, slots: Slots) -> str:
    words = dict(slots)
    if "shape" in slots:
        words["shapes"] = slots["shape"] + "s"
    if "colour" in slots:
        words["a colour"] = f"{article(slots['colour'])} {slots['colour']}"
    if "place" in slots:
        words["place"] = WHERE[slots["place"]]
    return template.format(**words)


def _read_wordings(path: Path) -> dict[str, dict[Split, list[str]]]:
    """Templates by kind and split. Raises ConfigError that names the kind and what is wrong with it."""
    kinds = read_yaml(path)
    if not isinstance(kinds, dict) or kinds.keys() != _KINDS.keys():
        raise ConfigError(f"{path}: needs exactly the kinds {', '.join(_KINDS)}")
    wordings = {}
    for kind, entry in kinds.items():
        match entry:
            case {"held_out": str(held_out), "wordings": [str(), *_] as train, **rest} if not rest:
                wordings[kind] = {Split.TRAIN: train, Split.TEST: [held_out]}
            case _:
                raise ConfigError(f"{path}, {kind}: needs exactly the keys held_out (a text) and wordings (a list of texts)")
        for template in (*train, held_out):
            try:
                _fill(template, _fillings(kind)[0])
            except (KeyError, IndexError, ValueError) as error:
                raise ConfigError(f"{path}, {kind}: {template!r} has a slot that this kind lacks ({error})") from error
    return wordings

"""Pictures and what is asked about them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from omni_core.datagen.exchange import Split
from omni_core.datagen.painting import COLOURS, PLACES, SHAPES
from omni_core.datagen.pictures import SIGNS, Picture, Thing, any_picture
from omni_core.datagen.skills.pictures import WORDINGS, PictureSkill
from omni_core.errors import ConfigError, DataError

CROWD = Picture((Thing("circle", "red", "left"), Thing("star", "orange", "top"), Thing("circle", "white", "middle")), "", 7)


@pytest.fixture(scope="module")
def skill() -> PictureSkill:
    return PictureSkill()


def test_a_picture_is_told_in_words() -> None:
    assert CROWD.caption() == "three things: a red circle on the left, an orange star at the top, a white circle in the middle"
    assert Picture((), "7", 0).caption() == "the number seven"
    assert Picture((), "B", 0).caption() == "the letter B"


def test_a_picture_is_its_specification() -> None:
    image = CROWD.render()
    assert image.shape == (224, 224, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(Picture.from_json(CROWD.to_json()).render(), image)
    assert (dataclasses.replace(CROWD, seed=8).render() != image).any()


@pytest.mark.parametrize("wrong", [{}, {"things": [], "sign": "", "seed": 1}, {"things": [], "sign": "b", "seed": 1}, {"things": [{"shape": "box"}]}])
def test_other_data_are_no_picture(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match="no picture"):
        Picture.from_json(wrong)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_thing_is_where_its_place_says_and_stands_out(shape: str, colour: str) -> None:
    for seed, (place, (x, y)) in enumerate(PLACES.items()):
        image = Picture((Thing(shape, colour, place),), "", seed).render().astype(float)
        ground = np.median(image.reshape(-1, 3), axis=0)
        seen = np.argwhere(np.abs(image - ground).sum(-1) > 90)
        np.testing.assert_allclose(np.median(seen, axis=0) / 224, (y, x), atol=0.08)


@pytest.mark.parametrize("split", list(Split))
def test_every_answer_is_of_the_closed_set_and_every_picture_of_its_split(skill: PictureSkill, split: Split) -> None:
    rng = np.random.default_rng(0)
    closed = set(skill.answers())
    assert len(closed) == len(skill.answers()) < 300
    for _ in range(1000):
        exchange = skill.draw(rng, split)
        assert exchange.answer in closed
        assert exchange.picture is not None
        assert exchange.picture.split is any_picture(rng, split).split is split


def test_the_evaluation_asks_in_other_words(skill: PictureSkill) -> None:
    rng = np.random.default_rng(0)
    trained, held_out = ({skill.spoken(rng, split) for _ in range(5000)} for split in (Split.TRAIN, Split.TEST))
    assert not trained & held_out


def test_an_answer_is_what_the_picture_shows(skill: PictureSkill) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        counted = skill.draw(rng, Split.TRAIN, "How many stars are there?")
        colour = skill.draw(rng, Split.TRAIN, "What colour is the heart?")
        where = skill.draw(rng, Split.TRAIN, "Where is the square?")
        there = skill.draw(rng, Split.TRAIN, "is there an orange circle")  # as a transcript would have it
        assert counted.picture
        assert colour.picture
        assert where.picture
        assert there.picture
        stars = sum(thing.shape == "star" for thing in counted.picture.things)
        assert counted.answer.split()[2] == ("no", "one", "two", "three", "four", "five")[stars]
        (heart,) = (thing for thing in colour.picture.things if thing.shape == "heart")
        assert colour.answer == f"The heart is {heart.colour}."
        (square,) = (thing for thing in where.picture.things if thing.shape == "square")
        assert square.place in where.answer
        assert there.answer.startswith("Yes") == any((thing.shape, thing.colour) == ("circle", "orange") for thing in there.picture.things)


def test_every_sign_can_be_asked_for(skill: PictureSkill) -> None:
    rng = np.random.default_rng(2)
    read = {skill.draw(rng, Split.TEST, "What is written here?").answer for _ in range(1000)}
    assert read == {f"It is {name}." for name in SIGNS.values()}


def test_an_unknown_question_says_what_to_do(skill: PictureSkill) -> None:
    with pytest.raises(DataError, match=r"older wordings.*omni data speech"):
        skill.draw(np.random.default_rng(0), Split.TRAIN, "Who are you?")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("see:", "look:", "needs exactly the kinds see"),
        ("held_out: Which number", "kept: Which number", "number: needs exactly the keys held_out"),
        ("Count the {shapes}.", "Count the {things}.", "count: .*slot that this kind lacks"),
        ("What can you see?", "What do you see?", "see: .*is there twice"),
    ],
)
def test_a_mistake_in_the_wordings_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(WORDINGS.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"mine.yaml.*{message}"):
        PictureSkill(tmp_path / "mine.yaml")

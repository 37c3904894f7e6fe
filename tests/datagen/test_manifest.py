"""What a manifest may hold, and what is said about one that can't be used."""

import json

import numpy as np
import pytest

from omni_core.audio import write_wav
from omni_core.datagen.manifest import Item, choose, read_manifest
from omni_core.errors import DataError


def _write(folder, *rows):
    path = folder / "manifest.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture
def clip(tmp_path):
    write_wav(tmp_path / "a.wav", np.full(800, 0.1, np.float32), 16_000)
    return "a.wav"


def test_spoken_and_typed_lines(tmp_path, clip):
    spoken = {"audio": clip, "expect": "Tom.", "question": "Who am I?", "history": [["I am Tom.", "Hello, Tom."]], "skill": "memory", "noise_seed": 2}
    first, second = read_manifest(_write(tmp_path, spoken, "", {"text": "One and one?", "expect": "Two.", "audio": None}))
    assert first.audio == tmp_path / clip
    assert first.history == (("I am Tom.", "Hello, Tom."),)
    assert (first.skill, first.voice) == ("memory", "")
    assert len(first.wave()[0]) == 800
    assert (second.text, second.question, second.audio) == ("One and one?", "One and one?", None)


def test_what_is_spoken_in_a_clip():
    assert Item("", expect="the words", skill="open").transcript == "the words"
    assert Item("", expect="Two.", question="one and one").transcript == "one and one"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{not json", "needs a JSON object"),
        ('["a list"]', "needs a JSON object"),
        ({"audio": "a.wav"}, "has no `expect`"),
        ({"audio": "a.wav", "expect": 2}, "`expect` holds 2"),
        ({"expect": "Two."}, "either `audio`"),
        ({"audio": "a.wav", "text": "both", "expect": "Two."}, "either `audio`"),
        ({"audio": "absent.wav", "expect": "Two."}, "absent.wav does not exist"),
        ({"audio": "a.wav", "expect": "Two.", "history": ["Hello."]}, "`history` a list of"),
    ],
)
def test_a_bad_line_is_named(tmp_path, clip, row, says):
    path = _write(tmp_path, {"audio": clip, "expect": "Two."}, row)
    with pytest.raises(DataError, match=says) as error:
        read_manifest(path)
    assert str(error.value).startswith(f"{path}:2: ")


def test_an_empty_clip_is_named_with_its_line(tmp_path):
    (tmp_path / "empty.wav").touch()
    (item,) = read_manifest(_write(tmp_path, {"audio": "empty.wav", "expect": "Two."}))
    with pytest.raises(DataError, match=r"manifest.jsonl:1: .*empty.wav"):
        item.wave()


def test_a_missing_manifest_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match="omni data test"):
        read_manifest(tmp_path / "absent.jsonl")


def test_a_limit_draws_by_the_seed_and_keeps_the_order():
    items = [Item(str(n), expect="x") for n in range(50)]
    drawn = choose(items, 10, seed=1)
    assert drawn == choose(items, 10, seed=1) != choose(items, 10, seed=2)
    assert [int(item.where) for item in drawn] == sorted(int(item.where) for item in drawn)
    assert choose(items, 99, seed=1) == items

"""The vision encoder learns to describe pictures, is the same after a stop, and is read back as it was written."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from omni_core.datagen.exchange import Split
from omni_core.errors import CheckpointError, ConfigError
from omni_core.training import vision
from omni_core.training.vision_captions import END, LONGEST, PADDING, Gallery, Words

SMALL = {
    "resolution": 32, "stem_width": 8, "middle_width": 16, "middle_layers": 1, "width": 32, "layers": 1, "attention_layers": 1, "heads": 2, "mlp": 32,
}  # fmt: skip

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def config(write_config: Write, tmp_path_factory: pytest.TempPathFactory) -> Write:
    """config("name", **changes) -> a small configuration that writes to a folder of that name."""
    folder = tmp_path_factory.mktemp("vision")

    def write(name: str, **changes: Any) -> Path:
        small = {
            "output": str(folder / name), "device": "cpu", "precision": "float32", "loop": {"steps": 20, "validate_steps": 20}, "warmup_steps": 4,
            "batch": 8, "rate": 5e-3, "held_out": 20, "decoder_width": 32, "decoder_layers": 1, "vision": SMALL,
        }  # fmt: skip
        return write_config(folder, "vision.yaml", small | changes)

    return write


@pytest.fixture(scope="module")
def trained(config: Write) -> Path:
    """The output of an unbroken run."""
    path = config("whole")
    vision.run(path, resume=False, max_minutes=None)
    return path.parent / "whole"


def test_the_loss_falls_and_validation_tells_what_is_described_right_by_kind(config: Write, trained: Path) -> None:
    learner = vision.VisionLearner(vision.read_config(vision.VisionTraining, config("fresh")))
    last, found = (json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()[-2:])
    assert last["loss"] < 0.8 * learner.learn(0)["loss"]
    assert {"all", "letters", "one thing"} < found.keys()


def test_a_stopped_run_gives_the_weights_of_an_unbroken_one(config: Write, trained: Path, run_until: Callable[..., None]) -> None:
    path = config("broken")
    run_until(vision.VisionLearner(vision.read_config(vision.VisionTraining, path)), 7)
    vision.run(path, resume=True, max_minutes=None)
    whole, broken = (load_file(output / vision.FINAL) for output in (trained, trained.with_name("broken")))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_what_is_written_is_read_back(trained: Path, tmp_path: Path) -> None:
    encoder = vision.load_vision(trained / vision.FINAL)
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "PNG")
    assert encoder.encode(file.getvalue()).shape == (5, 32)
    with pytest.raises(CheckpointError, match="no such file"):
        vision.load_vision(tmp_path / "none.safetensors")


def test_the_right_words_stand_after_each_other() -> None:
    words = Words()
    batch = Gallery(words, 16, 32, seed=1).make(3)
    assert batch.after.shape[1] <= LONGEST
    for picture, before, after in zip(batch.pictures, batch.before, batch.after, strict=True):
        assert words.decode(after.tolist()) == picture.caption().replace(":", " :").replace(",", " ,")
        told = after[after != PADDING]
        assert before[0] == END == told[-1]
        assert torch.equal(before[1 : len(told)], told[:-1])
        assert picture.split is Split.TRAIN


def test_batches_depend_on_seed_and_step_alone_and_validation_on_neither() -> None:
    one, other = (Gallery(Words(), 16, 4, seed) for seed in (1, 2))
    one.make(0)
    assert one.make(5).pictures == Gallery(Words(), 16, 4, 1).make(5).pictures
    assert one.make(5).pictures != one.make(6).pictures
    assert one.make(5).pictures != other.make(5).pictures
    held_out = [picture for batch in one.held_out(10) for picture in batch.pictures]
    assert held_out == [picture for batch in other.held_out(10) for picture in batch.pictures]
    assert {picture.split for picture in held_out} == {Split.TEST}


def test_a_wrong_size_is_named(config: Write) -> None:
    with pytest.raises(ConfigError, match="multiple of 16"):
        vision.VisionLearner(vision.read_config(vision.VisionTraining, config("odd", vision=SMALL | {"resolution": 40})))

"""The stages of the language model: each trains what it should and nothing else, learns, survives a kill, and leaves a model that loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from PIL import Image

from omni_core import load
from omni_core.checkpoint import convert, load_bundle, save_bundle
from omni_core.errors import CheckpointError, ConfigError, DataError, TrainingError
from omni_core.training import stages
from omni_core.training.loop import LOG
from omni_core.training.recordings import RecordingSource
from tests.small import small_nano

LANGUAGE_MODEL, ADAPTERS = {"embedding", "backbone"}, {"audio_adapter", "vision_adapter"}
STAGES = {
    "lm": (LANGUAGE_MODEL, {"T1T2": 1.0, "T1A2": 1.0}),
    "stage1": (ADAPTERS, {"A1T1": 1.0, "VT1T2": 1.0}),
    "stage2": (LANGUAGE_MODEL, {"A1T2": 1.0, "VA1T2": 1.0, "T1T2": 1.0}),
    "stage3": (LANGUAGE_MODEL | ADAPTERS, {"A1A2": 1.0, "T1A2": 1.0, "VA1T2": 1.0}),
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory to start from."""
    folder = tmp_path_factory.mktemp("start")
    save_bundle(small_nano(), folder)
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of four questions, half of them about a picture."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    rows = []
    for number, (question, answer) in enumerate([("who", "me"), ("where", "here"), ("when", "now"), ("why", "so")]):
        for name, rate in (("q", 16_000), ("a", 24_000)):
            tone = 0.2 * np.sin(2 * np.pi * 200 * (number + 2) * np.arange(rate // 2) / rate)
            soundfile.write(folder / f"{name}{number}.flac", tone, rate)
        row = {"audio": f"q{number}.flac", "question": question, "answer": answer, "answer_audio": f"a{number}.flac"}
        if number % 2:
            Image.fromarray(rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(folder / f"p{number}.png")
            row["image"] = f"p{number}.png"
        rows.append(row)
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_config(folder: Path, model: Path, recordings: Path, chosen: dict[str, float], **changes: Any) -> Path:
    """A configuration of a few small steps in float32; recordings that fit none of the chosen tasks are left out."""
    values = {
        "seed": 1, "output": str(folder / "out"), "loop": {"steps": 60, "validate_steps": 60}, "tasks": chosen,
        "data": {"recordings": [str(recordings)], "skip_bad": True},
        "batch": 4, "passes": 2, "rate": 0.02, "rate_end": 0.005, "warmup_steps": 2, "weight_decay": 0.0, "clip": 1.0, "text_weight": 1.0,
        "precision": "float32", "storage": "float32", "start": str(model),
    }  # fmt: skip
    path = folder / "stage.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_bundle(folder, "cpu", torch.float32).model.state_dict()


def test_each_stage_learns_and_changes_only_what_it_trains(start, recordings, tmp_path):
    for name, (trains, tasks) in STAGES.items():
        config = write_config(tmp_path, start, recordings, tasks, output=str(tmp_path / name))
        assert stages.run(name, config)
        log = [json.loads(line) for line in (tmp_path / name / LOG).read_text().splitlines()]
        losses = [line["loss"] for line in log if line["kind"] == "train"]  # at steps 20, 40, 60
        assert losses[-1] < losses[0], name
        before, after = weights(start), weights(tmp_path / name / "model")
        assert {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])} == trains
        start = tmp_path / name / "model"  # the next stage goes on from it
    trained = load_bundle(start, "cpu")
    assert trained.memory_turns == 2
    for part in ("audio_encoder", "vision_encoder", "codec"):  # frozen all along, and passed on
        ours, theirs = getattr(trained, part).state_dict(), getattr(small_nano(), part).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_trained_model_in_the_reference_layout_says_the_same(start, recordings, tmp_path):
    config = write_config(tmp_path, start, recordings, STAGES["stage3"][1], loop={"steps": 3, "validate_steps": 3})
    stages.run("stage3", config)
    convert(tmp_path / "out/model", tmp_path / "reference", to="reference")
    both = (load(str(folder), device="cpu") for folder in (tmp_path / "out/model", tmp_path / "reference"))
    ours, theirs = (omni.generate("T1A2", text="who", max_steps=20) for omni in both)
    assert np.array_equal(ours.tokens, theirs.tokens)
    assert ours.tokens.shape == (8, 20)


def test_a_killed_stage_gives_the_weights_of_an_unbroken_one(start, recordings, tmp_path, monkeypatch):
    tasks = STAGES["stage3"][1]
    loop = {"steps": 6, "validate_steps": 6, "save_minutes": 1e-6}  # a save after every step
    (tmp_path / "broken").mkdir()
    unbroken = write_config(tmp_path, start, recordings, tasks, loop=loop)
    broken = write_config(tmp_path / "broken", start, recordings, tasks, loop=loop)
    stages.run("stage3", unbroken)
    examples = RecordingSource.examples

    def dies(self: RecordingSource, size: int, step: int) -> list:
        if step == 3:
            raise SystemExit("killed")
        return examples(self, size, step)

    monkeypatch.setattr(RecordingSource, "examples", dies)
    with pytest.raises(SystemExit):
        stages.run("stage3", broken)
    monkeypatch.setattr(RecordingSource, "examples", examples)
    with pytest.raises(TrainingError, match="--resume"):
        stages.run("stage3", broken)
    assert stages.run("stage3", broken, resume=True)
    whole, resumed = weights(tmp_path / "out/model"), weights(tmp_path / "broken/out/model")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_state_of_another_shape_is_refused(start, recordings, tmp_path):
    loop = {"steps": 1, "validate_steps": 1}
    stages.run("stage1", write_config(tmp_path, start, recordings, STAGES["stage1"][1], loop=loop))
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        stages.run("stage2", write_config(tmp_path, start, recordings, STAGES["stage2"][1], loop=loop), resume=True)


def test_a_gradient_that_is_not_finite_ends_the_run(recordings, tmp_path):
    broken = small_nano()
    broken.model.embedding.weight.data[:] = float("nan")
    save_bundle(broken, tmp_path / "start")
    with pytest.raises(TrainingError, match=r"nan at step 0: lower the rate"):
        stages.run("stage2", write_config(tmp_path, tmp_path / "start", recordings, STAGES["stage2"][1]))
    assert not (tmp_path / "out/state.pt").exists()


def test_a_dry_run_needs_no_data(start, tmp_path):
    config = write_config(tmp_path, start, tmp_path / "none.jsonl", {"A1A2": 1.0, "VT1T2": 1.0})
    assert stages.run("stage3", config, dry_run=True)
    assert load_bundle(tmp_path / "out-dry-run/model", "cpu").codec is not None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "changes", "error", "message"),
    [
        ("stage1", {"tasks": {"A1A2": 1.0}}, ConfigError, "A1A2 has no place in stage1"),
        ("lm", {"tasks": {"A1T2": 1.0}}, ConfigError, "A1T2 has no place in lm"),
        ("stage2", {"tasks": {"A3": 1.0}}, ConfigError, "unknown task 'A3'"),
        ("stage2", {"precision": "int4"}, ConfigError, "precision: 'int4' is not one of"),
        ("stage2", {"speed": 1}, ConfigError, "unknown key 'speed'"),
        ("stage2", {"start": None}, ConfigError, "exactly one of start, new and public, got 0"),
        ("stage2", {"start": "/nowhere"}, CheckpointError, "no such model"),
        ("stage2", {"data": {"recordings": ["none.jsonl"]}}, DataError, "none.jsonl"),
        ("stage2", {"tasks": {"VA1T2": 1.0}, "data": None}, DataError, "mine.jsonl:1: has the parts of none of the tasks"),
        ("stage2", {"data": {}}, ConfigError, "exactly one of skills and recordings"),
    ],
)
def test_a_bad_configuration_says_what_to_do(name, changes, error, message, start, recordings, tmp_path):
    if "data" in changes and changes["data"] is None:
        changes = changes | {"data": {"recordings": [str(recordings)]}}
    config = write_config(tmp_path, start, recordings, {"A1T2": 1.0}, **changes)
    with pytest.raises(error, match=message):
        stages.run(name, config)

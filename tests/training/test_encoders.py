"""The audio encoder learns to read, is the same after a stop, goes on from written weights, and `omni train encoders` runs the part that is named."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omni_core.audio import write_wav
from omni_core.datagen.shards import Clip, ShardWriter
from omni_core.encoders.ctc import character_ids
from omni_core.errors import CheckpointError, ConfigError, DataError
from omni_core.training import encoders
from omni_core.training.encoders_clips import Clips, collate

RATE = 16_000
SMALL = {"width": 32, "layers": 1, "heads": 2, "mlp": 64}
WORDS = {"low": 300, "high": 2500}  # what is said, by the tone that says it, Hz

Write = Callable[..., Path]


def say(word: str, seconds: float) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * WORDS[word] * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def clip(job: tuple[str, int]) -> Clip:
    word, number = job
    engine = "flite" if number % 3 == 0 else "espeak-ng"
    return Clip(say(word, 0.4 + 0.02 * number), {"text": word, "skill": "open", "voice": {"engine": engine}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `speech` (two sets of tones that say low and high) and `test`."""
    folder = tmp_path_factory.mktemp("encoders")
    jobs = [(word, number) for number in range(10) for word in WORDS]
    for name in ("open", "talk"):
        writer = ShardWriter(folder / "speech", name, RATE, [jobs], clip)
        with ThreadPoolExecutor(1) as pool:
            writer.write(0, pool, writer.bar())
    (folder / "test").mkdir()
    rows = []
    for word in WORDS:
        write_wav(folder / "test" / f"{word}.wav", say(word, 0.5), RATE)
        rows.append({"skill": "open", "audio": f"{word}.wav", "expect": word, "group": "espeak", "condition": "clean"})
    (folder / "test" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def config(write_config: Write, folder: Path) -> Write:
    """config("name", **changes) -> a small configuration that writes to folder/name."""

    def write(name: str, **changes: Any) -> Path:
        small = {
            "data": str(folder / "speech"), "test": str(folder / "test" / "manifest.jsonl"), "output": str(folder / name), "device": "cpu",
            "precision": "float32", "loop": {"steps": 40, "validate_steps": 100}, "warmup_steps": 2, "batch": 8, "rate": 1e-2,
            "sets": {"open": 0.8, "talk": 0.2}, "encoder": SMALL,
        }  # fmt: skip
        return write_config(folder, "encoders.yaml", small | changes)

    return write


@pytest.fixture(scope="module")
def trained(config: Write, folder: Path) -> Path:
    """The output of an unbroken run."""
    encoders.run(config("whole"), resume=False, max_minutes=None)
    return folder / "whole"


def learner_of(path: Path) -> encoders.EncoderLearner:
    return encoders.EncoderLearner(encoders.read_config(encoders.EncoderTraining, path))


def test_the_loss_falls_and_validation_tells_reading_errors_by_group(trained: Path, config: Write) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    last = [line["loss"] for line in lines if line["kind"] == "train"][-1]
    assert last < 0.5 * learner_of(config("fresh")).learn(0)["loss"]
    assert {"CER open espeak clean", "WER open espeak clean"} <= next(line for line in lines if line["kind"] == "validation").keys()


def test_a_stopped_run_gives_the_weights_of_an_unbroken_one(trained: Path, config: Write, run_until: Callable[..., None]) -> None:
    run_until(learner_of(config("broken")), 17)
    encoders.run(config("broken", workers=1), resume=True, max_minutes=None)  # batches made ahead change nothing
    whole, broken = (load_file(output / encoders.FINAL) for output in (trained, trained.with_name("broken")))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_what_is_written_is_read_back_with_its_head(trained: Path, tmp_path: Path) -> None:
    read, written = encoders.load_encoder(trained / encoders.FINAL).state_dict(), load_file(trained / encoders.FINAL)
    assert all(torch.equal(tensor, written[name]) for name, tensor in read.items())
    assert any(name.startswith("ctc.") for name in read)
    with pytest.raises(CheckpointError, match="no such file"):
        encoders.load_encoder(tmp_path / "none.safetensors")


def test_training_goes_on_from_written_weights_and_from_nano(trained: Path, config: Write) -> None:
    on = learner_of(config("on", start=str(trained / encoders.FINAL)))
    assert all(torch.equal(tensor, on.encoder.state_dict()[name]) for name, tensor in load_file(trained / encoders.FINAL).items())
    with pytest.raises(ConfigError, match="differs from that of"):
        learner_of(config("on", start="nano"))
    nano = learner_of(config("on", start="nano", encoder={}))
    assert nano.encoder.ctc is not None  # new: the bundled encoder has none


def test_pools_depend_on_their_number_alone_and_are_cut_by_length(folder: Path) -> None:
    def clips() -> Clips:
        return Clips(folder / "speech", {"open": 1.0}, 0.5, 4, 20, seed=1)

    straight = clips()
    before, pool, again = straight.make(0), straight.make(1), clips().make(1)
    assert all(torch.equal(a.mel, b.mel) and torch.equal(a.targets, b.targets) for a, b in zip(pool, again, strict=True))
    lengths = sorted((int(batch.lengths.min()), int(batch.lengths.max())) for batch in pool)
    assert all(longest <= shortest for (_, longest), (shortest, _) in itertools.pairwise(lengths))
    assert [batch.lengths.tolist() for batch in before] != [batch.lengths.tolist() for batch in pool]


def test_collate_pads_to_whole_features() -> None:
    batch = collate([(torch.zeros(30, 80), character_ids("low")), (torch.zeros(41, 80), character_ids("high"))])
    assert batch.mel.shape == (2, 44, 80)
    assert batch.lengths.tolist() == [8, 11]
    assert batch.target_lengths.tolist() == [3, 4]


def test_what_is_missing_is_named(config: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clips of 'sums'"):
        learner_of(config("wrong", sets={"sums": 1.0}))
    with pytest.raises(ConfigError, match="unclear"):
        learner_of(config("wrong", sets={"unclear": 1.0}))
    with pytest.raises(DataError, match="omni data test"):
        learner_of(config("wrong", test=str(tmp_path / "none.jsonl")))
    with pytest.raises(ConfigError, match="ctc_vocabulary"):
        learner_of(config("wrong", encoder={"ctc_vocabulary": 7}))


def test_the_named_part_is_run(config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr(encoders.vision, "run", lambda path, **options: ran.append((path, options)))
    path = config("eyes", part="vision")
    encoders.run(path, resume=True, max_minutes=2.0)
    assert ran == [(path, {"resume": True, "max_minutes": 2.0})]
    with pytest.raises(ConfigError, match="audio or vision"):
        encoders.run(config("eyes", part="nose"), resume=False, max_minutes=None)

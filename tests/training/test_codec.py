"""The codec learns in its phases, is the same after a stop, and is read back without its configuration file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omni_core.audio import write_wav
from omni_core.codec.base import SAMPLE_RATE
from omni_core.errors import CheckpointError, ConfigError, DataError, TrainingError
from omni_core.training import codec
from omni_core.training.codec_books import usage
from omni_core.training.parts import read_start
from omni_core.training.samples import spectrogram

SMALL = {"codes": 32, "code_dim": 4, "mels": 20, "encoder_width": 16, "encoder_layers": 1, "latent": 8, "decoder_width": 16, "frame_layers": 1,
         "decoder_layers": 1, "fft": 512, "hop": 128, "delay": 256}  # fmt: skip


Write = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `speech`: 20 s of sung vowels, and two held-out files."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("codec")
    (folder / "speech" / "held_out").mkdir(parents=True)
    for name, seconds in (("a", 20), ("held_out/000", 1), ("held_out/001", 1)):
        pitch = np.repeat(rng.uniform(90, 250, 4 * seconds), SAMPLE_RATE // 4)
        phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
        wave = sum(np.sin(k * phase) / k for k in range(1, 12)) * 0.2 * np.abs(np.sin(np.arange(len(phase)) / 4000))
        write_wav(folder / "speech" / f"{name}.wav", np.asarray(wave, np.float32), SAMPLE_RATE)
    return folder


@pytest.fixture(scope="module")
def config(write_config: Write, folder: Path) -> Write:
    """config("name", **changes) -> a small configuration that writes to folder/name: 4 steps unquantised, 8 joint, then 8 of the decoder alone."""

    def write(name: str, **changes: Any) -> Path:
        small = {
            "data": str(folder / "speech"), "answers": None, "output": str(folder / name), "device": "cpu", "precision": "float32",
            "batch": 2, "frames": 2, "loop": {"steps": 20, "validate_steps": 100}, "unquantised_steps": 4, "joint_steps": 8, "warmup_steps": 2,
            "rate": 1e-2, "critic_clips": 1, "codec": SMALL,
        }  # fmt: skip
        return write_config(folder, "codec.yaml", small | changes)

    return write


@pytest.fixture(scope="module")
def trained(config: Write, folder: Path) -> Path:
    """The output of an unbroken run."""
    codec.run(config("whole"), resume=False, max_minutes=None)
    return folder / "whole"


def learner_of(path: Path) -> codec.CodecLearner:
    return codec.CodecLearner(codec.read_config(codec.CodecTraining, path))


def test_the_loss_falls_and_validation_tells_distance_and_codes(trained: Path, config: Write) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    last = next(line["loss"] for line in lines if line["kind"] == "train")
    assert last < 0.8 * learner_of(config("fresh")).learn(0)["loss"]
    assert {"mel_db", "codes_1", "perplexity_3"} <= next(line for line in lines if line["kind"] == "validation").keys()


def test_a_stopped_run_gives_the_weights_of_an_unbroken_one(trained: Path, config: Write, run_until: Callable[..., None]) -> None:
    path = config("broken")
    for stop in (3, 7, 15):  # in each phase
        run_until(learner_of(path), stop)
    codec.run(path, resume=True, max_minutes=None)
    whole, broken = (load_file(output / codec.FINAL) for output in (trained, trained.with_name("broken")))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_the_decoder_phase_keeps_the_codes(trained: Path) -> None:
    frozen, final = (codec.load_codec(trained / name) for name in (codec.FROZEN, codec.FINAL))
    wave = torch.randn(4 * 2048)
    assert torch.equal(frozen.encode(wave), final.encode(wave))
    assert not torch.equal(frozen.decode(frozen.encode(wave)), final.decode(final.encode(wave)))


def test_training_goes_on_from_written_weights(trained: Path, config: Write) -> None:
    start = str(trained / codec.FINAL)
    learner = learner_of(config("on", start=start, unquantised_steps=0))
    book = learner.codec.levels[0].codebook.clone()
    assert torch.equal(book, load_file(start)["quantizers.0.codebook"])
    learner.learn(0)
    assert torch.cosine_similarity(learner.codec.levels[0].codebook, book).mean() > 0.9  # moved, not seeded anew
    with pytest.raises(ConfigError, match="differs from that of"):
        learner_of(config("on", start=start, codec=SMALL | {"codes": 16}))
    shape, weights = read_start(codec.CausalCodecConfig, "nano", "codec", "codec.safetensors")
    assert weights["quantizers.0.codebook"].shape == (shape.codes, shape.code_dim)


def test_what_is_missing_or_in_the_way_is_named(trained: Path, config: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="omni data codec"):
        learner_of(config("wrong", data=str(tmp_path)))
    with pytest.raises(ConfigError, match="precision"):
        learner_of(config("wrong", precision="fp8")).learn(0)
    with pytest.raises(CheckpointError, match="no such file"):
        codec.load_codec(tmp_path / "none.safetensors")
    with pytest.raises(TrainingError, match="--resume"):
        codec.run(config("whole"), resume=False, max_minutes=None)


def test_usage_counts_codes_and_their_spread() -> None:
    assert usage(torch.tensor([3, 3, 5, 5]), 8) == (2, pytest.approx(2.0))
    assert usage(torch.tensor([3, 3, 3, 3]), 8) == (1, pytest.approx(1.0))


def test_a_spectrogram_is_bright_where_the_tone_is() -> None:
    tone = np.sin(2 * np.pi * 3000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    picture = spectrogram(tone, SAMPLE_RATE)
    assert picture.shape == (3, 240, 101)
    assert picture.dtype == np.uint8
    brightest = picture.sum(0)[:, 50].argmax() / 240  # from the top, mel scale
    assert 0.3 < brightest < 0.45

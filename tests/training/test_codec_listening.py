"""The codec's encoder learns to hear for the listener: only it changes, it may grow, and a stopped run ends with the weights of an unbroken one."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omni_core.codec.causal import CausalCodec
from omni_core.config import CausalCodecConfig
from omni_core.datagen.shards import Clip, ShardWriter
from omni_core.errors import ConfigError, DataError
from omni_core.training import codec, codec_listening
from omni_core.training.parts import write_part
from omni_core.training.settings import read_config

SHAPE = CausalCodecConfig(codes=32, code_dim=4, mels=20, encoder_width=16, encoder_layers=1, latent=8, decoder_width=16, frame_layers=1,
                          decoder_layers=1, expansion=2, fft=512, hop=128, delay=256)  # fmt: skip
TONES = {"low": 300, "high": 2500, "stop omni": 1200}  # what is said, by the tone that says it, Hz
SECONDS, IRQ_AT = 2.0, 1.2

Write = Callable[..., Path]


def tone(text: str, seconds: float, rate: int) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * TONES[text] * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def clip(job: tuple[str, int]) -> Clip:
    text, number = job
    return Clip(tone(text, 0.4 + 0.02 * number, 16_000), {"text": text, "voice": {"engine": "espeak-ng"}})


def scene(number: int) -> Clip:
    wave = np.random.default_rng(number).normal(0, 0.01, int(SECONDS * 24_000)).astype(np.float32)
    with_command = number % 2 == 0
    if with_command:
        spoken = tone("stop omni", 0.6, 24_000)
        end = int(IRQ_AT * 24_000)
        wave[end - len(spoken) : end] += spoken
    return Clip(wave, {"irq_at": IRQ_AT if with_command else None, "near_misses": [], "bed": "noise", "echo_db": None})


def answer(text: str) -> Clip:
    return Clip(tone(text, 1.0, 24_000), {"text": text, "group": "open"})


def write_set(folder: Path, name: str, rate: int, jobs: list, make: Callable[[Any], Clip]) -> None:
    writer = ShardWriter(folder, name, rate, [jobs], make)
    with ThreadPoolExecutor(1) as pool:
        writer.write(0, pool, writer.bar())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds speech, answers and scenes made of tones, and a codec to start from."""
    folder = tmp_path_factory.mktemp("codec_listening")
    words = [(word, number) for number in range(10) for word in ("low", "high")]
    commands = [("stop omni", number) for number in range(10)]
    for name, jobs in (("open", words), ("others-test", words), ("near-misses-test", words), ("commands-test", commands)):
        write_set(folder / "speech", name, 16_000, jobs, clip)
    write_set(folder / "answers", "answers", 24_000, ["low", "high"], answer)
    write_set(folder / "scenes", "scenes", 24_000, list(range(12)), scene)
    torch.manual_seed(0)
    write_part(folder / "start.safetensors", SHAPE, CausalCodec(SHAPE).state_dict())
    return folder


@pytest.fixture(scope="module")
def config(write_config: Write, folder: Path) -> Write:
    """config("name", **changes) -> a small configuration that writes to folder/name."""

    def write(name: str, **changes: Any) -> Path:
        small = {
            "data": str(folder), "output": str(folder / name), "start": str(folder / "start.safetensors"), "encoder_layers": 2, "device": "cpu",
            "precision": "float32", "loop": {"steps": 40, "validate_steps": 40}, "frames": 18, "sets": {"open": 1.0}, "clips": 2, "scenes": 4,
            "answers": 1, "reader_width": 16, "rate": 5e-3, "warmup_steps": 2,
        }  # fmt: skip
        return write_config(folder, "codec_listening.yaml", small | changes)

    return write


@pytest.fixture(scope="module")
def trained(config: Write, folder: Path) -> Path:
    """The output of an unbroken run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_listening, "_HELD_OUT", 2)
        codec.run(config("whole"), resume=False, max_minutes=None)
    return folder / "whole"


def learner_of(path: Path) -> codec_listening.CodecListeningLearner:
    return codec_listening.CodecListeningLearner(read_config(codec_listening.CodecListening, path))


def test_the_loss_falls_and_validation_tells_commands_missed(trained: Path, config: Write) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "train"][-1]
    first = learner_of(config("fresh")).learn(0)
    assert last["command"] < 0.7 * first["command"]
    assert last["spell"] < 0.7 * first["spell"]
    assert {"missed clean", "early 10 dB", "mel_db", "mel_db before"} <= next(line for line in lines if line["kind"] == "validation").keys()


def test_the_encoder_alone_changes(trained: Path, folder: Path) -> None:
    before, after = load_file(folder / "start.safetensors"), load_file(trained / codec_listening.FINAL)
    assert {name.partition(".")[0] for name, tensor in before.items() if not torch.equal(tensor, after[name])} == {"encoder"}
    wave = torch.randn(5 * 2048)
    frames = codec.load_codec(folder / "start.safetensors").encode(wave)
    old, new = (codec.load_codec(path) for path in (folder / "start.safetensors", trained / codec_listening.FINAL))
    assert torch.equal(old.decode(frames), new.decode(frames)), "codes sound as before"


def test_layers_that_are_new_begin_as_nothing(config: Write, folder: Path) -> None:
    wave = torch.randn(5 * 2048)
    assert torch.equal(learner_of(config("fresh")).codec.encode(wave), codec.load_codec(folder / "start.safetensors").encode(wave))
    with pytest.raises(ConfigError, match="as many, or more"):
        learner_of(config("fresh", encoder_layers=0))


def test_a_stopped_run_gives_the_weights_of_an_unbroken_one(
    trained: Path, config: Write, run_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_listening, "_HELD_OUT", 2)
    run_until(learner_of(config("broken")), 17)
    codec.run(config("broken"), resume=True, max_minutes=None)
    whole, broken = (load_file(output / codec_listening.FINAL) for output in (trained, trained.with_name("broken")))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_what_is_missing_is_named(config: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="omni data answers"):
        learner_of(config("wrong", data=str(tmp_path)))

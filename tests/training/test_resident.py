"""Data that lives on the device: the same sounds, scenes and examples as those of the disk, made a batch at a time; shown on a CPU."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
import yaml
from torch import Tensor

from omni_core.audio import write_wav
from omni_core.checkpoint import load_bundle, save_bundle
from omni_core.codec.causal import CausalCodec
from omni_core.datagen.interruptions import AFTER_S, IRQ, N_IRQ
from omni_core.datagen.sentences import load_dialogues
from omni_core.datagen.shards import Clip, ShardSet, ShardWriter
from omni_core.encoders.mel import HOP, log_power
from omni_core.errors import ConfigError, DataError
from omni_core.training import encoders, stages
from omni_core.training.codec_listening import CodecListening, CodecListeningLearner
from omni_core.training.dataset import IGNORE
from omni_core.training.parts import write_part
from omni_core.training.resident import hearing, scenes, sound
from omni_core.training.resident.bank import Bank, add, joined
from omni_core.training.resident.clips import ResidentClips
from omni_core.training.resident.hearing import Hearing, plan
from omni_core.training.resident.listening import ResidentListening
from omni_core.training.resident.scenes import Scenes
from omni_core.training.settings import generator_of, read_config
from omni_core.training.stages import open_resident
from omni_core.training.supply import senses_of
from tests.small import small_nano

CPU = torch.device("cpu")
FRAME, RATE = 2048, 24_000
ANSWERS = sorted({dialogue.answer for dialogue in load_dialogues()})
TASKS = {"T1T2": 0.3, "A1T2": 0.3, "A1T1": 0.2, "VT1T2": 0.2}


@pytest.fixture(scope="module", autouse=True)
def _little_to_hear() -> Iterator[None]:
    """Less noise and music to draw from: what takes seconds to make is not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hearing, "_BABBLES", 2)
        patch.setattr(hearing, "_NOISE_S", 4)
        patch.setattr(scenes, "_MUSIC_PIECES", 2)
        patch.setattr(scenes, "_MUSIC_S", 2)
        yield


def tone(hertz: float, seconds: float, rate: int) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def write_set(folder: Path, name: str, rate: int, jobs: list, make: Callable[[Any], Clip]) -> None:
    with ThreadPoolExecutor(1) as pool:
        writer = ShardWriter(folder, name, rate, [jobs], make)
        writer.write(0, pool, writer.bar())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech of all sets, answers and phrases, made of tones: commands are at 3 kHz and nothing else is."""
    folder = tmp_path_factory.mktemp("resident")

    def clip(job: tuple[str, int]) -> Clip:
        text, number = job
        hertz = 3000 if text == "stop omni" else 200 + 20 * number
        return Clip(tone(hertz, 0.5 + 0.05 * number, 16_000), {"text": text, "voice": {"engine": "flite" if number % 3 else "espeak-ng"}})

    questions = {
        "open": "birds fly low", "talk": "who are you", "sums": "what is two plus three", "repeat": "repeat after me low", "memory": "what did i say",
        "pictures": "what do you see", "unclear": "", "commands": "stop omni", "near-misses": "stop it",
    }  # fmt: skip
    for name, text in questions.items():
        write_set(folder / "speech", name, 16_000, [(text, number) for number in range(6)], clip)
    write_set(folder / "answers", "answers", RATE, list(ANSWERS), lambda text: Clip(tone(500, 0.4, RATE), {"text": text, "group": "open"}))
    return folder


@pytest.fixture(scope="module")
def bank(folder: Path) -> Bank:
    return joined([ShardSet(folder / "speech", name) for name in ("open", "talk", "commands")], CPU, "test")[0]


def test_a_bank_gives_back_its_clips_wherever_they_are_put(folder: Path, bank: Bank) -> None:
    wave = ShardSet(folder / "speech", "talk").wave(2)  # number 8 of the bank
    rows = bank.read(torch.tensor([8, 8]), torch.tensor([100, -200]), 20_000)
    expected = np.zeros((2, 20_000), np.float32)
    expected[0, 100 : 100 + len(wave)] = wave
    expected[1, : len(wave) - 200] = wave[200:]
    np.testing.assert_allclose(rows.numpy(), expected, atol=2**-15)


def test_a_bank_resamples_as_soxr_does(folder: Path, bank: Bank) -> None:
    wave = ShardSet(folder / "speech", "open").wave(5)
    ours = bank.alone(np.array([5]), np.array([1.1]), RATE)[0].numpy()
    theirs = soxr.resample(wave, 16_000 * 1.1, RATE)
    inside = slice(200, len(wave) - 200)  # away from the ends, where filters ring
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=0.002)  # of a tone of 0.2


def test_clips_add_up_and_what_lies_outside_is_dropped() -> None:
    track = add(torch.zeros(2, 6), np.array([0, 0, 1]), np.array([-1, 1, 5]), torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [5.0, 6.0, 7.0]]))
    assert track.tolist() == [[2, 13, 20, 30, 0, 0], [0, 0, 0, 0, 0, 5]]


def test_a_bank_of_nothing_says_how_to_fill_it(folder: Path) -> None:
    with pytest.raises(DataError, match="omni data"):
        joined([ShardSet(folder / "speech", "nobody")], CPU, "test")


def test_undistorted_hearing_is_the_log_mel_of_the_clip(folder: Path, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Hearing(bank, 6, 80, seed=1)
    monkeypatch.setattr(sound, "chance", lambda generator, share, rows: torch.zeros(rows, dtype=torch.bool))
    monkeypatch.setattr(sound, "uniform", lambda generator, low, high, *shape: torch.zeros(shape))
    planned = dataclasses.replace(plan(bank.lengths, np.array([1, 7]), np.random.default_rng(0)), stretch=np.ones(2, np.float32))
    mel, features = ear.mels(planned, generator_of(CPU, 1))
    for row, (name, number) in enumerate((("open", 1), ("talk", 1))):
        wave = torch.zeros(int(planned.samples[row]))
        clip = torch.from_numpy(ShardSet(folder / "speech", name).wave(number))
        wave[planned.before[row] : planned.before[row] + len(clip)] = clip
        expected = log_power(ear.mel.power(wave))
        assert features[row] == len(expected) / 4
        torch.testing.assert_close(mel[row, : len(expected)], expected, atol=0.02, rtol=0)  # 16 bits


def test_a_plan_tells_how_many_features_there_will_be(bank: Bank) -> None:
    planned = plan(bank.lengths, np.arange(12), np.random.default_rng(3))
    frames = [round(samples // HOP * stretch) for samples, stretch in zip(planned.samples, planned.stretch, strict=True)]
    assert planned.features.tolist() == [-(-count // 4) for count in frames]


def test_clips_of_a_pool_follow_from_seed_and_number(folder: Path) -> None:
    def pool(number: int) -> list[Tensor]:
        clips = ResidentClips(folder / "speech", {"open": 0.5, "talk": 0.5}, 0.4, 2, 80, 1, CPU)
        return [batch.mel for batch in clips.make(number)]

    first, again, other = pool(3), pool(3), pool(4)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(one.shape == two.shape and torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_a_scene_ends_after_its_command_and_is_labelled_from_there_on(folder: Path) -> None:
    heard = Scenes(folder, CPU, 1).draw(16, 60, 1.0, np.random.default_rng(0), generator_of(CPU, 0))
    commanded = (heard.labels == IRQ).any(1)
    assert 4 <= int(commanded.sum()) < 16
    for wave, labels, decisions in zip(heard.waves[commanded], heard.labels[commanded], heard.decisions[commanded], strict=True):
        first = int((labels == IRQ).nonzero()[0])
        assert (labels[:first - 1] == N_IRQ).all()
        assert labels[first - 1] == IGNORE
        assert (labels[first:] == IRQ).all()
        assert abs((60 - first) * FRAME / RATE - AFTER_S) < 0.15
        assert decisions[first]
        spectrum = torch.stft(wave, 1024, FRAME, window=torch.hann_window(1024), return_complex=True).abs()
        band = spectrum[100:160].sum(0)  # where commands are, at any speed
        assert band[first - 4 : first].max() > band[first + 3 : first + 8].max()


def test_the_listener_hears_whole_sequences_of_new_scenes(folder: Path) -> None:
    bundle = small_nano()
    source = ResidentListening(folder, bundle.codec, bundle.model.layout, 2, 120, 1, CPU)
    batch = source.batch(0)
    assert batch.tokens.shape[:2] == (2, 8)
    assert batch.tokens.shape[2] == batch.targets.shape[1] <= 120
    assert set(batch.targets.unique().tolist()) == {bundle.model.layout.irq, bundle.model.layout.n_irq, IGNORE}
    assert torch.equal(batch.tokens, source.batch(0).tokens)
    with pytest.raises(ConfigError, match="multiple of 60"):
        ResidentListening(folder, bundle.codec, bundle.model.layout, 2, 100, 1, CPU)


@pytest.fixture(scope="module")
def config(folder: Path) -> Callable[..., Path]:
    """config(**changes) -> a stage's configuration on the folder's data."""
    save_bundle(small_nano(), folder / "start")

    def write(**changes: Any) -> Path:
        values = {
            "seed": 1, "output": str(folder / "out"), "loop": {"steps": 3, "validate_steps": 3}, "tasks": TASKS,
            "data": {"folder": str(folder), "skills": {"talk": 0.7, "sums": 0.3}, "validation": 0},
            "batch": 8, "passes": 2, "rate": 0.01, "rate_end": 0.005, "warmup_steps": 2, "weight_decay": 0.0, "clip": 1.0, "text_weight": 1.0,
            "precision": "float32", "storage": "float32", "start": str(folder / "start"),
            "resident": {"examples": 40, "pool": str(folder / "examples.pt"), "workers": 0},
        }  # fmt: skip
        path = folder / "stage.yaml"
        path.write_text(yaml.safe_dump(values | changes))
        return path

    return write


def test_examples_are_those_of_the_source_and_are_kept(folder: Path, config: Callable[..., Path]) -> None:
    read = stages.read_config(config(), "stage2")
    bundle = load_bundle(folder / "start", "cpu", torch.float32)
    made = open_resident(read, bundle, senses_of(bundle, CPU), CPU)
    kept = (folder / "examples.pt").stat().st_mtime_ns
    again = open_resident(read, bundle, senses_of(bundle, CPU), CPU)
    assert (folder / "examples.pt").stat().st_mtime_ns == kept
    assert len(made) == 1000  # a whole chunk
    for ours, theirs in zip(made.batches(5, 8, 2), again.batches(5, 8, 2), strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
        assert torch.equal(ours.targets, theirs.targets)
        assert isinstance(ours.heard, Tensor)
        assert isinstance(theirs.heard, Tensor)
        torch.testing.assert_close(ours.heard, theirs.heard)
        assert isinstance(ours.heard_spans, Tensor)
        for row, start, count in ours.heard_spans.tolist():  # the prompt holds room for what is heard, and no more
            audio = ours.tokens[row, 0]
            assert (audio[start : start + count] == audio[start]).all()
            assert audio[start + count] != audio[start]
    other = dataclasses.replace(read, tasks={"T1T2": 1.0})
    open_resident(other, bundle, senses_of(bundle, CPU), CPU)
    assert (folder / "examples.pt").stat().st_mtime_ns != kept


def test_a_stage_learns_from_the_device_and_writes_its_model(folder: Path, config: Callable[..., Path]) -> None:
    listening = {"scenes": "", "frames": 60, "band_frames": 20, "margin": 1.0, "batch": 2, "weight": 1.0}
    pool = {"examples": 40, "pool": str(folder / "3.pt"), "workers": 0}
    path = config(output=str(folder / "stage3"), tasks=TASKS | {"T1A2": 0.2}, listening=listening, resident=pool)
    assert stages.run("stage3", path)
    before, after = (load_bundle(folder / name, "cpu", torch.float32).model.state_dict() for name in ("start", "stage3/model"))
    assert not torch.equal(before["embedding.weight"], after["embedding.weight"])
    line = json.loads((folder / "stage3" / "log.jsonl").read_text().splitlines()[0])
    assert {"text", "audio", "irq", "n_irq"} <= line.keys()


def test_recordings_stay_on_the_disk(folder: Path, config: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="recordings"):
        stages.run("stage2", config(output=str(folder / "none"), data={"recordings": ["mine.jsonl"]}))


def test_an_encoder_learns_from_the_device_with_layers_that_begin_as_nothing(folder: Path, write_config: Callable[..., Path]) -> None:
    (folder / "test").mkdir()
    row = {"skill": "open", "audio": "../low.wav", "expect": "low", "group": "espeak", "condition": "clean"}
    write_wav(folder / "low.wav", tone(300, 0.5, 16_000), 16_000)
    (folder / "test" / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    small = {
        "data": str(folder / "speech"), "test": str(folder / "test" / "manifest.jsonl"), "device": "cpu", "precision": "float32", "resident": True,
        "loop": {"steps": 2, "validate_steps": 2}, "batch": 4, "sets": {"open": 0.8, "talk": 0.2},
    }  # fmt: skip
    shape = {"width": 32, "heads": 2, "mlp": 64}
    one = small | {"output": str(folder / "one"), "encoder": shape | {"layers": 1}}
    encoders.run(write_config(folder, "encoders.yaml", one), resume=False, max_minutes=None)
    start = str(folder / "one" / encoders.FINAL)
    grown = small | {"output": str(folder / "two"), "encoder": shape | {"layers": 2}, "start": start}
    learner = encoders.EncoderLearner(encoders.read_config(encoders.EncoderTraining, write_config(folder, "encoders.yaml", grown)))
    mel = torch.randn(1, 40, 80)
    torch.testing.assert_close(learner.encoder(mel), encoders.load_encoder(Path(start))(mel))
    learner.learn(0)
    assert not torch.allclose(learner.encoder(mel), encoders.load_encoder(Path(start))(mel))


def test_the_codecs_encoder_learns_from_the_device(folder: Path, write_config: Callable[..., Path]) -> None:
    codec = small_nano().codec
    assert isinstance(codec, CausalCodec)
    write_part(folder / "codec.safetensors", codec.config, codec.state_dict())
    changes = {
        "data": str(folder), "output": str(folder / "codec"), "start": str(folder / "codec.safetensors"), "device": "cpu", "precision": "float32",
        "resident": True, "workers": 2, "encoder_layers": codec.config.encoder_layers, "frames": 60, "clips": 2, "scenes": 4, "answers": 2,
        "reader_width": 16, "warmup_steps": 1, "sets": {"open": 0.7, "talk": 0.3},
    }  # fmt: skip
    path = write_config(folder, "codec_listening.yaml", changes)
    learner = CodecListeningLearner(read_config(CodecListening, path))
    before = {name: tensor.clone() for name, tensor in learner.codec.state_dict().items()}
    assert learner.make(1).labels.shape == (6, 60)
    for step in range(2):
        learner.learn(step)
    changed = {name.split(".")[0] for name, tensor in learner.codec.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"encoder"}

"""Scenes: drawn from a seed, with a command where they say, as loud as they say; sets of phrases and scenes on disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from omni_core.datagen import scenes
from omni_core.datagen.exchange import Split
from omni_core.datagen.interruptions import (
    AFTER_S,
    BEDS,
    EITHER,
    IRQ,
    N_IRQ,
    Material,
    Scene,
    SceneConfig,
    draw_scene,
    frame_labels,
    holds_command,
    phrase_end,
)
from omni_core.datagen.shards import Clip, ShardSet, ShardWriter
from omni_core.errors import ConfigError, DataError

RATE, FRAME = 24_000, 2048


class Tones:
    """Clips of 0.8 s of one tone each."""

    def __init__(self, *texts: str, hertz: float) -> None:
        self.rate, self.rows, self._hertz = 16_000, [{"text": text} for text in texts], hertz

    def __len__(self) -> int:
        return len(self.rows)

    def wave(self, index: int) -> np.ndarray:
        return (0.1 * np.sin(2 * np.pi * self._hertz * np.arange(12_800) / self.rate)).astype(np.float32)


def make_material(**others: Any) -> Material:
    answers: Any = SimpleNamespace(texts=("hello",), wave=lambda text: np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1)
    parts: dict[str, Any] = {
        "talk": Tones("good morning", "well", hertz=300),
        "commands": Tones("stop omni", hertz=1000),
        "near_misses": Tones("stop", "omni", hertz=2000),
        "answers": answers,
    }
    return Material(**(parts | others))


def draw(seed: int, **config: Any) -> Scene:
    return draw_scene(np.random.default_rng(seed), make_material(), SceneConfig(**({"seconds": (4.0, 6.0)} | config)))


def level(wave: np.ndarray, start: float, stop: float) -> float:
    """dB of `wave` from `start` to `stop` s."""
    return 10 * np.log10(np.mean(np.square(wave[int(start * RATE) : int(stop * RATE)])))


@pytest.mark.parametrize("bed", BEDS)
def test_a_scene_depends_on_its_seed_alone(bed: str) -> None:
    first, again, other = draw(1, beds=(bed,)), draw(1, beds=(bed,)), draw(2, beds=(bed,))
    np.testing.assert_array_equal(first.wave, again.wave)
    assert (first.irq_at, first.near_misses) == (again.irq_at, again.near_misses)
    assert not np.array_equal(first.wave, other.wave)
    assert (first.bed, first.wave.dtype) == (bed, np.float32)
    assert np.isfinite(first.wave).all()
    assert np.abs(first.wave).max() <= 1


def test_a_scene_ends_soon_after_its_command() -> None:
    found = [draw(seed, command_share=1.0) for seed in range(5)]
    for scene in found:
        assert scene.irq_at is not None
        assert len(scene.wave) / RATE == pytest.approx(scene.irq_at + AFTER_S, abs=1e-3)
        assert all(phrase.end < scene.irq_at for phrase in scene.near_misses)
    assert [draw(seed, command_share=0.0).irq_at for seed in range(3)] == [None] * 3
    assert any(scene.near_misses for scene in found)


def test_the_command_is_as_loud_as_asked_and_ends_where_told() -> None:
    for seed in range(4):
        scene = draw(seed, command_share=1.0, near_misses=0, beds=("noise",), echo_share=0.0, snr_db=(20.0, 20.0))
        end = scene.irq_at
        assert end is not None
        swell = 6.0  # dB that noise may differ between the command and what is around it
        assert level(scene.wave, end - 0.7, end - 0.1) - level(scene.wave, end + 0.6, end + 0.9) == pytest.approx(20, abs=swell)


def test_a_phrase_ends_at_its_last_sample_above_minus_40_db() -> None:
    wave = np.concatenate([np.ones(100), np.full(50, 0.02), np.full(70, 0.009)])
    assert phrase_end(wave) == 150


def test_labels_turn_in_the_frame_in_which_the_command_ends() -> None:
    labels = frame_labels(5.5 * FRAME / RATE, 9, FRAME)
    assert labels.tolist() == [N_IRQ] * 4 + [EITHER] + [IRQ] * 4
    assert frame_labels(6 * FRAME / RATE, 9, FRAME).tolist() == labels.tolist(), "its last sample is still in frame 5"
    assert frame_labels(None, 3, FRAME).tolist() == [N_IRQ] * 3


def test_nobody_else_says_the_command() -> None:
    material = make_material(talk=Tones("tell it to stop, omni", "well", hertz=300))
    heard = []
    material.talk.wave = lambda index: heard.append(index) or np.ones(16_000, np.float32)  # type: ignore[method-assign]
    draw_scene(np.random.default_rng(0), material, SceneConfig(seconds=(9.0, 9.0), beds=("talk",)))
    assert set(heard) == {1}
    assert [holds_command(text) for text in ("Stop, Omni!", "stop omnibus", "don't stop omni", "omni, stop")] == [True, False, True, False]


def test_phrases_file(tmp_path: Path) -> None:
    assert len(scenes.phrases().near_misses) > 50
    path = tmp_path / "phrases.yaml"
    path.write_text("commands: [stop omni]\nnear_misses: [now stop omni]\nheld_out_near_misses: [stop]\n")
    with pytest.raises(ConfigError, match="near_misses: 'now stop omni' must not hold"):
        scenes.phrases(path)
    path.write_text("commands: [stop omni]\n")
    with pytest.raises(ConfigError, match="needs exactly the lists"):
        scenes.phrases(path)


def write_set(folder: Path, name: str, rate: int, rows: list[dict[str, Any]]) -> None:
    wave = (0.1 * np.sin(np.arange(rate) / 5)).astype(np.float32)
    writer = ShardWriter(folder, name, rate, [rows], lambda row: Clip(wave, row))
    with ThreadPoolExecutor(1) as pool:
        writer.write(0, pool, writer.bar())


def test_scenes_on_disk(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clips of open: make them with `omni data speech`"):
        scenes.make_scenes(tmp_path, 1)
    for name, text in (("open", "well"), ("commands", "stop omni"), ("near-misses", "stop")):
        write_set(tmp_path / "speech", name, 16_000, [{"text": text}])
    write_set(tmp_path / "answers", "answers", RATE, [{"text": "hello", "group": "talk"}])
    config = SceneConfig(seconds=(4.0, 5.0))
    scenes.make_scenes(tmp_path, 5, config=config)
    made = ShardSet(tmp_path / "scenes", "scenes")
    assert (len(made), made.rate) == (5, RATE)
    assert {row["bed"] for row in made.rows} <= set(BEDS)
    for index, row in enumerate(made.rows):
        assert row["irq_at"] is None or row["irq_at"] < len(made.wave(index)) / RATE
    before = (tmp_path / "scenes/scenes-00000.tar").stat().st_mtime_ns
    scenes.make_scenes(tmp_path, 5, config=config)
    assert (tmp_path / "scenes/scenes-00000.tar").stat().st_mtime_ns == before


@pytest.mark.speech
def test_phrases_in_voices_of_their_split(tmp_path: Path) -> None:
    assert scenes.make_phrases(tmp_path, scale=0.01) == 0
    train, test = (ShardSet(tmp_path / "speech", scenes.set_name("commands", split)) for split in Split)
    assert all(holds_command(row["text"]) for row in (*train.rows, *test.rows))
    assert not {row["voice"]["speaker"] for row in train.rows} & {row["voice"]["speaker"] for row in test.rows}

"""What the listener learns from: coded scenes, batches that depend on the step alone, and a loss that looks at two ids."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from omni_core.config import BackboneConfig, LayoutConfig, ModelConfig
from omni_core.datagen.interruptions import EITHER, IRQ, N_IRQ
from omni_core.datagen.shards import Clip, ShardSet, ShardWriter
from omni_core.errors import DataError
from omni_core.models import OmniModel
from omni_core.training import listening
from omni_core.training.dataset import IGNORE
from omni_core.training.listening import CodedScenes, ListenerSource, code_scene, code_scenes, join, listener_loss

FRAME, RATE, BAND, COMMAND = 2048, 24_000, 6, 9
CONFIG = ModelConfig(
    name="test",
    layout=LayoutConfig(text_tokens=20, text_rows=32, codes=16, audio_rows=24),
    backbone=BackboneConfig(layers=2, width=32, heads=2, kv_heads=1, head_size=16, mlp=48, rope_base=10_000.0, norm_eps=1e-6, max_positions=64),
    audio_features=8,
    vision_features=None,
    adapter_mlp=8,
    image_overwrites_input=False,
)


class LoudnessCodec:
    """Seven times the first sample of each frame, in hundredths."""

    frame_samples, encoded = FRAME, 0

    def stream_encoder(self) -> Any:
        return SimpleNamespace(push=self.encode, flush=lambda: torch.zeros(0, 7, dtype=torch.int64))

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        self.encoded += 1
        return (wave[::FRAME] * 100).round().long()[:, None].expand(-1, 7)


def make_scene(rng: np.random.Generator) -> CodedScenes:
    """Random codes; the command is code COMMAND, then another frame of it."""
    frames = int(rng.integers(12, 20))
    codes = rng.integers(0, COMMAND, (frames, 7))
    codes[[frames - 5, frames - 4]] = COMMAND
    wave = np.repeat(codes[:, 0] / 100, FRAME).astype(np.float32)
    scene = code_scene(wave, {"irq_at": (frames - 3) * FRAME / RATE, "near_misses": []}, LoudnessCodec())  # type: ignore[arg-type]
    assert np.array_equal(scene.codes[:, 0], codes[:, 0])
    return scene


@pytest.fixture(scope="module")
def scenes() -> CodedScenes:
    rng = np.random.default_rng(0)
    return join([make_scene(rng) for _ in range(30)])


def test_a_scene_in_codes() -> None:
    wave = np.zeros(20 * FRAME, np.float32)
    scene = code_scene(wave, {"irq_at": 15.5 * FRAME / RATE, "near_misses": [["stop", 2.5 * FRAME / RATE]]}, LoudnessCodec())  # type: ignore[arg-type]
    assert scene.labels.tolist() == [N_IRQ] * 14 + [EITHER] + [IRQ] * 5
    assert (scene.codes.shape, scene.codes.dtype) == ((20, 7), np.uint16)
    reach = listening.BEFORE
    assert np.flatnonzero(scene.decisions).tolist() == sorted({*range(2 + reach + 1), *range(15 - reach, 20)})


def test_a_batch_depends_on_seed_and_step_alone(scenes: CodedScenes) -> None:
    model = OmniModel(CONFIG)
    source = ListenerSource(scenes, model.layout, batch=3, frames=40, seed=1)
    batch, again, other = source.batch(7), ListenerSource(scenes, model.layout, 3, 40, 1).batch(7), source.batch(8)
    assert (batch.tokens.shape, batch.targets.shape, batch.weights.shape) == ((3, 8, 40), (3, 40), (3, 40))
    assert torch.equal(batch.tokens, again.tokens)
    assert not torch.equal(batch.tokens, other.tokens)
    assert set(batch.targets.unique().tolist()) == {model.layout.n_irq, model.layout.irq, IGNORE}
    assert (batch.tokens[:, 7] == model.layout.n_irq).all()
    irq = batch.targets == model.layout.irq
    said = torch.stack([batch.tokens[:, layer] == model.layout.audio_id(layer, COMMAND) for layer in range(7)]).sum(0) >= 4  # a few are swapped
    first = irq[:, 1:] & ~irq[:, :-1]
    assert first.any()
    assert said[:, 1:][first].all(), "irq begins in the frame in which the command ends"
    assert batch.weights[irq].eq(listening.DECISION_WEIGHT).all()


def test_some_codes_of_a_sequence_are_swapped(scenes: CodedScenes, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = OmniModel(CONFIG).layout
    swapped = ListenerSource(scenes, layout, batch=3, frames=40, seed=1).batch(7)
    monkeypatch.setattr(listening, "SWAPPED", 0.0)
    plain = ListenerSource(scenes, layout, batch=3, frames=40, seed=1).batch(7)
    assert torch.equal(swapped.targets, plain.targets)
    assert 0 < (swapped.tokens != plain.tokens)[:, :7].float().mean() < 0.15


def test_the_loss_looks_at_two_ids_and_falls(scenes: CodedScenes) -> None:
    torch.manual_seed(0)
    model = OmniModel(CONFIG)
    source = ListenerSource(scenes, model.layout, batch=4, frames=40, seed=1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses, figures = [], {}
    for step in range(30):
        optimiser.zero_grad()
        loss, figures = listener_loss(model, source.batch(step), BAND)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.25 * losses[0]
    assert figures["irq"] > 0.8
    assert figures["n_irq"] > 0.8


def test_frames_where_either_may_be_said_take_no_loss(scenes: CodedScenes) -> None:
    model = OmniModel(CONFIG)
    batch = ListenerSource(scenes, model.layout, batch=2, frames=40, seed=1).batch(0)
    before = listener_loss(model, batch, BAND)[0]
    batch.weights[batch.targets == IGNORE] = 100.0
    torch.testing.assert_close(listener_loss(model, batch, BAND)[0], before)


def test_codes_are_made_once_for_the_same_scenes_and_codec(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"irq_at": None, "near_misses": []}, {"irq_at": 0.5, "near_misses": []}]
    writer = ShardWriter(tmp_path, "scenes", RATE, [rows], lambda row: Clip(np.full(RATE, 0.1, np.float32), row))
    with pytest.raises(DataError, match="make them with `omni data scenes`"):
        code_scenes(ShardSet(tmp_path, "scenes"), LoudnessCodec(), tmp_path / "codes.npz")  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        writer.write(0, pool, SimpleNamespace(update=lambda: None))  # type: ignore[arg-type]
    codec: Any = LoudnessCodec()
    first = code_scenes(ShardSet(tmp_path, "scenes"), codec, tmp_path / "codes.npz")
    again = code_scenes(ShardSet(tmp_path, "scenes"), codec, tmp_path / "codes.npz")
    assert codec.encoded == 2
    assert len(first) == 2
    for name in ("codes", "labels", "decisions", "starts"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))

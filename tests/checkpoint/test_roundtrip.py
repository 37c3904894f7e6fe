"""Saving, loading and converting give the same tensors and the same configuration."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from omni_core.checkpoint import Bundle, convert, load_bundle, save_bundle
from omni_core.engine.features import decode_features
from omni_core.errors import CheckpointError, ConfigError
from omni_core.tokens import Task
from tests.small import RELEASED


def assert_same(a: object, b: object, tolerance: float = 0.0) -> None:
    assert isinstance(a, nn.Module)
    assert isinstance(b, nn.Module)
    assert type(a) is type(b)
    mine, theirs = a.state_dict(), b.state_dict()
    assert mine.keys() == theirs.keys()
    for key, tensor in mine.items():
        torch.testing.assert_close(theirs[key], tensor, atol=tolerance, rtol=tolerance, msg=key)


def assert_same_bundles(a: Bundle, b: Bundle, tolerance: float = 0.0) -> None:
    assert dataclasses.replace(a.model.config, name="") == dataclasses.replace(b.model.config, name="")
    assert (a.listener, a.memory_turns, a.tokenizer is None) == (b.listener, b.memory_turns, b.tokenizer is None)
    assert_same(a.model, b.model, tolerance)
    for part in ("audio_encoder", "vision_encoder", "codec"):
        mine, theirs = getattr(a, part), getattr(b, part)
        assert type(mine) is type(theirs)
        if isinstance(mine, nn.Module):
            assert_same(mine, theirs, tolerance)


def test_save_and_load(nano: Bundle, tmp_path: Path) -> None:
    save_bundle(nano, tmp_path / "model")
    loaded = load_bundle(tmp_path / "model", "cpu")
    assert_same_bundles(nano, loaded)
    assert (loaded.name, loaded.model.training) == ("nano", False)
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.encode("hello") == nano.tokenizer.encode("hello")


@pytest.mark.parametrize("storage", [torch.float16, torch.bfloat16])
def test_sixteen_bits_on_disk_are_float32_in_memory(nano: Bundle, tmp_path: Path, storage: torch.dtype) -> None:
    save_bundle(nano, tmp_path / "whole")
    save_bundle(nano, tmp_path / "half", storage=storage)
    sizes = [os.path.getsize(tmp_path / name / "model.safetensors") for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_bundle(tmp_path / "half", "cpu")
    assert {p.dtype for part in (loaded.model, loaded.audio_encoder, loaded.codec) for p in part.parameters()} == {torch.float32}
    assert_same_bundles(nano, loaded, 0.01)
    assert load_bundle(tmp_path / "half", "cpu", torch.bfloat16).model.dtype == torch.bfloat16


def test_through_the_reference_layout_and_back(nano: Bundle, tmp_path: Path) -> None:
    save_bundle(nano, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "reference", to="reference")
    assert {"lit_model.pth", "model_config.yaml"} <= set(os.listdir(tmp_path / "reference"))
    convert(tmp_path / "reference", tmp_path / "again", to="omni")
    features = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
    expected = decode_features(nano.model, Task.A1A2, audio_features=features, max_steps=20)
    for name in ("reference", "again"):
        loaded = load_bundle(tmp_path / name, "cpu")
        assert_same_bundles(nano, loaded)
        np.testing.assert_array_equal(decode_features(loaded.model, Task.A1A2, audio_features=features, max_steps=20), expected)


def test_released_layout_and_its_conversions(released: Path, tmp_path: Path) -> None:
    original = load_bundle(released, "cpu")
    assert dataclasses.replace(original.model.config, name="released") == RELEASED
    assert (original.listener, original.memory_turns) == (None, 0)
    assert None not in (original.tokenizer, original.audio_encoder, original.vision_encoder, original.codec)
    convert(released, tmp_path / "ours", to="omni")
    convert(tmp_path / "ours", tmp_path / "reference", to="reference")
    for name in ("ours", "reference"):
        loaded = load_bundle(tmp_path / name, "cpu")
        assert_same_bundles(original, loaded)
        frames = torch.zeros(3, 7, dtype=torch.int64)
        assert torch.equal(loaded.codec.decode(frames), original.codec.decode(frames))


def test_only_the_model_must_be_there(released: Path, tmp_path: Path) -> None:
    for name in ("lit_model.pth", "model_config.yaml"):
        (tmp_path / name).symlink_to(released / name)
    bundle = load_bundle(tmp_path, "cpu")
    assert (bundle.tokenizer, bundle.audio_encoder, bundle.vision_encoder, bundle.codec) == (None, None, None, None)


def test_convert_overwrites_nothing(nano: Bundle, tmp_path: Path) -> None:
    save_bundle(nano, tmp_path / "ours")
    with pytest.raises(CheckpointError, match="not an empty directory"):
        convert(tmp_path / "ours", tmp_path / "ours", to="reference")


def test_unknown_device(released: Path) -> None:
    with pytest.raises(ConfigError, match="use auto, cpu or cuda"):
        load_bundle(released, "gpu")

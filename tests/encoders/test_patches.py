"""nano's vision encoder: the shape of its features, and that a model directory keeps it."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from omni_core.checkpoint import Bundle, load_bundle, save_bundle
from omni_core.config import BackboneConfig, LayoutConfig, ModelConfig, VisionConfig
from omni_core.encoders.patches import PatchVision
from omni_core.errors import CheckpointError, ConfigError, ImageError
from omni_core.models import OmniModel

SMALL = VisionConfig(resolution=112, stem_width=8, middle_width=16, middle_layers=1, width=32, layers=1, attention_layers=1, heads=2, mlp=32)


@pytest.fixture(scope="module")
def eye() -> PatchVision:
    torch.manual_seed(0)
    return PatchVision(SMALL).eval()


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize(("size", "kind"), [((224, 224), "PNG"), ((640, 480), "JPEG"), ((90, 50), "PNG")])
def test_any_picture_becomes_fifty_features(eye: PatchVision, size: tuple[int, int], kind: str) -> None:
    features = eye.encode(encoded(noise(*size), kind))
    assert features.shape == (50, eye.width)
    assert features.isfinite().all()


def test_encode_is_the_training_pass_of_the_pixels(eye: PatchVision) -> None:
    image = noise(224, 224)
    features = eye(eye.pixels(image)[None])  # with gradients, as in training
    torch.testing.assert_close(eye.encode(encoded(image)), features[0].detach(), atol=1e-5, rtol=1e-5)


def test_pixels_run_from_minus_one_to_one(eye: PatchVision) -> None:
    pixels = eye.pixels(Image.new("RGB", (224, 224), (255, 0, 51)))
    torch.testing.assert_close(pixels[:, 50, 50], torch.tensor([1.0, -1.0, -0.6]))


@pytest.mark.parametrize("image", [b"", b"no picture", encoded(noise(50, 50))[:80]])
def test_unreadable_pictures(eye: PatchVision, image: bytes) -> None:
    with pytest.raises(ImageError, match="PNG or JPEG"):
        eye.encode(image)


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="resolution 100 must be a multiple of 16"):
        PatchVision(dataclasses.replace(SMALL, resolution=100))
    with pytest.raises(ConfigError, match="width 32 must be a multiple of heads"):
        PatchVision(dataclasses.replace(SMALL, heads=3))


def test_a_model_directory_keeps_it(eye: PatchVision, tmp_path: Path) -> None:
    backbone = BackboneConfig(layers=1, width=16, heads=2, kv_heads=1, head_size=8, mlp=16, rope_base=1e4, norm_eps=1e-6, max_positions=64)
    model = OmniModel(ModelConfig("seeing", LayoutConfig(32, 64, 32, 64), backbone, 16, eye.width, 16, image_overwrites_input=False))
    save_bundle(Bundle(model, None, None, eye, None, "seeing", listener=None), tmp_path)
    loaded = load_bundle(tmp_path, "cpu")
    assert isinstance(loaded.vision_encoder, PatchVision)
    assert torch.equal(loaded.vision_encoder.encode(encoded(noise(224, 224))), eye.encode(encoded(noise(224, 224))))
    (tmp_path / "vision_encoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"vision_encoder\.safetensors"):
        load_bundle(tmp_path, "cpu")

"""The encoders of released weights: Whisper's against openai-whisper itself, CLIP's against the reference's fork (golden)."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from whisper.audio import log_mel_spectrogram
from whisper.model import ModelDimensions, Whisper

from omni_core.config import WhisperConfig
from omni_core.encoders.base import AudioEncoder
from omni_core.encoders.clip import ClipVision
from omni_core.encoders.vision import read_image
from omni_core.encoders.whisper import WhisperEncoder
from omni_core.errors import AudioError, CheckpointError, ImageError
from tests.parity.formula_weights import uniform
from tests.parity.reference import GOLDEN


@pytest.fixture(scope="module")
def openai() -> Whisper:
    torch.manual_seed(0)
    return Whisper(ModelDimensions(80, 1500, 32, 2, 1, 100, 16, 32, 2, 1)).eval()


@pytest.fixture(scope="module")
def whisper(openai: Whisper, tmp_path_factory: pytest.TempPathFactory) -> WhisperEncoder:
    """Read from a file as OpenAI writes it: half precision, decoder included."""
    path = tmp_path_factory.mktemp("whisper") / "small.pt"
    openai.half().float()
    torch.save({"dims": vars(openai.dims), "model_state_dict": {key: value.half() for key, value in openai.state_dict().items()}}, path)
    return WhisperEncoder.load(path)


def test_whisper_keeps_the_features_of_the_speech(openai: Whisper, whisper: WhisperEncoder) -> None:
    wave = torch.randn(16_123) * 0.1
    padded = torch.nn.functional.pad(wave, (0, 480_000 - len(wave)))
    with torch.inference_mode():
        expected = openai.encoder(log_mel_spectrogram(padded, 80)[None])[0, : 1007 // 20 + 1]
    torch.testing.assert_close(whisper.encode(wave), expected, atol=1e-5, rtol=0)
    assert isinstance(whisper, AudioEncoder)
    assert (whisper.width, whisper.config) == (32, WhisperConfig(80, 1500, 32, 2, 1))


@pytest.mark.parametrize(("samples", "features"), [(1, 1), (319, 1), (320, 2), (16_000, 51), (480_000, 1500)])
def test_whisper_feature_count(whisper: WhisperEncoder, samples: int, features: int) -> None:
    assert len(whisper.encode(torch.zeros(samples))) == features


@pytest.mark.parametrize("wave", [torch.zeros(0), torch.zeros(2, 100), torch.tensor([0.0, float("nan")]), torch.zeros(480_001)])
def test_whisper_refuses(whisper: WhisperEncoder, wave: Tensor) -> None:
    with pytest.raises(AudioError):
        whisper.encode(wave)


def test_whisper_file_of_another_kind(tmp_path: Path) -> None:
    torch.save({"dims": {}, "model_state_dict": {}}, tmp_path / "small.pt")
    with pytest.raises(CheckpointError, match=r"small\.pt"):
        WhisperEncoder.load(tmp_path / "small.pt")
    with pytest.raises(CheckpointError, match="can't be read"):
        WhisperEncoder.load(tmp_path / "absent.pt")


def clip_parameter(name: str, shape: tuple[int, ...]) -> Tensor:
    """The formula of tests/parity/golden for CLIP."""
    if "ln_" in name:
        value = uniform(name, shape, 0.1) + (1.0 if name.endswith("weight") else 0.0)
    elif name.endswith("bias"):
        value = uniform(name, shape, 0.02)
    else:
        value = uniform(name, shape, 2.5 / float(np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else shape[0])))
    return torch.from_numpy(value.astype(np.float32))


@pytest.fixture(scope="module")
def clip_state() -> dict[str, Tensor]:
    shapes = json.loads((GOLDEN / "clip_tiny.json").read_text())["shapes"]
    return {name: clip_parameter(name, tuple(shape)) for name, shape in shapes.items()}


def test_clip_golden(clip_state: dict[str, Tensor]) -> None:
    pixels = torch.from_numpy(uniform("input.pixels", (1, 3, 224, 224), 1.5))
    features = ClipVision.from_state(clip_state)(pixels)
    with np.load(GOLDEN / "clip_tiny_golden.npz") as golden:
        torch.testing.assert_close(features, torch.from_numpy(golden["features"]), atol=2e-5, rtol=0)


class _Named(nn.Module):
    """Holds tensors under dotted names, as a TorchScript archive can."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name in {key.split(".")[0] for key in state}:
            if name in state:
                self.register_parameter(name, nn.Parameter(state[name], requires_grad=False))
            else:
                self.add_module(name, _Named({key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}))

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("kind", ["torchscript", "clip", "tower"])
def test_clip_reads(clip_state: dict[str, Tensor], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ViT-B-32.pt"
    whole = {f"visual.{key}": value for key, value in clip_state.items()} | {"logit_scale": torch.ones(())}
    if kind == "torchscript":
        torch.jit.save(torch.jit.script(_Named(whole)), path)
    else:
        torch.save(whole if kind == "clip" else clip_state, path)
    loaded = ClipVision.load(path).state_dict()
    assert loaded.keys() == clip_state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in clip_state.items())


def test_clip_file_that_lacks_a_tensor(clip_state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({key: value for key, value in clip_state.items() if key != "ln_post.bias"}, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match=r"ln_post\.bias"):
        ClipVision.load(tmp_path / "clip.pt")


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    """White above, black below."""
    picture = Image.new("L", (width, height), 0)
    picture.paste(255, (0, 0, width, height // 2))
    buffer = io.BytesIO()
    picture.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(640, 480), (48, 90), (224, 224), (3000, 225)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_pictures_are_made_square_and_normalised(size: tuple[int, int], mode: str, clip_state: dict[str, Tensor]) -> None:
    pixels = ClipVision.from_state(clip_state).pixels(read_image(png(*size, mode)))
    assert pixels.shape == (3, 224, 224)
    white, black = pixels[:, 5].mean(1), pixels[:, -5].mean(1)
    torch.testing.assert_close(white, torch.tensor([1.9303, 2.0749, 2.1459]), atol=1e-3, rtol=0)
    torch.testing.assert_close(black, torch.tensor([-1.7923, -1.7521, -1.4802]), atol=1e-3, rtol=0)


def test_encode_gives_fifty_features(clip_state: dict[str, Tensor]) -> None:
    tower = ClipVision.from_state(clip_state)
    assert tower.encode(png(64, 64)).shape == (50, 512)


def test_a_thread_of_a_picture_is_refused() -> None:
    with pytest.raises(ImageError, match="50 times as long as wide"):
        read_image(png(8, 1000))


@pytest.mark.parametrize("image", [b"", b"no picture", png(100, 100)[:60]])
def test_unreadable_pictures(image: bytes) -> None:
    with pytest.raises(ImageError, match="PNG or JPEG"):
        read_image(image)

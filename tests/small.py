"""Small models of random weights: one with nano's kinds of parts, one laid out as the release."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml
from snac import SNAC
from whisper.model import ModelDimensions, Whisper

from omni_core.checkpoint import Bundle
from omni_core.checkpoint.names import to_reference
from omni_core.checkpoint.reference_config import reference_config
from omni_core.codec.causal import CausalCodec
from omni_core.config import (
    BackboneConfig,
    CausalCodecConfig,
    ChunkedEncoderConfig,
    ClipConfig,
    LayoutConfig,
    ListenerConfig,
    ModelConfig,
    VisionConfig,
)
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.encoders.clip import ClipVision
from omni_core.encoders.ctc import VOCABULARY
from omni_core.encoders.patches import PatchVision
from omni_core.models import OmniModel
from tests.engine.parts import make_tokenizer

BACKBONE = BackboneConfig(layers=2, width=32, heads=6, kv_heads=2, head_size=8, mlp=48, rope_base=10_000.0, norm_eps=1e-6, max_positions=128)
NANO = ModelConfig("nano", LayoutConfig(256, 264, 32, 40), BACKBONE, 16, 32, 24, image_overwrites_input=False)
RELEASED = ModelConfig("released", LayoutConfig(256, 320, 32, 96), BACKBONE, 32, 16, 48, image_overwrites_input=True)  # 64 special ids each, as there
SNAC_CONFIG = {
    "sampling_rate": 24_000, "encoder_dim": 4, "encoder_rates": [2, 4, 8, 8], "decoder_dim": 32, "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None, "codebook_size": 32, "codebook_dim": 4, "vq_strides": [4, 2, 1], "noise": True, "depthwise": True,
}  # fmt: skip


def random_model(config: ModelConfig) -> OmniModel:
    torch.manual_seed(0)
    model = OmniModel(config).eval()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.1  # biases and norms too
    return model


def small_nano() -> Bundle:
    """Every part that nano has; the same weights every time."""
    torch.manual_seed(0)
    encoder = ChunkedEncoder(
        ChunkedEncoderConfig(
            mels=16, width=16, layers=1, heads=2, mlp=16, features_per_s=25, chunk_features=8, left_chunks=2, ctc_vocabulary=VOCABULARY
        )
    )
    sizes = {"encoder_width": 16, "encoder_layers": 1, "latent": 8, "decoder_width": 16, "frame_layers": 1, "decoder_layers": 1, "expansion": 2}
    codec = CausalCodec(CausalCodecConfig(codes=32, code_dim=4, mels=16, fft=1024, hop=256, delay=512, **sizes))
    eye = PatchVision(VisionConfig(112, stem_width=8, middle_width=8, middle_layers=1, width=32, layers=1, attention_layers=1, heads=2, mlp=16))
    return Bundle(random_model(NANO), make_tokenizer(), encoder.eval(), eye.eval(), codec.eval(), "nano", ListenerConfig(4, 0.5), memory_turns=2)


def write_released(directory: Path) -> Path:
    """A directory as the release lays it out, with all its files."""
    torch.manual_seed(0)
    torch.save(to_reference(random_model(RELEASED).state_dict(), RELEASED), directory / "lit_model.pth")
    (directory / "model_config.yaml").write_text(yaml.safe_dump(reference_config(RELEASED)))
    whisper = Whisper(ModelDimensions(80, 1500, 32, 2, 1, 100, 16, 32, 2, 1))
    torch.save({"dims": vars(whisper.dims), "model_state_dict": whisper.state_dict()}, directory / "small.pt")
    torch.save(ClipVision(ClipConfig(224, 32, 64, 1, 1, 16)).openai_state(), directory / "ViT-B-32.pt")
    make_tokenizer().save(directory / "tokenizer.json")
    (directory / "snac_24khz").mkdir()
    (directory / "snac_24khz/config.json").write_text(json.dumps(SNAC_CONFIG))
    torch.save(SNAC(**SNAC_CONFIG).state_dict(), directory / "snac_24khz/pytorch_model.bin")
    return directory

"""Models of random weights in known sizes: for measuring, and for trying a training configuration without a download.

`random:nano` is of the bundled model's size, `random:full` of the released one's (2 GB in float32). The same weights every time.
"""

from __future__ import annotations

import tokenizers
import torch
from snac import SNAC

from omni_core.checkpoint.bundle import Bundle
from omni_core.codec.causal import CausalCodec
from omni_core.codec.snac import SnacCodec
from omni_core.config import BackboneConfig, CausalCodecConfig, ChunkedEncoderConfig, ClipConfig, LayoutConfig, ModelConfig, WhisperConfig
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.encoders.clip import ClipVision
from omni_core.encoders.whisper import WhisperEncoder
from omni_core.errors import ConfigError
from omni_core.models import OmniModel
from omni_core.tokens import RELEASED, Tokenizer

PREFIX = "random:"

_NANO = ModelConfig(
    name="random:nano",
    layout=LayoutConfig(text_tokens=1024, text_rows=1056, codes=1024, audio_rows=1056),
    backbone=BackboneConfig(6, 256, 4, 2, 64, 768, rope_base=1e4, norm_eps=1e-6, max_positions=2048),
    audio_features=192,
    vision_features=None,
    adapter_mlp=512,
    image_overwrites_input=False,
)
_NANO_EAR = ChunkedEncoderConfig(80, 192, 6, 4, 768, 25, 8, 16, 0)
_NANO_CODEC = CausalCodecConfig(
    codes=1024, code_dim=8, mels=80, encoder_width=192, encoder_layers=3, latent=64, decoder_width=256, frame_layers=2, decoder_layers=6,
    expansion=2, fft=1024, hop=256, delay=512,
)  # fmt: skip
FULL = ModelConfig(
    name="random:full",
    layout=RELEASED,
    backbone=BackboneConfig(24, 896, 14, 2, 64, 4864, rope_base=1e6, norm_eps=1e-6, max_positions=2048),
    audio_features=768,
    vision_features=512,
    adapter_mlp=4864,
    image_overwrites_input=True,
)
_SNAC_24KHZ = {
    "sampling_rate": 24_000, "encoder_dim": 48, "encoder_rates": [2, 4, 8, 8], "decoder_dim": 1024, "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None, "codebook_size": 4096, "codebook_dim": 8, "vq_strides": [4, 2, 1], "noise": True, "depthwise": True,
}  # fmt: skip
_WHISPER_SMALL = WhisperConfig(mels=80, positions=1500, width=768, heads=12, layers=12)
_CLIP_B32 = ClipConfig(resolution=224, patch=32, width=768, heads=12, layers=12, features=512)


def random_bundle(source: str, device: torch.device, dtype: torch.dtype | None = None) -> Bundle:
    """A model of random weights with its parts: "random:nano" or "random:full" (2 GB in float32)."""
    eye = None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        match source:
            case "random:nano":
                model, ear, codec = OmniModel(_NANO), ChunkedEncoder(_NANO_EAR), CausalCodec(_NANO_CODEC)
            case "random:full":
                model, ear, codec = OmniModel(FULL), WhisperEncoder(_WHISPER_SMALL), SnacCodec(SNAC(**_SNAC_24KHZ))
                eye = ClipVision(_CLIP_B32).eval().requires_grad_(False)
            case _:
                raise ConfigError(f"unknown model {source!r}: use random:nano, random:full, a directory or a hub name")
    model.to(dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)).eval().requires_grad_(False)
    return Bundle(model, _byte_tokenizer(), ear.eval().requires_grad_(False), eye, codec, source, listener=None)


def _byte_tokenizer() -> Tokenizer:
    """Bytes as ids: as much text work as a real one, no file."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    return Tokenizer(inner)

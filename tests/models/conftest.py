"""A small model with random weights."""

from __future__ import annotations

import pytest
import torch

from omni_core.config import BackboneConfig, LayoutConfig, ModelConfig
from omni_core.models import OmniModel

CONFIG = ModelConfig(
    name="test",
    layout=LayoutConfig(text_tokens=200, text_rows=208, codes=32, audio_rows=40),
    backbone=BackboneConfig(layers=3, width=64, heads=6, kv_heads=2, head_size=16, mlp=96, rope_base=10_000.0, norm_eps=1e-6, max_positions=256),
    audio_features=24,
    vision_features=40,
    adapter_mlp=48,
    image_overwrites_input=False,
)


@pytest.fixture(scope="session")
def model() -> OmniModel:
    torch.manual_seed(0)
    model = OmniModel(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():  # larger than at the start of training, so that attention is not all but uniform
        parameter.mul_(5) if parameter.dim() > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    return model

"""Adapters: from an encoder's features to the width of the backbone."""

from __future__ import annotations

from omni_core.config import ModelConfig
from omni_core.models.layers import GatedMLP


def audio_adapter(config: ModelConfig) -> GatedMLP:
    """[..., audio_features] -> [..., width]."""
    return GatedMLP(config.audio_features, config.adapter_mlp, config.backbone.width)


def vision_adapter(config: ModelConfig) -> GatedMLP | None:
    """[..., vision_features] -> [..., width]; None if the model sees nothing."""
    if config.vision_features is None:
        return None
    return GatedMLP(config.vision_features, config.adapter_mlp, config.backbone.width)

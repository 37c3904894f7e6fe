"""The decoder: blocks of attention and MLP over embeddings that are already fused."""

from __future__ import annotations

from torch import Tensor, nn

from omni_core.config import BackboneConfig
from omni_core.models.kv_cache import View
from omni_core.models.layers import Attention, GatedMLP, RMSNorm, Rotary


class Block(nn.Module):
    """One layer: x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width, config.norm_eps)
        self.mlp = GatedMLP(config.width, config.mlp, config.width)

    def forward(self, x: Tensor, rotary: Rotary, layer: int, view: View | None) -> Tensor:
        """x: [R, T, width] -> [R, T, width]."""
        x = x + self.attention(self.attention_norm(x), rotary, layer, view)
        return x + self.mlp(self.mlp_norm(x))


class Backbone(nn.Module):
    """All blocks and the final norm."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)

    def forward(self, x: Tensor, positions: Tensor, view: View | None) -> Tensor:
        """x: [R, T, width] at positions [R, T] -> hidden [R, T, width], after the final norm."""
        rotary = Rotary(positions, self.config.head_size, self.config.rope_base)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotary, layer, view)
        return self.norm(x)

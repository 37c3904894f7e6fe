"""Building blocks of a Qwen2-class decoder: norm, rotary positions, grouped-query attention, gated MLP.

Shapes: R rows, T positions, H heads, K key-value heads, G = H // K, D head size, N cached positions read.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni_core.config import BackboneConfig
from omni_core.models.kv_cache import View

_ROUNDED = 4096  # positions up to here have float32 angles, off by 0.0002 at most


class RMSNorm(nn.Module):
    """x / rms(x) * weight."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotary_angles(positions: Tensor, head_size: int, base: float) -> Tensor:
    """positions [...], integers -> angles [..., D/2] float32."""
    exponents = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    angles = positions[..., None] * (1.0 / base**exponents).double()  # exact: 24 bits times 24
    # Rounded to float32 as the reference rounds them. At position 42,000, after an hour of listening, that would be off by 0.004.
    return torch.where(positions[..., None] < _ROUNDED, angles, angles.remainder(2 * torch.pi)).float()


class Rotary:
    """Half-split rotary embedding at given positions: computed, so no table bounds them."""

    def __init__(self, positions: Tensor, head_size: int, base: float) -> None:
        """positions: [R, T], integers. Made once per forward pass and used by every layer."""
        angles = rotary_angles(positions, head_size, base)
        sin = angles.sin()
        self._cos = angles.cos()[:, :, None, None]  # [R, T, 1, 1, D/2]
        self._sin = torch.stack((-sin, sin), dim=-2)[:, :, None]  # [R, T, 1, 2, D/2]

    def __call__(self, x: Tensor) -> Tensor:
        """[R, T, heads, D] -> the same, rotated."""
        halves = x.unflatten(-1, (2, -1))  # [R, T, heads, 2, D/2]
        return torch.addcmul(halves * self._cos, halves.flip(-2), self._sin).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """Causal grouped-query attention; q, k and v come from one linear layer, all q heads first, then k, then v."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_size = config.heads, config.kv_heads, config.head_size
        self.qkv = nn.Linear(config.width, (config.heads + 2 * config.kv_heads) * config.head_size, bias=True)
        self.out = nn.Linear(config.heads * config.head_size, config.width, bias=False)

    def forward(self, x: Tensor, rotary: Rotary, layer: int, view: View | None) -> Tensor:
        """x: [R, T, width] -> [R, T, width]."""
        qkv = self.qkv(x).unflatten(-1, (-1, self.head_size))  # [R, T, H + 2K, D]
        qk, v = qkv.split((self.heads + self.kv_heads, self.kv_heads), dim=2)
        q, k = rotary(qk).split((self.heads, self.kv_heads), dim=2)
        attended = self._whole(q, k, v) if view is None else self._viewed(q, k, v, layer, view)
        return self.out(attended)

    def _whole(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Plain causal attention over the sequence itself -> [R, T, H * D]."""
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2).flatten(2)

    def _viewed(self, q: Tensor, k: Tensor, v: Tensor, layer: int, view: View) -> Tensor:
        """Hand k and v to the view, attend to what it gives -> [R, T, H * D].

        The G heads that share keys become more queries of one key head: no key or value is ever repeated.
        """
        keys, values = view.update(layer, k, v)  # [R, K, N, D]
        rows, steps = q.shape[:2]
        grouped = q.unflatten(2, (self.kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)  # [R, K, G * T, D]
        attended = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=view.mask(self.heads // self.kv_heads))
        return attended.view(rows, self.kv_heads, -1, steps, self.head_size).permute(0, 3, 1, 2, 4).reshape(rows, steps, -1)


class GatedMLP(nn.Module):
    """down(silu(gate x) * up x), gate and up in one linear layer. Also the shape of the adapters."""

    def __init__(self, width_in: int, hidden: int, width_out: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width_in, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width_in] -> [..., width_out]."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class TiedHead(nn.Module):
    """Logits by rows [begin, end) of an embedding, whose weight it shares: it has none of its own."""

    bias = None

    def __init__(self, embedding: nn.Embedding, begin: int, end: int) -> None:
        super().__init__()
        self._shared = (embedding,)  # in a tuple, or it would be a part of this one too
        self._rows = slice(begin, end)

    @property
    def weight(self) -> Tensor:
        return self._shared[0].weight[self._rows]

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., width] -> [..., end - begin]."""
        return F.linear(hidden, self.weight)

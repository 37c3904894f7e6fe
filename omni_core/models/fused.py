"""A decode step through the backbone in few kernels, for accelerators. The plain path of `layers` is the reference, and what a CPU runs.

Between the matrix products there are three kernels in place of some fifteen (`kernels`): rotation, cache and attention in one or two, each sum with
the norm that follows it, the gate. Attention finds out on the device how much of each row is used.
"""

from __future__ import annotations

import importlib.util
from typing import cast

from torch import Tensor

from omni_core.config import BackboneConfig
from omni_core.models.backbone import Backbone, Block
from omni_core.models.kv_cache import KVCache
from omni_core.models.layers import rotary_angles

_HEAD_SIZES = (32, 64, 128, 256)  # their halves are sizes that a matrix product can have
_HAS_TRITON = importlib.util.find_spec("triton") is not None


def can_fuse(config: BackboneConfig, x: Tensor) -> bool:
    """Whether x, [R, T, width], can take `fused_step`."""
    return _HAS_TRITON and x.is_cuda and x.shape[1] == 1 and config.head_size in _HEAD_SIZES


def fused_step(backbone: Backbone, x: Tensor, positions: Tensor, cache: KVCache, rows: Tensor) -> Tensor:
    """x: [R, width] at positions [R] of the cache's `rows` [R] -> hidden [R, width], after the final norm."""
    from omni_core.models import kernels

    config, blocks = backbone.config, cast(list[Block], list(backbone.blocks))
    angles = rotary_angles(positions, config.head_size, config.rope_base)  # [R, D/2]
    cos, sin = angles.cos(), angles.sin()
    places, counts = cache.places(positions, rows)
    norms = [block.attention_norm for block in blocks[1:]] + [backbone.norm]
    normed = blocks[0].attention_norm(x)
    x = x.clone()  # sums are made in place
    for layer, (block, norm) in enumerate(zip(blocks, norms, strict=True)):
        attended = kernels.attend(block.attention.qkv(normed), cos, sin, cache.k[layer], cache.v[layer], rows, places, counts)
        normed = kernels.add_norm(x, block.attention.out(attended), block.mlp_norm.weight, config.norm_eps)
        change = block.mlp.down(kernels.gate(block.mlp.gate_up(normed)))
        normed = kernels.add_norm(x, change, norm.weight, config.norm_eps)
    return normed

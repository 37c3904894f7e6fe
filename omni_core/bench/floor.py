"""What a machine allows: how fast it reads and multiplies, and what a decode step has to read and multiply at least."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from omni_core.config import Precision
from omni_core.models import OmniModel
from omni_core.models.int8 import Int8Linear
from omni_core.tokens import AUDIO_LAYERS

_BYTES = {Precision.FLOAT32: 4, Precision.BFLOAT16: 2, Precision.INT8: 1}
_READ_BYTES = {"cpu": 256_000_000, "cuda": 4_000_000_000}
_SIDE = {"cpu": 1536, "cuda": 8192}  # of the square matrices that are multiplied
_TRIES = 6


@dataclass(frozen=True)
class Machine:
    """What was measured of it."""

    device: str
    bytes_per_s: float  #: read from memory
    operations_per_s: float  #: in matrix products, of the precision that was measured


def measure_machine(device: torch.device, precision: Precision) -> Machine:
    """Takes a second or so."""
    return Machine(device.type, _reading(device), _multiplying(device, precision))


def step_bytes(model: OmniModel, precision: Precision, rows: int, positions: int) -> float:
    """What a step of `rows` rows, each with `positions` behind it, reads: every layer and both heads once, every row's keys and values."""
    backbone = model.config.backbone
    weights = _layer_weights(model) + backbone.width * (model.layout.text_rows + AUDIO_LAYERS * model.layout.audio_rows)
    return weights * _BYTES[precision] + rows * positions * bytes_per_position(model)


def step_operations(model: OmniModel, users: int, positions: int) -> float:
    """What a step of `users` responses of two rows each multiplies and adds; each row needs the logits of one head alone."""
    backbone = model.config.backbone
    heads = backbone.width * (model.layout.text_rows + AUDIO_LAYERS * model.layout.audio_rows)
    attention = 2 * backbone.layers * backbone.heads * backbone.head_size * positions
    return 2 * users * (2 * (_layer_weights(model) + attention) + heads)


def bytes_per_position(model: OmniModel) -> int:
    """Of one row's keys and values."""
    backbone = model.config.backbone
    return 2 * backbone.layers * backbone.kv_heads * backbone.head_size * model.embedding.weight.element_size()


def _layer_weights(model: OmniModel) -> int:
    """Weights of the backbone's matrix products, whatever they are stored as."""
    b = model.config.backbone
    heads = b.heads + 2 * b.kv_heads
    return b.layers * b.width * (heads * b.head_size + b.heads * b.head_size + 3 * b.mlp)


def _reading(device: torch.device) -> float:
    data = torch.ones(_READ_BYTES[device.type] // 4, device=device)
    return data.numel() * 4 / _quickest(lambda: data.sum(), device)


def _multiplying(device: torch.device, precision: Precision) -> float:
    side = _SIDE[device.type]
    dtype = torch.bfloat16 if precision is Precision.BFLOAT16 else torch.float32
    layer: nn.Module = nn.Linear(side, side, bias=False, device=device, dtype=dtype)
    if precision is Precision.INT8:
        layer = Int8Linear(layer.weight, None)  # type: ignore[arg-type]
    x = torch.rand(side, side, device=device, dtype=dtype)
    return 2 * side**3 / _quickest(lambda: layer(x), device)


@torch.inference_mode()
def _quickest(work: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(_TRIES):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return min(times)

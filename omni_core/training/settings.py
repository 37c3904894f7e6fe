"""What every training configuration has in common: reading its file, device and precision, the learning rate of a step, seeds."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from omni_core.config import from_dict
from omni_core.datagen.sentences import read_yaml
from omni_core.errors import ConfigError

T = TypeVar("T")
BF16, FLOAT32 = "bf16", "float32"


def read_config(kind: type[T], path: Path) -> T:
    """The YAML file as dataclass `kind`, strictly. Raises ConfigError naming the file and the key."""
    return from_dict(kind, read_yaml(path), str(path))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of forward passes: "bf16" mixes bfloat16 in, "float32" changes nothing. Raises ConfigError for another word."""
    if precision not in (BF16, FLOAT32):
        raise ConfigError(f"precision: {precision!r} is unknown; use {BF16} or {FLOAT32}")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == BF16)


@contextlib.contextmanager
def attention(device: torch.device) -> Iterator[None]:
    """On a CPU torch's attention spelt out: the fused kernel's backward pass takes longer there than everything around it.

    Under bf16 its two products are bf16 as well: torch would make them float32, at a fifth of the speed.
    """
    if device.type != "cpu":
        yield
        return
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # CPUs obey it too, whatever its name says
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


def adamw(parameters: Iterable[nn.Parameter], rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW as transformers are trained: matrices decay, biases and norms don't."""
    listed = list(parameters)
    matrices, others = [p for p in listed if p.ndim > 1], [p for p in listed if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def cosine_rate(step: int, steps: int, warmup_steps: int, high: float, low: float) -> float:
    """The learning rate of `step` of `steps`: linear from 0 to `high` over the warm-up, then half a cosine down to `low`."""
    if step < warmup_steps:
        return high * (step + 1) / warmup_steps
    turn = min((step - warmup_steps) / max(steps - warmup_steps, 1), 1.0)
    return low + (high - low) * (1 + math.cos(math.pi * turn)) / 2


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def generator_of(device: torch.device, *numbers: int) -> torch.Generator:
    """A torch generator on `device` for such numbers as (seed, step)."""
    return torch.Generator(device).manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1))

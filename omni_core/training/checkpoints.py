"""Saving and resuming a training run, atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omni_core.errors import CheckpointError


def save_state(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int, seconds: float) -> None:
    """Write weights, optimiser, RNG state, step and seconds spent; the old file stays whole if this is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(
        {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "rng": torch.get_rng_state(),
            "step": step,
            "seconds": seconds,
        },
        part,
    )
    os.replace(part, path)


def load_state(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Put back what `save_state` wrote; returns (step, seconds spent), zeros when there is nothing yet."""
    if not path.exists():
        return 0, 0.0
    state = _read(path)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["rng"])
    return state["step"], state["seconds"]


def load_weights(path: Path, model: nn.Module) -> None:
    """The weights alone of what `save_state` wrote."""
    model.load_state_dict(_read(path)["model"])


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise CheckpointError(f"{path}: there is no saved run; train one first")
    return torch.load(path, weights_only=True)

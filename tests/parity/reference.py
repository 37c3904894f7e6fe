"""Checkpoints and inputs from the formula, in the reference's layout: what the golden files were made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import yaml

from tests.parity.formula_weights import parameter, uniform

GOLDEN = Path(__file__).parent / "golden"
TEXT_IDS = (40, 3498, 279, 882, 30)
AUDIO_FEATURES = uniform("input.audio_features", (1, 37, 768), 1.0)[0]
IMAGE_FEATURES = uniform("input.clip_features", (50, 512), 1.0)

#: task -> (key of the golden tokens, the inputs it was run on)
TASKS = {
    "A1A2": ("audio.tokens", {"audio_features": AUDIO_FEATURES}),
    "VA1A2": ("image.tokens", {"audio_features": AUDIO_FEATURES, "image_features": IMAGE_FEATURES}),
    "T1A2": ("T1A2.tokens", {"text_ids": TEXT_IDS}),
    "A1T2": ("A1T2.tokens", {"audio_features": AUDIO_FEATURES}),
    "A1T1": ("A1T1.tokens", {"audio_features": AUDIO_FEATURES}),
}


def golden(size: str) -> dict[str, np.ndarray]:
    """The reference's results: "tiny" or "full"."""
    with np.load(GOLDEN / f"{size}_golden.npz") as file:
        return dict(file)


def shapes(size: str) -> dict[str, tuple[int, ...]]:
    """Every key of `lit_model.pth`."""
    return {key: tuple(shape) for key, shape in json.loads((GOLDEN / f"{size}_checkpoint_keys.json").read_text()).items()}


def state(size: str) -> dict[str, torch.Tensor]:
    """The reference's state dict, its tied pair as one tensor."""
    tensors = {key: torch.from_numpy(parameter(key, shape)) for key, shape in shapes(size).items() if key != "lm_head.weight"}
    return tensors | {"lm_head.weight": tensors["transformer.wte.weight"]}


def config(size: str) -> dict[str, object]:
    """The reference's `model_config.yaml`."""
    return json.loads((GOLDEN / f"{size}_config.json").read_text())


def write_checkpoint(size: str, directory: Path) -> Path:
    """A model directory that holds `lit_model.pth` and `model_config.yaml` alone."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.save(state(size), directory / "lit_model.pth")
    (directory / "model_config.yaml").write_text(yaml.safe_dump(config(size)))
    return directory

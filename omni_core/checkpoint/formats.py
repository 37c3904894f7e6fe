"""Files of the two formats, and reading their tensors. Nothing here builds a model.

Our own: config.json (BundleConfig) and model.safetensors; where they exist audio_encoder, vision_encoder and codec.safetensors, tokenizer.json and
the folder snac_24khz. The reference's: lit_model.pth and model_config.yaml; where they exist small.pt (Whisper), ViT-B-32.pt (CLIP), the tokenizer's
files and snac_24khz. `convert` adds omni_duplex.json to the latter: a BundleConfig for what the reference's own files have no words for, beside our
files for such parts.
"""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from omni_core.checkpoint.names import check_shapes, shapes_of
from omni_core.config import FORMAT, BundleConfig, from_dict
from omni_core.errors import CheckpointError, ConfigError

CONFIG = "config.json"
MODEL = "model.safetensors"
AUDIO_ENCODER = "audio_encoder.safetensors"
VISION_ENCODER = "vision_encoder.safetensors"
CODEC = "codec.safetensors"
END_OF_TURN = "end_of_turn.safetensors"
TOKENIZER = "tokenizer.json"
SNAC = "snac_24khz"

REFERENCE_MODEL = "lit_model.pth"
REFERENCE_CONFIG = "model_config.yaml"
REFERENCE_WHISPER = "small.pt"
REFERENCE_CLIP = "ViT-B-32.pt"
REFERENCE_EXTRA = "omni_duplex.json"


class Format(Enum):
    """How a model directory is laid out."""

    OMNI = "omni"
    REFERENCE = "reference"


def detect(directory: Path) -> Format:
    """The format of `directory`. Raises CheckpointError when it is none, naming what a model directory holds."""
    if (directory / REFERENCE_MODEL).is_file():
        return Format.REFERENCE
    if (directory / CONFIG).is_file():
        return Format.OMNI
    raise CheckpointError(
        f"{directory}: no model here: expected {CONFIG} with {MODEL} (our format), or {REFERENCE_MODEL} with {REFERENCE_CONFIG} (the reference's)"
    )


def read_bundle_config(path: Path) -> BundleConfig:
    """Read a BundleConfig. Raises CheckpointError when the file can't be read or holds another format, ConfigError naming a wrong key."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read ({error}): download or convert the model again") from error
    if isinstance(data, dict) and data.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format is {data.get('format')!r}, this version reads {FORMAT!r}: convert the model with a matching version")
    return from_dict(BundleConfig, data, path.name)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU. Raises CheckpointError when it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: can't be read ({error}): download or convert the model again") from error


def read_pickled(path: Path) -> dict[str, Tensor]:
    """A `torch.save`d state dict, mapped into memory, never executed. Raises CheckpointError when it is missing, damaged or something else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error}): download it again") from error
    except Exception as error:  # torch and pickle raise many kinds for a damaged file
        raise CheckpointError(f"{path}: not a file of plain tensors written by a current torch.save ({error}): download it again") from error
    if isinstance(state, dict) and set(state) == {"model"}:  # as litgpt's own training scripts wrap it
        state = state["model"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: expected a dict of tensors: download it again")
    return state


def fill(module: nn.Module, state: dict[str, Tensor], where: Path) -> None:
    """Load `state`, stored at any precision, into a part of a model and make it fit for inference. Raises CheckpointError as `check_shapes` does."""
    check_shapes(shapes_of(state), shapes_of(module.state_dict()), str(where), "part")
    module.load_state_dict(state)
    module.eval().requires_grad_(False)


def check_config(where: Path, key: str, value: object, expected: object) -> None:
    """ConfigError when two files of one checkpoint disagree."""
    if value != expected:
        raise ConfigError(f"{where}: {key} is {value!r}, but the model's own configuration says {expected!r}: convert the model again")

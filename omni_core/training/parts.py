"""A trained part of a model in one file: float32 weights as safetensors, its configuration in the metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from omni_core.checkpoint import formats
from omni_core.checkpoint.load import NANO, resolve
from omni_core.checkpoint.names import check_shapes, shapes_of
from omni_core.checkpoint.save import stored
from omni_core.config import BundleConfig, from_dict, to_dict
from omni_core.errors import CheckpointError, ConfigError, TrainingError

T = TypeVar("T")
_CONFIG = "config"


def write_part(path: Path, config: object, state: dict[str, Tensor]) -> None:
    """Write a part atomically: `config`, a dataclass, and its tensors. Raises TrainingError when the disk won't take it."""
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: stored(tensor, torch.float32) for name, tensor in state.items()}, part, metadata={_CONFIG: json.dumps(to_dict(config))})
        part.chmod(0o644)  # safetensors makes files that only their owner can read
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise TrainingError(f"{path}: can't be written ({error}): make room and resume") from error


def read_part(kind: type[T], path: Path) -> tuple[T, dict[str, Tensor]]:
    """What `write_part` wrote: configuration and tensors. Raises CheckpointError when the file is missing, damaged or another part's."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file: train this part first, or say where it is")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        config = from_dict(kind, json.loads(metadata[_CONFIG]), str(path))
    except (SafetensorError, KeyError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: holds no {kind.__name__} in its metadata ({error!r}): give a file that `omni train` wrote") from error
    return config, formats.read_safetensors(path)


def read_start(kind: type[T], start: str, field: str, file: str) -> tuple[T, dict[str, Tensor]]:
    """The weights that training goes on from, a file of `write_part` or "nano": the bundled model's part (`field` of its configuration, `file`)."""
    if start != NANO:
        return read_part(kind, Path(start))
    folder = resolve(NANO)
    config: BundleConfig = formats.read_bundle_config(folder / formats.CONFIG)
    return getattr(config, field), formats.read_safetensors(folder / file)


def take_over(module: nn.Module, state: dict[str, Tensor], where: str, *, new: str | tuple[str, ...] = ()) -> None:
    """Load `state` into `module`; a tensor whose name starts with `new`, or one of them, may be missing and keeps its values.

    Raises CheckpointError, naming `where`, when tensors are missing, too many, or of other shapes.
    """
    own = module.state_dict()
    kept = {name: tensor for name, tensor in own.items() if name.startswith(new) and name not in state}
    check_shapes(shapes_of(state), {name: shape for name, shape in shapes_of(own).items() if name not in kept}, where, "part")
    module.load_state_dict(kept | state)

"""Converting a model directory from one format to the other."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Literal

import torch
import yaml

from omni_core.checkpoint import formats
from omni_core.checkpoint.bundle import Bundle
from omni_core.checkpoint.load import load_bundle, resolve
from omni_core.checkpoint.names import EMBEDDING, HEAD, to_reference
from omni_core.checkpoint.reference_config import reference_config
from omni_core.checkpoint.save import save_bundle, save_parts, stored, write_bundle_config
from omni_core.encoders.clip import ClipVision
from omni_core.encoders.whisper import WhisperEncoder
from omni_core.errors import CheckpointError


def convert(
    source: str | os.PathLike[str], target: str | os.PathLike[str], to: Literal["omni", "reference"] = "omni", *, storage: torch.dtype = torch.float32
) -> None:
    """Read the model `source` (as `load_bundle` takes it) and write it to directory `target` in format `to`, weights in `storage`.

    Either direction and back gives the same tensors. The reference's own code reads the result where its files have words for the model: released
    sizes, adapters as wide as the MLP. Raises CheckpointError when `source` can't be read or `target` is not an empty or new directory.
    """
    directory, target = resolve(source), Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target}: exists and is not an empty directory: choose another")
    bundle = load_bundle(source, "cpu", torch.float32)
    try:
        target.mkdir(parents=True, exist_ok=True)
        if to == "omni":
            save_bundle(bundle, target, storage=storage)
        else:
            _save_reference(bundle, target, storage)
        if (directory / formats.SNAC).is_dir():
            shutil.copytree(directory / formats.SNAC, target / formats.SNAC)
    except OSError as error:
        raise CheckpointError(f"{target}: can't be written ({error}): choose another directory") from error


def _save_reference(bundle: Bundle, directory: Path, storage: torch.dtype) -> None:
    """The reference's layout, with our own files and omni_duplex.json for the parts it has none for."""
    config = bundle.model.config
    weights = {key: stored(tensor, storage) for key, tensor in to_reference(bundle.model.state_dict(), config).items() if key != HEAD}
    torch.save(weights | {HEAD: weights[EMBEDDING]}, directory / formats.REFERENCE_MODEL)
    (directory / formats.REFERENCE_CONFIG).write_text(yaml.safe_dump(reference_config(config), sort_keys=False), encoding="utf-8")
    if isinstance(bundle.audio_encoder, WhisperEncoder):
        torch.save(bundle.audio_encoder.openai_state(), directory / formats.REFERENCE_WHISPER)
        bundle = dataclasses.replace(bundle, audio_encoder=None)
    if isinstance(bundle.vision_encoder, ClipVision):
        torch.save(bundle.vision_encoder.openai_state(), directory / formats.REFERENCE_CLIP)
        bundle = dataclasses.replace(bundle, vision_encoder=None)
    save_parts(bundle, directory, storage)
    write_bundle_config(bundle, directory / formats.REFERENCE_EXTRA)

"""Writing a model with its parts in our own format."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from omni_core.checkpoint import formats
from omni_core.checkpoint.bundle import Bundle
from omni_core.codec.causal import CausalCodec
from omni_core.config import FORMAT, BundleConfig, to_dict
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.encoders.clip import ClipVision
from omni_core.encoders.patches import PatchVision
from omni_core.encoders.whisper import WhisperEncoder
from omni_core.errors import CheckpointError


def save_bundle(bundle: Bundle, directory: Path, *, storage: torch.dtype = torch.float32) -> None:
    """Write `bundle` to `directory` (made if missing; files of the same names are replaced).

    storage: how floating-point tensors are stored; float16 or bfloat16 halve the files, and are read back as float32 on the CPU. A SNAC codec
    has its own folder, which is for the caller to copy. Raises CheckpointError when the directory can't be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_state(bundle.model, directory / formats.MODEL, storage)
        save_parts(bundle, directory, storage)
        write_bundle_config(bundle, directory / formats.CONFIG)
    except OSError as error:
        raise CheckpointError(f"{directory}: can't be written ({error}): choose another directory") from error


def save_parts(bundle: Bundle, directory: Path, storage: torch.dtype) -> None:
    """Write the parts that have our own files: all but the language model and SNAC."""
    if isinstance(bundle.audio_encoder, ChunkedEncoder):
        save_state(bundle.audio_encoder, directory / formats.AUDIO_ENCODER, storage)
    if isinstance(bundle.audio_encoder, WhisperEncoder):
        save_state(bundle.audio_encoder.tower, directory / formats.AUDIO_ENCODER, storage)
    if bundle.vision_encoder is not None:
        save_state(bundle.vision_encoder, directory / formats.VISION_ENCODER, storage)
    if isinstance(bundle.codec, CausalCodec):
        save_state(bundle.codec, directory / formats.CODEC, storage)
    if bundle.end_of_turn is not None:
        save_state(bundle.end_of_turn, directory / formats.END_OF_TURN, torch.float32)
    if bundle.tokenizer is not None:
        bundle.tokenizer.save(directory / formats.TOKENIZER)


def bundle_config(bundle: Bundle) -> BundleConfig:
    """The configuration that describes `bundle`."""
    audio, vision, codec = bundle.audio_encoder, bundle.vision_encoder, bundle.codec
    return BundleConfig(
        format=FORMAT,
        model=bundle.model.config,
        listener=bundle.listener,
        audio_encoder=audio.config if isinstance(audio, ChunkedEncoder) else None,
        codec=codec.config if isinstance(codec, CausalCodec) else None,
        whisper=audio.config if isinstance(audio, WhisperEncoder) else None,
        clip=vision.config if isinstance(vision, ClipVision) else None,
        vision=vision.config if isinstance(vision, PatchVision) else None,
        memory_turns=bundle.memory_turns,
        end_of_turn=bundle.end_of_turn is not None,
        read_aloud=bundle.read_aloud,
    )


def write_bundle_config(bundle: Bundle, path: Path) -> None:
    """Write what `formats.read_bundle_config` reads back."""
    path.write_text(json.dumps(to_dict(bundle_config(bundle)), indent=2) + "\n", encoding="utf-8")


def save_state(module: nn.Module, path: Path, storage: torch.dtype) -> None:
    """Write all tensors of `module`."""
    save_file({key: stored(tensor, storage) for key, tensor in module.state_dict().items()}, path)
    path.chmod(0o644)  # safetensors makes files that only their owner can read: an image built from here would hold a model nobody can load


def stored(tensor: Tensor, storage: torch.dtype) -> Tensor:
    """`tensor` as it goes into a file: contiguous on the CPU, floating-point numbers in `storage`."""
    return tensor.detach().to("cpu", storage if tensor.is_floating_point() else tensor.dtype).contiguous()

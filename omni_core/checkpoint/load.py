"""Reading a model with its parts, from wherever it is. Only what is there is loaded; only the language model must be."""

from __future__ import annotations

import dataclasses
import os
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from omni_core.checkpoint import formats, random
from omni_core.checkpoint.bundle import Bundle
from omni_core.checkpoint.formats import Format
from omni_core.checkpoint.hub import download, download_snac, is_hub_name
from omni_core.checkpoint.names import EMBEDDING, HEAD, check_shapes, our_shapes, reference_shapes, shapes_of, to_ours, without_weights
from omni_core.checkpoint.reference_config import read_reference_config
from omni_core.codec.base import Codec
from omni_core.codec.causal import CausalCodec
from omni_core.codec.snac import SnacCodec
from omni_core.config import FORMAT, BundleConfig, ModelConfig
from omni_core.encoders.base import AudioEncoder
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.encoders.clip import ClipVision
from omni_core.encoders.patches import PatchVision
from omni_core.encoders.vision import VisionEncoder
from omni_core.encoders.whisper import WhisperEncoder
from omni_core.errors import CheckpointError, ConfigError
from omni_core.models import EndOfTurn, OmniModel
from omni_core.tokens import Tokenizer

NANO = "nano"


def load_bundle(source: str | os.PathLike[str], device: str | torch.device = "auto", dtype: torch.dtype | None = None) -> Bundle:
    """Load a model with the parts that are there.

    source: "nano" (bundled), a directory in our format or the reference's, a hub name such as "gpt-omni/mini-omni2", or random weights
        ("random:nano", "random:full").
    device: "auto" is CUDA where there is one, else the CPU.
    dtype: of the language model's weights, however they are stored; None: float32 on the CPU, bfloat16 elsewhere. Encoders and codec are float32.
    Raises CheckpointError (nothing there, a file or tensor that does not fit) and ConfigError (a wrong key), with the remedy.
    """
    device = pick_device(device)
    if str(source).startswith(random.PREFIX):
        return random.random_bundle(str(source), device, dtype)
    if dtype is None:
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    directory = resolve(source)
    if formats.detect(directory) is Format.REFERENCE:
        config, model = _load_reference(directory, dtype)
    else:
        config, model = _load_ours(directory, dtype)
    audio_encoder, vision_encoder = _load_audio_encoder(directory, config), _load_vision_encoder(directory, config)
    for part in (model, audio_encoder, vision_encoder):
        if isinstance(part, torch.nn.Module):
            part.to(device)
    downloaded = directory != Path(source) and is_hub_name(str(source))
    codec = _load_codec(directory, config, device, may_download=downloaded)
    name = str(source) if downloaded else config.model.name
    tokenizer, end_of_turn = _load_tokenizer(directory, config), _load_end_of_turn(directory, config, device)
    parts = (model, tokenizer, audio_encoder, vision_encoder, codec)
    return Bundle(*parts, name, config.listener, config.memory_turns, end_of_turn, config.read_aloud)


def resolve(source: str | os.PathLike[str]) -> Path:
    """The directory that `source` names, downloaded if it is a hub name. Raises CheckpointError when there is none."""
    if source == NANO:
        return Path(str(resources.files("omni_core") / "assets" / NANO))
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if isinstance(source, str) and is_hub_name(source):
        return download(source)
    raise CheckpointError(f"{source}: no such model: give {NANO!r}, a directory, or a hub name such as gpt-omni/mini-omni2")


def pick_device(device: str | torch.device) -> torch.device:
    """The device; "auto" is CUDA where there is one, else the CPU. Raises ConfigError for one that is unknown or not there."""
    try:
        found = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {device!r}: use auto, cpu or cuda") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} is not there: torch sees no CUDA; use cpu")
    return found


def _load_ours(directory: Path, dtype: torch.dtype) -> tuple[BundleConfig, OmniModel]:
    config = formats.read_bundle_config(directory / formats.CONFIG)
    file = directory / formats.MODEL
    state = formats.read_safetensors(file)
    check_shapes(shapes_of(state), our_shapes(config.model), str(file))
    return config, _build(config.model, state, dtype)


def _load_reference(directory: Path, dtype: torch.dtype) -> tuple[BundleConfig, OmniModel]:
    file = directory / formats.REFERENCE_MODEL
    derived = read_reference_config(directory / formats.REFERENCE_CONFIG)
    state = formats.read_pickled(file)
    if not any(key.startswith("vision_adapter.") for key in state):
        derived = dataclasses.replace(derived, vision_features=None)  # Mini-Omni, the first, sees nothing
    config = BundleConfig(format=FORMAT, model=derived, listener=None)
    extra = directory / formats.REFERENCE_EXTRA
    if extra.is_file():
        config = formats.read_bundle_config(extra)
        formats.check_config(extra, "model.backbone", config.model.backbone, derived.backbone)
    expected = reference_shapes(config.model)
    tied = {EMBEDDING, HEAD}
    if len(tied & state.keys()) == 1:  # one name is enough: they are one tensor
        (present,) = tied & state.keys()
        state = {**state, EMBEDDING: state[present], HEAD: state[present]}
    check_shapes(shapes_of(state), expected, str(file))
    if state[EMBEDDING].data_ptr() != state[HEAD].data_ptr() and not torch.equal(state[EMBEDDING], state[HEAD]):
        raise CheckpointError(f"{file}: {EMBEDDING} and {HEAD} differ, but this model family ties them: these weights can't be served")
    return config, _build(config.model, to_ours(state, config.model), dtype)


def _build(config: ModelConfig, state: dict[str, Tensor], dtype: torch.dtype) -> OmniModel:
    """A model that takes over `state`, copied to `dtype`: mapped files stay untouched, and no weight exists three times."""
    model, weights = without_weights(config), {}
    while state:
        key, tensor = state.popitem()
        weights[key] = tensor.to(dtype, copy=True)
    model.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)


def _load_tokenizer(directory: Path, config: BundleConfig) -> Tokenizer | None:
    if not any((directory / name).is_file() for name in (formats.TOKENIZER, "vocab.json")):
        return None
    tokenizer = Tokenizer.load(directory)
    if tokenizer.size > config.model.layout.text_tokens:
        raise CheckpointError(
            f"{directory}: the tokenizer has {tokenizer.size} ids, the model {config.model.layout.text_tokens}: copy the tokenizer that belongs to it"
        )
    return tokenizer


def _load_audio_encoder(directory: Path, config: BundleConfig) -> AudioEncoder | None:
    file = directory / formats.AUDIO_ENCODER
    if config.audio_encoder is not None:
        chunked = ChunkedEncoder(config.audio_encoder)
        formats.fill(chunked, formats.read_safetensors(file), file)
        _check_width(chunked.width, config.model.audio_features, file)
        return chunked
    if config.whisper is not None:
        whisper = WhisperEncoder(config.whisper)
        formats.fill(whisper.tower, formats.read_safetensors(file), file)
    else:
        file = directory / formats.REFERENCE_WHISPER
        if not file.is_file():
            return None
        whisper = WhisperEncoder.load(file)
    _check_width(whisper.width, config.model.audio_features, file)
    return whisper


def _check_width(given: int, taken: int | None, file: Path) -> None:
    if given != taken:
        raise CheckpointError(f"{file}: gives features {given} wide, the model takes {taken}: use the encoder it came with")


def _load_vision_encoder(directory: Path, config: BundleConfig) -> VisionEncoder | None:
    file = directory / formats.VISION_ENCODER
    if config.vision is not None:
        vision = PatchVision(config.vision)
        formats.fill(vision, formats.read_safetensors(file), file)
    elif config.clip is not None:
        vision = ClipVision(config.clip)
        formats.fill(vision, formats.read_safetensors(file), file)
    else:
        file = directory / formats.REFERENCE_CLIP
        if not file.is_file() or config.model.vision_features is None:
            return None
        vision = ClipVision.load(file)
    _check_width(vision.width, config.model.vision_features, file)
    return vision


def _load_end_of_turn(directory: Path, config: BundleConfig, device: torch.device) -> EndOfTurn | None:
    if not config.end_of_turn:
        return None
    head, file = EndOfTurn(config.model.backbone.width), directory / formats.END_OF_TURN
    formats.fill(head, formats.read_safetensors(file), file)
    return head.to(device)


def _load_codec(directory: Path, config: BundleConfig, device: torch.device, *, may_download: bool) -> Codec | None:
    if config.codec is not None:
        file = directory / formats.CODEC
        codec = CausalCodec(config.codec)
        formats.fill(codec, formats.read_safetensors(file), file)
        _check_codes(codec, config, file)
        return codec.to(device)
    snac = directory / formats.SNAC
    if not snac.is_dir():
        if not may_download:
            return None
        snac = download_snac()
    codec = SnacCodec.load(snac, device)
    _check_codes(codec, config, snac)
    return codec


def _check_codes(codec: Codec, config: BundleConfig, where: Path) -> None:
    if codec.codes != config.model.layout.codes:
        raise CheckpointError(f"{where}: {codec.codes} codes per book, but the model speaks {config.model.layout.codes}: use the codec it came with")

"""Where a stage starts: a model directory, or a new model put together from trained parts or from public weights.

"Any model can talk": a Qwen2 language model gets the rows of the audio codes and two new adapters; Whisper, CLIP and SNAC come as they are.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from omni_core.checkpoint import Bundle, load_bundle
from omni_core.checkpoint.formats import read_safetensors
from omni_core.checkpoint.hub import download, download_snac, is_hub_name
from omni_core.codec.base import Codec
from omni_core.codec.frames import LEVEL_COLUMNS
from omni_core.codec.snac import SnacCodec
from omni_core.config import BackboneConfig, LayoutConfig, ListenerConfig, ModelConfig
from omni_core.encoders.clip import ClipVision
from omni_core.encoders.whisper import WhisperEncoder
from omni_core.errors import CheckpointError, ConfigError
from omni_core.models import OmniModel
from omni_core.models.omni import INIT_STD
from omni_core.tokens import AUDIO_LAYERS, RELEASED, Tokenizer
from omni_core.training.codec import load_codec
from omni_core.training.encoders import load_encoder
from omni_core.training.tokenizer import train_tokenizer, training_texts
from omni_core.training.vision import load_vision

_ROUND_UP = 32  # rows of the embedding come in multiples of this
_SPECIALS = 7  # special ids of the text rows, and as many of each audio layer
_EMBEDDING = "embedding.weight"


@dataclass(frozen=True)
class NewModel:
    """A model from scratch, around parts that were trained here."""

    name: str
    audio_encoder: str  #: its weights, as `omni train encoders` writes them
    vision_encoder: str | None
    codec: str
    tokenizer: str  #: tokenizer.json; made from the texts of the skills when it isn't there
    tokenizer_size: int  #: ids
    backbone: BackboneConfig
    adapter_mlp: int
    memory_turns: int
    listener: ListenerConfig | None
    take_over: str | None = None  #: a model whose tokenizer and weights of the same shape are taken over, but for the codes' rows


@dataclass(frozen=True)
class PublicModel:
    """A model of the released size from public weights: hub names or local files."""

    name: str
    language_model: str  #: Qwen2-0.5B: a hub name or a folder with config.json, model.safetensors and tokenizer
    whisper: str  #: OpenAI's small.pt
    clip: str  #: OpenAI's ViT-B-32.pt
    snac: str | None  #: a folder with config.json and pytorch_model.bin; null: hubertsiuzdak/snac_24khz from the hub
    memory_turns: int = 0
    listener: ListenerConfig | None = None


def open_start(start: str | None, new: NewModel | None, public: PublicModel | None, seed: int) -> Bundle:
    """The model that a configuration starts from: exactly one of the three, else ConfigError. CheckpointError for a part that is not there."""
    given = sum(value is not None for value in (start, new, public))
    if given != 1:
        raise ConfigError(f"give exactly one of start, new and public, got {given}: what should the stage start from?")
    torch.manual_seed(seed)
    if new is not None:
        return _new(new, seed)
    if public is not None:
        return _public(public)
    return load_bundle(start or "", "cpu", torch.float32)


def layout_config(tokenizer: Tokenizer, codes: int) -> LayoutConfig:
    """The smallest layout for a tokenizer and a codec."""

    def rows(n: int) -> int:
        return -(-(n + _SPECIALS) // _ROUND_UP) * _ROUND_UP

    return LayoutConfig(tokenizer.size, rows(tokenizer.size), codes, rows(codes))


def _new(config: NewModel, seed: int) -> Bundle:
    before = None if config.take_over is None else load_bundle(config.take_over, "cpu", torch.float32)
    if before is not None and before.tokenizer is not None:
        tokenizer = before.tokenizer
    else:
        path = Path(config.tokenizer)
        if not path.is_file():
            train_tokenizer(training_texts(seed), config.tokenizer_size, path)
        tokenizer = Tokenizer.load(path)
    ear, codec = load_encoder(Path(config.audio_encoder)), load_codec(Path(config.codec))
    eye = None if config.vision_encoder is None else load_vision(Path(config.vision_encoder))
    shape = ModelConfig(
        config.name, layout_config(tokenizer, codec.codes), config.backbone, ear.width, None if eye is None else eye.width, config.adapter_mlp, False
    )
    model = OmniModel(shape)
    if before is not None:
        _take_over(model, before.model.state_dict())
    seed_codes(model, codec)
    return Bundle(model, tokenizer, ear, eye, codec, config.name, config.listener, config.memory_turns)


def _take_over(model: OmniModel, state: dict[str, Tensor]) -> None:
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    if _EMBEDDING not in fitting:
        raise CheckpointError("take_over: the models differ in their tokenizers or codebooks: their embeddings can't be shared")
    model.load_state_dict(fitting, strict=False)


def _public(config: PublicModel) -> Bundle:
    folder = _local(config.language_model)
    backbone, weights = read_qwen2(folder)
    ear, eye = WhisperEncoder.load(Path(config.whisper)), ClipVision.load(Path(config.clip))
    codec = SnacCodec.load(Path(config.snac) if config.snac else download_snac(), torch.device("cpu"))
    layout = dataclasses.replace(RELEASED, codes=codec.codes)
    shape = ModelConfig(config.name, layout, backbone, ear.width, eye.width, backbone.mlp, image_overwrites_input=False)
    model = OmniModel(shape)
    embedding = weights.pop(_EMBEDDING)
    if embedding.shape[1] != backbone.width or embedding.shape[0] > layout.text_rows:
        raise CheckpointError(f"{folder}: an embedding of {tuple(embedding.shape)} does not fit {layout.text_rows} text rows: use Qwen2-0.5B")
    with torch.no_grad():
        model.embedding.weight[: len(embedding)] = embedding
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or any(name.startswith("backbone.") for name in missing):
        raise CheckpointError(f"{folder}: not the weights of a Qwen2 model ({[*unexpected, *missing][:3]} ...)")
    seed_codes(model, codec)
    return Bundle(model, Tokenizer.load(folder), ear, eye, codec, config.name, config.listener, config.memory_turns)


@torch.no_grad()
def seed_codes(model: OmniModel, codec: Codec) -> None:
    """Let the rows of the codes start from the codebooks: codes that sound alike begin alike, as words of one meaning would.

    Each of the seven layers gets its own random projection of its level's vectors, at the scale of a fresh embedding. Otherwise every
    code of every layer has to be learned by itself (docs/training.md has a comparison).
    """
    for level, (vectors, columns) in enumerate(zip(codec.code_vectors(), LEVEL_COLUMNS, strict=True)):
        vectors = ((vectors - vectors.mean(0)) / vectors.std()).to(model.embedding.weight.device)
        for layer in columns:
            draws = torch.Generator().manual_seed(AUDIO_LAYERS * level + layer)
            projection = torch.randn(vectors.shape[1], model.config.backbone.width, generator=draws).to(vectors) / vectors.shape[1] ** 0.5
            first = model.layout.audio_id(layer, 0)
            model.embedding.weight[first : first + model.layout.codes] = INIT_STD * (vectors @ projection)


def _local(source: str) -> Path:
    if Path(source).is_dir():
        return Path(source)
    if is_hub_name(source):
        return download(source)
    raise CheckpointError(f"{source}: no such folder: give one, or a hub name such as Qwen/Qwen2-0.5B")


def read_qwen2(folder: Path) -> tuple[BackboneConfig, dict[str, Tensor]]:
    """A Qwen2 checkpoint in the hub's layout: its sizes, and its weights under our names in float32. Raises CheckpointError."""
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        heads = told["num_attention_heads"]
        backbone = BackboneConfig(
            layers=told["num_hidden_layers"],
            width=told["hidden_size"],
            heads=heads,
            kv_heads=told["num_key_value_heads"],
            head_size=told["hidden_size"] // heads,
            mlp=told["intermediate_size"],
            rope_base=float(told["rope_theta"]),
            norm_eps=told["rms_norm_eps"],
            max_positions=2048,
        )
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: no Qwen2 configuration ({error!r})") from error
    state = read_safetensors(folder / "model.safetensors")
    ours: dict[str, Tensor] = {}
    try:
        ours[_EMBEDDING] = state["model.embed_tokens.weight"].float()
        ours["backbone.norm.weight"] = state["model.norm.weight"].float()
        for layer in range(backbone.layers):
            theirs, mine = f"model.layers.{layer}.", f"backbone.blocks.{layer}."
            for kind in ("weight", "bias"):
                ours[f"{mine}attention.qkv.{kind}"] = torch.cat([state[f"{theirs}self_attn.{part}_proj.{kind}"].float() for part in "qkv"])
            ours[f"{mine}attention.out.weight"] = state[f"{theirs}self_attn.o_proj.weight"].float()
            ours[f"{mine}attention_norm.weight"] = state[f"{theirs}input_layernorm.weight"].float()
            ours[f"{mine}mlp_norm.weight"] = state[f"{theirs}post_attention_layernorm.weight"].float()
            ours[f"{mine}mlp.gate_up.weight"] = torch.cat([state[f"{theirs}mlp.{part}_proj.weight"].float() for part in ("gate", "up")])
            ours[f"{mine}mlp.down.weight"] = state[f"{theirs}mlp.down_proj.weight"].float()
    except KeyError as error:
        raise CheckpointError(f"{folder / 'model.safetensors'}: holds no tensor {error}: is it a Qwen2 model?") from error
    return backbone, ours

"""The reference's `model_config.yaml` <-> `ModelConfig`.

Of its keys some give sizes, some must have the one value this model family has, some say nothing here. Any other is warned about.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import yaml

from omni_core.config import BackboneConfig, LayoutConfig, ModelConfig
from omni_core.errors import CheckpointError
from omni_core.tokens import AUDIO_LAYERS, RELEASED

_log = logging.getLogger(__name__)

_REALS = ("rope_base", "norm_eps")
_SIZES = (
    "n_layer", "n_embd", "n_head", "n_query_groups", "head_size", "intermediate_size", "block_size", "padded_vocab_size", "text_vocab_size",
    "audio_vocab_size", "whisper_adapter_dim", *_REALS,
)  # fmt: skip
_FIXED: dict[str, Any] = {
    "rotary_percentage": 1.0,
    "parallel_residual": False,
    "bias": False,
    "lm_head_bias": False,
    "add_qkv_bias": True,
    "shared_attention_norm": False,
    "norm_class_name": "RMSNorm",
    "mlp_class_name": "LLaMAMLP",
    "tie_word_embeddings": True,
    "asr_adapter": "llamamlp",
    "post_adapter": False,
    "scale_embeddings": False,
    "pos_type": "rope",
    "rope_condense_ratio": 1,
    "n_expert": 0,
}
# `vocab_size` is stale in the release (50254); the others follow from the sizes, or are litgpt's and without effect on this family.
_IGNORED = {
    "name", "hf_config", "vocab_size", "padding_multiple", "cat_audio_vocab_size", "vision_adapter_dim", "gelu_approximate", "n_expert_per_token",
    "prompt_vocab_size", "attn_dropout", "force_align", "use_pretrain_phoneme_emb", "post_adapter_layers",
}  # fmt: skip
# What the reference's Config takes a key to be when the file leaves it out.
_DEFAULTS: dict[str, Any] = {
    "text_vocab_size": RELEASED.text_rows,
    "audio_vocab_size": RELEASED.audio_rows,
    "whisper_adapter_dim": 768,
    "vision_adapter_dim": 512,
}

# The release's padding of both vocabularies: ids from the table's end that the tokenizer and the codec never use.
_TEXT_SPECIALS = RELEASED.text_rows - RELEASED.text_tokens
_AUDIO_SPECIALS = RELEASED.audio_rows - RELEASED.codes


def read_reference_config(path: Path) -> ModelConfig:
    """Read `model_config.yaml`. Raises CheckpointError naming the key that is missing, mistyped or asks for another architecture."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: can't be read ({error}): download it again") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected keys and values: download it again")
    data = _DEFAULTS | data
    for key in _SIZES:
        if key not in data:
            raise CheckpointError(f"{path}: key {key!r} is missing: is this the reference's model_config.yaml?")
        data[key] = _positive(data[key], key, path)
    for key, value in _FIXED.items():
        if data.get(key, value) != value:
            raise CheckpointError(f"{path}: {key} is {data[key]!r}: only {value!r} is supported")
    for key in sorted(data.keys() - _FIXED.keys() - _IGNORED - set(_SIZES), key=str):
        _log.warning("%s: key %r is not known and has no effect", path, key)
    return _from_yaml(data, path)


def _positive(value: Any, key: str, path: Path) -> int | float:
    if key in _REALS and isinstance(value, str):  # YAML 1.1 reads 1e-06 as a string
        with contextlib.suppress(ValueError):
            value = float(value)
    kinds = int | float if key in _REALS else int
    if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
        raise CheckpointError(f"{path}: {key} is {value!r}, expected a positive number")
    return value


def _from_yaml(data: dict[str, Any], path: Path) -> ModelConfig:
    layout = LayoutConfig(
        text_tokens=data["text_vocab_size"] - _TEXT_SPECIALS,
        text_rows=data["text_vocab_size"],
        codes=data["audio_vocab_size"] - _AUDIO_SPECIALS,
        audio_rows=data["audio_vocab_size"],
    )
    rows = layout.text_rows + AUDIO_LAYERS * layout.audio_rows
    if data["n_head"] % data["n_query_groups"]:
        raise CheckpointError(f"{path}: n_head {data['n_head']} is no multiple of n_query_groups {data['n_query_groups']}")
    if rows != data["padded_vocab_size"]:
        raise CheckpointError(f"{path}: padded_vocab_size is {data['padded_vocab_size']}, but the vocabularies have {rows} rows")
    return ModelConfig(
        name=path.resolve().parent.name,
        layout=layout,
        backbone=BackboneConfig(
            layers=data["n_layer"],
            width=data["n_embd"],
            heads=data["n_head"],
            kv_heads=data["n_query_groups"],
            head_size=data["head_size"],
            mlp=data["intermediate_size"],
            rope_base=float(data["rope_base"]),
            norm_eps=float(data["norm_eps"]),
            max_positions=data["block_size"],
        ),
        audio_features=data["whisper_adapter_dim"],
        vision_features=data["vision_adapter_dim"],
        adapter_mlp=data["intermediate_size"],
        image_overwrites_input=True,
    )


def reference_config(config: ModelConfig) -> dict[str, Any]:
    """The keys of `model_config.yaml` for `config`, as far as they can say it."""
    backbone, layout = config.backbone, config.layout
    data: dict[str, Any] = {
        "name": config.name,
        "block_size": backbone.max_positions,
        "vocab_size": layout.text_tokens,
        "padded_vocab_size": layout.text_rows + AUDIO_LAYERS * layout.audio_rows,
        "n_layer": backbone.layers,
        "n_embd": backbone.width,
        "n_head": backbone.heads,
        "n_query_groups": backbone.kv_heads,
        "head_size": backbone.head_size,
        "intermediate_size": backbone.mlp,
        "norm_eps": backbone.norm_eps,
        "rope_base": int(backbone.rope_base),
        "text_vocab_size": layout.text_rows,
        "audio_vocab_size": layout.audio_rows,
        "cat_audio_vocab_size": AUDIO_LAYERS * layout.audio_rows,
        "whisper_adapter_dim": config.audio_features,
        **_FIXED,
    }
    if config.vision_features is not None:
        data["vision_adapter_dim"] = config.vision_features
    return data

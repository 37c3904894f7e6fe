"""The reference's parameter names beside ours, as data, and the check that nothing is missing, left over or misshapen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from omni_core.config import BackboneConfig, ModelConfig
from omni_core.errors import CheckpointError
from omni_core.models import OmniModel

State = dict[str, Tensor]

EMBEDDING = "transformer.wte.weight"
HEAD = "lm_head.weight"  # tied to EMBEDDING
_MOST_NAMED = 5  # problems that one error lists


@dataclass(frozen=True)
class Rename:
    """One tensor of ours and the tensors of the reference that make it; `{i}` stands for a layer's number."""

    ours: str
    reference: tuple[str, ...]  #: joined along dimension 0 when several
    per_group: bool = False  #: rows are ordered (q, k, v) per key-value group there; all q, all k, all v here


RENAMES = (
    Rename("embedding.weight", (EMBEDDING,)),
    Rename("audio_adapter.gate_up.weight", ("whisper_adapter.fc_1.weight", "whisper_adapter.fc_2.weight")),
    Rename("audio_adapter.down.weight", ("whisper_adapter.proj.weight",)),
    Rename("vision_adapter.gate_up.weight", ("vision_adapter.fc_1.weight", "vision_adapter.fc_2.weight")),
    Rename("vision_adapter.down.weight", ("vision_adapter.proj.weight",)),
    Rename("backbone.blocks.{i}.attention_norm.weight", ("transformer.h.{i}.norm_1.weight",)),
    Rename("backbone.blocks.{i}.attention.qkv.weight", ("transformer.h.{i}.attn.attn.weight",), per_group=True),
    Rename("backbone.blocks.{i}.attention.qkv.bias", ("transformer.h.{i}.attn.attn.bias",), per_group=True),
    Rename("backbone.blocks.{i}.attention.out.weight", ("transformer.h.{i}.attn.proj.weight",)),
    Rename("backbone.blocks.{i}.mlp_norm.weight", ("transformer.h.{i}.norm_2.weight",)),
    Rename("backbone.blocks.{i}.mlp.gate_up.weight", ("transformer.h.{i}.mlp.fc_1.weight", "transformer.h.{i}.mlp.fc_2.weight")),
    Rename("backbone.blocks.{i}.mlp.down.weight", ("transformer.h.{i}.mlp.proj.weight",)),
    Rename("backbone.norm.weight", ("transformer.ln_f.weight",)),
)


class _Undrawn(TorchFunctionMode):
    """Leaves new parameters as they are: to draw them without storage torch would import its compiler, which takes as long as all the rest."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == torch.nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def without_weights(config: ModelConfig) -> OmniModel:
    """A model whose tensors have a shape and no storage, to be given some."""
    with torch.device("meta"), _Undrawn():
        return OmniModel(config)


def our_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Every tensor of a model of ours."""
    return shapes_of(without_weights(config).state_dict())


def reference_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Every tensor of the same model in the reference's layout, the tied head included."""
    return shapes_of(to_reference({key: torch.empty(shape, device="meta") for key, shape in our_shapes(config).items()}, config))


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in state.items()}


def to_ours(state: Mapping[str, Tensor], config: ModelConfig) -> State:
    """Rename, join and reorder a complete state of the reference; the tied head is left out."""
    result: State = {}
    for rename in _for_layers(config):
        parts = [state[name] for name in rename.reference]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        result[rename.ours] = tensor[_group_order(config.backbone)] if rename.per_group else tensor
    return result


def to_reference(state: Mapping[str, Tensor], config: ModelConfig) -> State:
    """The inverse of `to_ours`, with the tied head under its own name too."""
    result: State = {}
    for rename in _for_layers(config):
        tensor = state[rename.ours]
        if rename.per_group:
            tensor = tensor[_group_order(config.backbone).argsort()]
        result |= zip(rename.reference, tensor.chunk(len(rename.reference)), strict=True)
    result[HEAD] = result[EMBEDDING]
    return result


def check_shapes(found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size], where: str, source: Literal["model", "part"] = "model") -> None:
    """CheckpointError that names every (at most five) missing, left-over or misshapen tensor of file `where`, and what to do."""
    problems = [f"{key} is missing, expected {list(shape)}" for key, shape in expected.items() if key not in found]
    problems += [f"{key} {list(shape)} is left over" for key, shape in found.items() if key not in expected]
    problems += [f"{key} is {list(found[key])}, expected {list(shape)}" for key, shape in expected.items() if key in found and found[key] != shape]
    if not problems:
        return
    more = f"; and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
    remedy = "does its configuration belong to these weights? Download or convert both again" if source == "model" else "download or convert it again"
    raise CheckpointError(f"{where}: {'; '.join(problems[:_MOST_NAMED])}{more}: {remedy}")


def _for_layers(config: ModelConfig) -> list[Rename]:
    """RENAMES with the numbers filled in, less what `config` has no part for."""
    result = []
    for rename in RENAMES:
        if rename.ours.startswith("vision_adapter.") and config.vision_features is None:
            continue
        for i in range(config.backbone.layers) if "{i}" in rename.ours else (0,):
            names = tuple(name.format(i=i) for name in rename.reference)
            result.append(Rename(rename.ours.format(i=i), names, rename.per_group))
    return result


def _group_order(config: BackboneConfig) -> Tensor:
    """Row r of our q, k, v is row order[r] of the reference's, which holds (q_per_group, k, v) of each group in turn."""
    per_group = config.heads // config.kv_heads + 2
    rows = torch.arange(config.kv_heads * per_group * config.head_size).view(config.kv_heads, per_group, config.head_size)
    return torch.cat([rows[:, :-2].flatten(), rows[:, -2].flatten(), rows[:, -1].flatten()])

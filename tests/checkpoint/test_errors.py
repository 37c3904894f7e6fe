"""What is wrong with a checkpoint is named, with both shapes and what to do."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor

from omni_core.checkpoint import Bundle, hub, load_bundle, save_bundle
from omni_core.checkpoint.names import check_shapes, reference_shapes
from omni_core.checkpoint.reference_config import read_reference_config
from omni_core.errors import CheckpointError, ConfigError
from tests.parity import reference

NORM = "transformer.ln_f.weight"
QKV = "transformer.h.1.attn.attn.weight"


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Callable[..., Path]:
    """A model-only copy of the released layout with its tensors or its configuration changed."""

    def make(state: Callable[[dict[str, Tensor]], None] = lambda _: None, config: dict[str, Any] | None = None) -> Path:
        tensors = torch.load(released / "lit_model.pth", weights_only=True)
        state(tensors)
        torch.save(tensors, tmp_path / "lit_model.pth")
        data = yaml.safe_load((released / "model_config.yaml").read_text()) | (config or {})
        (tmp_path / "model_config.yaml").write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not ...}))
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop(NORM), rf"{NORM} is missing, expected \[32\]"),
        (lambda state: state.update(extra=torch.zeros(3)), r"extra \[3\] is left over"),
        (lambda state: state.update({QKV: torch.zeros(7, 32)}), rf"{QKV} is \[7, 32\], expected \[80, 32\]"),
        (lambda state: state.update({"lm_head.weight": state["lm_head.weight"] + 1}), "ties them"),
    ],
)
def test_reference_tensors(copy: Callable[..., Path], change: Callable[[dict[str, Tensor]], None], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_bundle(copy(change), "cpu")


def test_one_name_of_the_tied_pair_is_enough(copy: Callable[..., Path]) -> None:
    load_bundle(copy(lambda state: state.pop("transformer.wte.weight")), "cpu")


def test_many_problems_are_counted() -> None:
    expected = {f"t{i}": torch.Size([i]) for i in range(9)}
    with pytest.raises(CheckpointError, match=r"t4 is missing, expected \[4\]; and 4 more: "):
        check_shapes({}, expected, "file")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_layer": 3}, r"transformer\.h\.2\.norm_1\.weight is missing"),
        ({"n_embd": ...}, "'n_embd' is missing"),
        ({"n_head": "six"}, "n_head is 'six'"),
        ({"n_head": 5}, "no multiple of n_query_groups"),
        ({"norm_class_name": "LayerNorm"}, "only 'RMSNorm' is supported"),
        ({"padded_vocab_size": 7}, "padded_vocab_size is 7, but the vocabularies have 992 rows"),
    ],
)
def test_reference_configuration(copy: Callable[..., Path], config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_bundle(copy(config=config), "cpu")


def test_unknown_keys_of_the_reference_are_warned_about(copy: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_bundle(copy(config={"flux_capacitor": 1, "norm_eps": "1e-06", "attn_dropout": 0.0}), "cpu")
    assert ["flux_capacitor" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_names_and_configuration_of_the_reference(size: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "model_config.yaml").write_text(yaml.safe_dump(reference.config(size)))
    config = read_reference_config(tmp_path / "model_config.yaml")
    assert {key: tuple(shape) for key, shape in reference_shapes(config).items()} == reference.shapes(size)
    assert not caplog.records


def test_our_format(nano: Bundle, tmp_path: Path) -> None:
    save_bundle(nano, tmp_path)
    weights = load_file(tmp_path / "codec.safetensors")
    name, tensor = weights.popitem()
    save_file(weights, tmp_path / "codec.safetensors")
    with pytest.raises(CheckpointError, match=f"{name} is missing") as caught:
        load_bundle(tmp_path, "cpu")
    assert str(list(tensor.shape)) in str(caught.value)
    (tmp_path / "codec.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"codec\.safetensors"):
        load_bundle(tmp_path, "cpu")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"speed": 9}))
    with pytest.raises(ConfigError, match="unknown key 'speed'"):
        load_bundle(tmp_path, "cpu")
    (tmp_path / "config.json").write_text(json.dumps(config | {"format": "omni-duplex/9"}))
    with pytest.raises(CheckpointError, match="omni-duplex/9"):
        load_bundle(tmp_path, "cpu")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
@pytest.mark.parametrize("name", ["lit_model.pth", "model_config.yaml"])
def test_damaged_files(copy: Callable[..., Path], name: str, content: bytes) -> None:
    directory = copy()
    (directory / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_bundle(directory, "cpu")


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("owned"),))


def test_pickles_are_not_executed(copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    directory = copy(lambda state: state.update(evil=_Evil()))  # type: ignore[dict-item]
    monkeypatch.chdir(directory)
    with pytest.raises(CheckpointError, match="plain tensors"):
        load_bundle(directory, "cpu")
    assert not Path("owned").exists()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model here: expected config\.json"):
        load_bundle(tmp_path, "cpu")
    with pytest.raises(CheckpointError, match="no such model"):
        load_bundle(tmp_path / "absent", "cpu")
    with pytest.raises(CheckpointError, match="no such model"):
        load_bundle("milli", "cpu")


def test_hub(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        assert "lit_model.pth" in allow_patterns
        return str(released)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    assert load_bundle("gpt-omni/mini-omni2", "cpu").name == "gpt-omni/mini-omni2"
    assert asked == ["gpt-omni/mini-omni2"]


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match="check the connection, or download it elsewhere"):
        load_bundle("gpt-omni/mini-omni2", "cpu")

"""Puts trained parts together into a model directory in our own format."""

from __future__ import annotations

from pathlib import Path

import torch

from omni_core.checkpoint import Bundle, save_bundle
from omni_core.models import OmniModel
from omni_core.tokens import Tokenizer
from omni_core.training.checkpoints import load_weights
from omni_core.training.dialogues import model_config
from omni_core.training.lm import open_source, read_config


def run(config_path: Path, directory: Path) -> None:
    """Write the language model that `config_path` (an LMTraining file) has trained so far, with its encoder, codec and tokenizer, in 16 bits.

    Raises CheckpointError when a part is not trained yet.
    """
    config = read_config(config_path)
    source = open_source(config, config_path.parent)
    model = OmniModel(model_config("nano", source.layout_config, config.backbone, source.encoder.width, config.adapter_mlp))
    load_weights(Path(config.out) / "state.pt", model)
    bundle = Bundle(model, Tokenizer.load(Path(config.tokenizer)), source.encoder, None, source.codec, "nano", listener=None)
    save_bundle(bundle, directory, storage=torch.float16)

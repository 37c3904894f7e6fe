"""Checkpoints: reading, writing and converting models in our own format and in the reference's."""

from omni_core.checkpoint.bundle import Bundle
from omni_core.checkpoint.convert import convert
from omni_core.checkpoint.load import load_bundle
from omni_core.checkpoint.save import save_bundle

__all__ = ["Bundle", "convert", "load_bundle", "save_bundle"]

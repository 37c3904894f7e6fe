"""Downloading models by name from the Hugging Face hub. Only the files that are read are fetched."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from omni_core.checkpoint import formats
from omni_core.errors import CheckpointError

SNAC_NAME = "hubertsiuzdak/snac_24khz"

_TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"]
_MODEL_FILES = [
    formats.REFERENCE_MODEL,
    formats.REFERENCE_CONFIG,
    formats.REFERENCE_WHISPER,
    formats.REFERENCE_CLIP,
    formats.REFERENCE_EXTRA,
    formats.CONFIG,
    *_TOKENIZER_FILES,
    "*.safetensors",
    f"{formats.SNAC}/*",
]
_SNAC_FILES = ["config.json", "pytorch_model.bin"]


def is_hub_name(source: str) -> bool:
    """`owner/name`, and not a path."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source) is not None


def download(name: str) -> Path:
    """The local directory of model `name`, fetched if it isn't there yet. Raises CheckpointError when it can't be, with the remedy."""
    return _snapshot(name, _MODEL_FILES)


def download_snac() -> Path:
    """The same for SNAC, which released models share."""
    return _snapshot(SNAC_NAME, _SNAC_FILES)


def _snapshot(name: str, files: list[str]) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"{name}: the hub has no such model, or not for you: check the name, or log in with `hf auth login`") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"{name}: can't be downloaded ({error}): check the connection, or download it elsewhere (`hf download {name}`) and give its directory"
        ) from error

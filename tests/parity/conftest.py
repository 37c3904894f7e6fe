"""One checkpoint of formula weights per size and session."""

from __future__ import annotations

from pathlib import Path

import pytest

from omni_core.checkpoint import load_bundle
from omni_core.models import OmniModel
from tests.parity.reference import write_checkpoint


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint("tiny", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_model(tiny_directory: Path) -> OmniModel:
    return load_bundle(tiny_directory, "cpu").model

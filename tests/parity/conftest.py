"""One checkpoint of formula weights per size and session."""

from __future__ import annotations

from pathlib import Path

import pytest

import omni_core
from omni_core.api import Omni
from omni_core.models import OmniModel
from tests.parity.reference import write_checkpoint


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint("tiny", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_directory: Path) -> Omni:
    return omni_core.load(tiny_directory, device="cpu")


@pytest.fixture(scope="session")
def tiny_model(tiny: Omni) -> OmniModel:
    return tiny.bundle.model


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Omni:
    """541 M parameters in float32: 2.2 GB on disk, about 4 GB of memory while loading."""
    return omni_core.load(write_checkpoint("full", tmp_path_factory.mktemp("full")), device="cpu")

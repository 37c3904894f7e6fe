"""The small models, made once."""

from pathlib import Path

import pytest

from omni_core.checkpoint import Bundle
from tests.small import small_nano, write_released


@pytest.fixture(scope="session")
def nano() -> Bundle:
    return small_nano()


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released(tmp_path_factory.mktemp("released"))

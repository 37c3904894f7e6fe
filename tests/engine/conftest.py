"""Fixtures from `parts`."""

import pytest

from omni_core.models import OmniModel
from tests.engine.parts import make_model


@pytest.fixture(scope="session")
def random_model() -> OmniModel:
    """A small model with random weights."""
    return make_model()

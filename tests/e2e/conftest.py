"""A real server with nano in another process, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.commands.server_process import running_server


@pytest.fixture(scope="session")
def nano_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where nano is served."""
    log: Path = tmp_path_factory.mktemp("server") / "server.log"
    with running_server(log, "--device", "cpu") as port:
        yield f"ws://127.0.0.1:{port}/v1/realtime"

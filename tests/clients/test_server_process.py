"""The demo's server: what its failure looks like."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from clients.commands.server_process import running_server
from clients.errors import ClientError


def test_a_server_that_can_t_start_shows_its_last_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    log = tmp_path / "logs" / "server.log"
    with pytest.raises(ClientError, match="stopped with status 2 before it was ready"), running_server(log, "--model", str(tmp_path / "no-model")):
        pass
    assert f"{tmp_path / 'no-model'}: no such model" in capsys.readouterr().err
    assert "no such model" in log.read_text()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_server_that_is_never_ready_is_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\necho loading for ever\nexec sleep 60\n")
    sleeper.chmod(0o755)
    with pytest.raises(ClientError, match=r"not ready within 0\.5 s"), running_server(tmp_path / "log", python=str(sleeper), timeout_s=0.5):
        pass
    assert "loading for ever" in capsys.readouterr().err

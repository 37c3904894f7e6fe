"""`omni load` against a real server with nano."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients import cli
from clients.commands.server_process import running_server

PLACES = 4


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where nano is served, to four at once."""
    log: Path = tmp_path_factory.mktemp("server") / "server.log"
    with running_server(log, "--device", "cpu", "--slots", str(PLACES), "--max-sessions", str(PLACES)) as port:
        yield f"ws://127.0.0.1:{port}/v1/realtime"


def _load(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert cli.main(["load", "--json", *options]) == 0
    rounds = json.loads(capsys.readouterr().out)["rounds"]
    assert len(rounds) == 1
    return rounds[0]


def test_four_people_talk_and_hear_answers(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report" / "load.html"
    found = _load(capsys, "--url", url, "--users", str(PLACES), "--processes", "2", "--seconds", "10", "--report", str(report))
    counts = found["counts"]
    assert counts["connected"] == PLACES
    assert counts["answers"] > 0
    assert not any(counts[fault] for fault in ("refused", "disconnected", "busy", "failed", "unanswered")), found["problems"]
    assert found["client_ttfa_ms"]["p50"] > 200  # the silence that ends a turn
    assert 0 < found["server_ttfa_ms"]["p50"] < found["client_ttfa_ms"]["p50"]
    assert found["chunks"] > 10
    assert -2000 < found["lateness_ms"]["p50"] <= found["lateness_ms"]["p99"] <= found["lateness_ms"]["max"]
    assert 0 < found["heard_at_once"] <= PLACES
    assert found["server_cores"] > 0
    assert "nano" not in report.read_text().partition("<main>")[0]  # a server that ran: nobody knows what it serves


def test_those_for_whom_there_is_no_room_are_counted(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = _load(capsys, "--url", url, "--users", str(PLACES + 2), "--scenario", "speak", "--seconds", "5")
    assert found["counts"]["connected"] == PLACES
    assert found["counts"]["refused"] == 2
    assert any("busy: 4 sessions are open" in words for words in found["problems"])
    assert not found["kept_up"]
    assert found["chunks"] > 0

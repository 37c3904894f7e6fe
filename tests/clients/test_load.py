"""`omni load`: what counts as late, how figures add up, how the most users are found, what the page shows."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from clients import cli
from clients.commands.load_figures import Load, tables
from clients.commands.load_report import render
from clients.errors import ClientError
from clients.loadtest.ear import Heard, read
from clients.loadtest.plan import Plan, Scenario
from clients.loadtest.run import Moment, Round, run
from clients.loadtest.search import search
from clients.loadtest.tally import Count, Distribution, Tally
from clients.loadtest.watch import Watch
from server.protocol import server_events as events
from server.protocol.wire import serialise

CHUNK = 2400  #: 0.1 s


def test_a_chunk_is_late_when_all_before_it_has_been_played() -> None:
    heard = Heard(created_at=9.0)
    arrivals = [10.0, 10.05, 10.19, 10.32, 10.40, 10.90]  # the fourth when the first three have been over for 0.02 s, so the fifth is due at 10.42
    lateness = [heard.push(CHUNK, at) for at in arrivals]
    assert lateness == [None, *map(pytest.approx, (-0.05, -0.01, 0.02, -0.02, 0.38))]
    assert heard.late == 2
    assert heard.player.ends() == pytest.approx(11.0)
    assert heard.plays(10.95)
    assert not heard.plays(11.05)


@pytest.mark.parametrize("samples", [1, 2, 3, 2048, 2049, 2050])
def test_samples_are_counted_without_decoding(samples: int) -> None:
    place = events.Place("resp_1", "item_1")
    assert read(serialise({"event_id": "e", **events.audio_delta(place, bytes(2 * samples))}).encode()) == samples
    assert read(serialise({"event_id": "e", **events.transcript_delta(place, "response.output_audio.delta")}).encode()) is None
    done = events.response_done({"id": "resp_1", "status": "completed", "output": [{"type": "response.output_audio.delta"}]})
    assert read(serialise(done).encode()) == done
    with pytest.raises(ClientError, match="is this a Realtime server"):
        read(b"hello")


def test_figures_of_processes_add_up() -> None:
    total = Tally()
    for number in range(4):  # of 25 chunks each
        part = Tally(speaking_s=2.0)
        for at in range(25):
            part.lateness.add((25 * number + at - 98) / 1000)
        part.problem(Count.BUSY, "full")
        total.merge(Tally.from_json(json.loads(json.dumps(part.to_json()))))
    assert len(total.lateness) == 100
    assert total.lateness.percentile(50) == -49
    assert total.lateness.percentile(99) == 0
    assert total.lateness.highest == 1
    assert total.lateness.above(0) == 1
    assert total.speaking_s == 8.0
    assert total.counts[Count.BUSY] == total.problems["full"] == 4
    assert Distribution().percentile(99) is None


@pytest.mark.parametrize(("bears", "most", "found"), [(0, 64, 0), (1, 64, 1), (5, 64, 5), (37, 64, 36), (999, 48, 48)])
def test_the_most_users_are_found_to_one_in_sixteen(bears: int, most: int, found: int) -> None:
    tried = [4]
    tries = search(4, most)
    assert next(tries) == 4

    def result() -> int:
        try:
            while True:
                tried.append(tries.send(tried[-1] <= bears))
        except StopIteration as ended:
            return ended.value

    assert result() == found
    assert len(tried) == len(set(tried)) < 10


def _round(users: int, late_ms: float) -> Round:
    total = Tally(audio_s=9.0 * users, speaking_s=9.0 * users, online_s=10.0 * users, cpu_s=0.5)
    for _ in range(100):
        total.lateness.add(late_ms / 1000)
        total.ttfa.add(0.3)
        total.stop.add(0.2)
    total.counts.update({Count.ANSWERS: 100, Count.INTERRUPTED: 100})
    total.problems["it said <no>"] = 1
    return Round(Plan("ws://x", Scenario.DUPLEX, users, 10.0), 1, 10.0, total, {0: Moment(0.0, 10.0, total)})


def test_the_page_holds_all_and_loads_nothing() -> None:
    load = Load("omni load --users 8,4", "nano", (_round(8, 20.0), _round(4, -30.0)), machine="a machine", date="2026-11-21")
    assert load.most == 4
    page = render(load)
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == []
    assert "@import" not in page
    for title in ("Lateness of chunks", "Time to the first audio", "Lateness of chunks over time", "Onset of an interruption to silence"):
        assert f'aria-label="{title}' in page
    assert "it said &lt;no&gt;" in page
    assert all(table.title in page for table in tables(load))
    assert "prefers-color-scheme: dark" in page
    assert [found["kept_up"] for found in load.to_json()["rounds"]] == [False, True]


async def test_a_server_that_goes_away_is_an_error_with_figures() -> None:
    async def greet(socket: ServerConnection) -> None:
        await socket.send('{"type": "session.created", "session": {}}')
        await socket.recv()  # somebody asks
        await asyncio.sleep(0.3)
        await socket.close(1011, "out of order")

    async with serve(greet, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = await run(Plan(url, Scenario.SPEAK, 3, 60.0), 2, lambda second: None, asyncio.Event())
    assert found.error is not None
    assert "out of order" in found.error
    assert found.total.counts[Count.DISCONNECTED] == 3
    assert not found.kept_up
    assert 0.2 < found.seconds < 10
    with pytest.raises(ClientError, match="no server answers there"):
        await run(Plan(url, Scenario.SPEAK, 3, 60.0), 2, lambda second: None, asyncio.Event())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--processes", "0"], "at least one"),
        (["--find", "--users", "4,8"], "give --users one"),
        (["--url", "ws://127.0.0.1:9", "--serve", "--slots 4"], "drop one of them"),
        (["--serve", "'"], "No closing quotation"),
        (["--report", "/"], "can't be written"),
        (["--url", "ws://127.0.0.1:9/v1/realtime"], "no server answers there"),
        (["--serve", "--slots none"], "stopped with status 2"),
    ],
)
def test_what_can_t_be_done_is_one_line(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["load", *options]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("omni load: ")
    assert says in last


async def test_what_a_server_here_uses_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, 40, 1000'\necho '0, 60, 1200'\necho '1, 10, 5000'\nexec sleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    async with serve(lambda socket: socket.wait_closed(), "127.0.0.1", 0) as server:
        watch = Watch(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime")
        async with watch.running():
            began = time.process_time()
            while time.process_time() < began + 0.3:
                sum(range(1_000_000))
                await asyncio.sleep(0.01)
    assert watch.usage.cpu_s == pytest.approx(0.35, abs=0.15)  # the server is this process
    assert watch.usage.busiest_gpu == (0.5, 1200)
    async with Watch("ws://elsewhere.example/v1/realtime").running():
        pass  # nothing to be read, nothing to be done

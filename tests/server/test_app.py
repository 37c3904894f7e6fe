"""The application around the connections: handshake, keys, limits, health, start and stop."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from omni_core.checkpoint import Bundle
from omni_core.checkpoint.save import save_bundle
from omni_core.engine.client import EngineClient
from omni_core.errors import CheckpointError, ConfigError
from server.app import create_app
from server.gate.auth import ApiKeys
from server.main import serve
from server.settings import Settings
from tests.server.conftest import Server, Start, eventually


async def get(url: str, **options: object) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url, **options)  # type: ignore[arg-type]


async def test_health_models_and_landing(server: Server) -> None:
    assert (await get(f"{server.http}/healthz")).json() == {"status": "alive"}
    assert (await get(f"{server.http}/readyz")).json() == {"status": "ready", "model": "tiny", "sessions": 0}
    (model,) = (await get(f"{server.http}/v1/models")).json()["data"]
    assert (model["id"], model["object"]) == ("tiny", "model")
    about = (await get(server.http)).json()
    assert (about["model"], about["realtime"], about["listens"], about["sees"]) == ("tiny", server.url, False, False)
    assert (await get(f"{server.http}/v1/realtime")).status_code == 426


async def test_a_browser_gets_the_page_under_a_strict_policy(serving: Start, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>Hello</p>")
    (tmp_path / "part.js").write_text("export {};")
    async with serving(page=tmp_path) as server:
        page = await get(server.http, headers={"accept": "text/html,*/*;q=0.8"})
        part = await get(f"{server.http}/browser/part.js")
        assert (page.text, part.text) == ("<p>Hello</p>", "export {};")
        assert part.headers["content-type"].startswith("text/javascript")
        for reply in (page, part):
            assert "default-src 'none'" in reply.headers["content-security-policy"]
            assert "unsafe" not in reply.headers["content-security-policy"]
        assert (await get(server.http)).json()["name"] == "omni-duplex"
        assert (await get(f"{server.http}/browser/../../etc/passwd")).status_code == 404


async def test_readiness_turns_false_when_the_engine_stops(server: Server) -> None:
    await server.engine.close()
    reply = await get(f"{server.http}/readyz")
    assert (reply.status_code, reply.json()["status"]) == (503, "unavailable")
    assert (await get(f"{server.http}/healthz")).status_code == 200
    async with connect(server.url, proxy=None) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013


async def test_any_model_name_is_an_alias(server: Server) -> None:
    async with server.user("?model=gpt-realtime") as user:
        assert user.heard[0]["session"]["model"] == "gpt-realtime"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(None, None), (["realtime"], "realtime"), (["realtime", "openai-insecure-api-key.secret"], "realtime"), (["other"], None)],
)
async def test_the_subprotocol_is_answered_only_if_offered(server: Server, offered: list | None, chosen: str | None) -> None:
    async with connect(server.url, subprotocols=offered, proxy=None) as socket:
        assert socket.subprotocol == chosen


async def test_more_sessions_than_allowed_are_asked_to_try_again(serving: Start) -> None:
    async with serving(max_sessions=1) as server:
        async with server.user():
            async with connect(server.url, proxy=None) as socket:
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013
        await eventually(lambda: not server.sessions)
        async with server.user():
            pass


async def test_keys(serving: Start, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\n\nopen-sesame\n")
    async with serving(api_key_file=file) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            with pytest.raises(InvalidStatus) as refused:
                await connect(server.url, additional_headers=headers, proxy=None)
            assert refused.value.response.status_code == 401
            assert (await get(f"{server.http}/v1/models", headers=headers)).status_code == 401
        right = {"Authorization": "Bearer open-sesame"}
        assert (await get(f"{server.http}/v1/models", headers=right)).status_code == 200
        async with server.user(additional_headers=right):
            pass
        async with server.user(subprotocols=["realtime", "openai-insecure-api-key.open-sesame"]) as user:
            assert user.socket.subprotocol == "realtime"


def test_key_files_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        ApiKeys.from_file(tmp_path / "none")
    (tmp_path / "empty").write_text("# nothing\n")
    with pytest.raises(ConfigError, match="holds no key"):
        ApiKeys.from_file(tmp_path / "empty")


async def test_a_server_whose_model_still_loads_is_alive_and_not_ready() -> None:
    app = create_app(Settings(), EngineClient.start_thread("/nonexistent"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503


def test_settings_come_from_the_environment() -> None:
    environment = {"OMNI_PORT": "9000", "OMNI_API_KEY_FILE": "/keys", "OMNI_SESSION_S": "60", "OMNI_DEVICE": "", "PATH": "/bin"}
    settings = Settings.from_environment(environment)
    assert settings == Settings(port=9000, api_key_file=Path("/keys"), session_s=60.0)
    with pytest.raises(ConfigError, match="OMNI_PORT='many'"):
        Settings.from_environment({"OMNI_PORT": "many"})


@pytest.mark.parametrize(
    ("number", "gateways"),
    [(signal.SIGTERM, "1"), pytest.param(signal.SIGINT, "1", marks=pytest.mark.slow), pytest.param(signal.SIGTERM, "2", marks=pytest.mark.slow)],
)
async def test_serve_says_where_it_listens_and_stops_in_order(
    bundle: Bundle, repository: Path, tmp_path: Path, number: signal.Signals, gateways: str
) -> None:
    save_bundle(bundle, tmp_path / "tiny")
    port_file = tmp_path / "port"
    settings = {"MODEL": str(tmp_path / "tiny"), "DEVICE": "cpu", "PORT": "0", "PORT_FILE": str(port_file), "GATEWAYS": gateways}
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary"), **{f"OMNI_{name}": value for name, value in settings.items()}}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=repository, env=environment
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
            found = re.match(r"listening on (http://127\.0\.0\.1:(\d+)) ", line)
            assert found, line
            assert port_file.read_text().strip() == found[2]
            assert (await get(f"{found[1]}/readyz")).status_code == 200
            async with connect(f"ws://127.0.0.1:{found[2]}/v1/realtime", proxy=None) as user:
                await user.recv()
                process.send_signal(number)
                with pytest.raises(ConnectionClosed) as closed:
                    await user.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            _, log = await process.communicate()
            assert process.returncode == 0, log.decode()
            assert b"Traceback" not in log
            assert not list((tmp_path / "temporary").glob("omni-*"))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_a_busy_port_and_a_missing_model_are_said_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="choose another --port"):
        serve(Settings(port=taken.getsockname()[1]))
    with pytest.raises(CheckpointError, match="no model here"):
        serve(Settings(model=str(tmp_path), port=0))

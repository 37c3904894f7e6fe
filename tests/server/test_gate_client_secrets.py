"""Client secrets: who may open a session, for how long, and with which configuration it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types.realtime import ClientSecretCreateResponse
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from server.gate.auth import ApiKeys, presented_keys
from server.gate.client_secrets import ClientSecrets
from server.protocol.errors import ProtocolError
from tests.server.conftest import Server, Start

NOW = 1_000_000.5


def test_a_secret_opens_sessions_of_every_gateway_until_it_expires(tmp_path: Path) -> None:
    secrets, others = ClientSecrets(tmp_path), ClientSecrets(tmp_path)
    secret = secrets.create({"instructions": "Be brief"}, 60, NOW)
    assert secret.value.startswith("ek_")
    assert secret.expires_at == 1_000_060
    for gateway in (secrets, others):
        assert gateway.find(["other", secret.value], NOW + 59) == secret
    assert secrets.find([secret.value], NOW + 60) is None
    assert secrets.find(["ek_guessed"], NOW) is None


def test_only_so_many_are_held_and_the_expired_make_room(tmp_path: Path) -> None:
    secrets = ClientSecrets(tmp_path, limit=2)
    first = secrets.create({}, 10, NOW)
    secrets.create({}, 60, NOW)
    with pytest.raises(ProtocolError) as full:
        secrets.create({}, 60, NOW)
    assert full.value.code == "too_many_client_secrets"
    third = secrets.create({}, 60, NOW + 10)
    assert secrets.find([first.value], NOW + 10) is None
    assert secrets.find([third.value], NOW + 10) == third
    secrets.create({}, 60, NOW + 100)
    assert len(list(tmp_path.iterdir())) == 1


def test_keys_are_presented_in_a_header_or_in_subprotocols() -> None:
    assert presented_keys("bearer one ") == ["one"]
    assert presented_keys("Basic one", ["realtime", "openai-insecure-api-key.two"]) == ["two"]
    assert presented_keys(None) == []


def test_a_secret_is_no_key() -> None:
    """It opens sessions alone; one that has expired does not even open a server that asks for no key."""
    assert ApiKeys().allow("Bearer anything")
    assert not ApiKeys().allow("Bearer ek_expired")
    assert not ApiKeys(["key"]).allow("Bearer ek_expired")


KEY = {"Authorization": "Bearer open-sesame"}
SESSION = {"type": "realtime", "model": "gpt-realtime", "instructions": "Be brief", "audio": {"input": {"turn_detection": None}}}


async def post(server: Server, body: Any, headers: dict[str, str] = KEY) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{server.http}/v1/realtime/client_secrets", json=body, headers=headers)


async def test_a_browser_comes_in_with_a_secret_and_its_session_begins_as_agreed(serving: Start, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("open-sesame")
    async with serving(api_key_file=tmp_path / "keys") as server:
        reply = (await post(server, {"expires_after": {"anchor": "created_at", "seconds": 60}, "session": SESSION})).json()
        ClientSecretCreateResponse.model_validate(reply)
        assert reply["session"]["audio"]["input"]["turn_detection"] is None
        for options in (
            {"subprotocols": ["realtime", f"openai-insecure-api-key.{reply['value']}", "openai-agents-sdk.0.1"]},
            {"additional_headers": {"Authorization": f"Bearer {reply['value']}"}},
        ):
            async with server.user(**options) as user:
                (created,) = user.heard
                assert (created["session"]["model"], created["session"]["instructions"]) == ("gpt-realtime", "Be brief")
                assert created["session"]["audio"]["input"]["turn_detection"] is None
        async with server.user("?model=mine", **options) as user:
            assert user.heard[0]["session"]["model"] == "mine"
        assert (await post(server, {}, {"Authorization": f"Bearer {reply['value']}"})).status_code == 401  # a secret makes no secrets
        with pytest.raises(InvalidStatus):
            await connect(server.url, additional_headers={"Authorization": "Bearer ek_guessed"}, proxy=None)


async def test_a_server_without_keys_lends_secrets_too(server: Server) -> None:
    reply = (await post(server, {}, {})).json()
    ClientSecretCreateResponse.model_validate(reply)
    assert reply["session"]["model"] == "tiny"
    async with server.user(subprotocols=["realtime", f"openai-insecure-api-key.{reply['value']}"]):
        pass
    with pytest.raises(InvalidStatus) as refused:
        await connect(server.url, additional_headers={"Authorization": "Bearer ek_expired"}, proxy=None)
    assert refused.value.response.status_code == 401


async def test_what_can_not_be_lent_is_named(server: Server) -> None:
    for body, param in (
        ({"expires_after": {"anchor": "created_at", "seconds": 5}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now", "seconds": 60}}, "expires_after.anchor"),
        ({"session": {"audio": {"input": {"format": "mp3"}}}}, "session.audio.input.format"),
        ({"session": {"type": "transcription"}}, "session.type"),
        ({"session": {"model": 5}}, "session.model"),
        ({"session": "realtime"}, "session"),
    ):
        reply = await post(server, body, {})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert (await post(server, {"session": {"instructions": "x" * 70_000}}, {})).status_code == 413

"""Client secrets: who may open a session, for how long, and with which configuration it begins."""

from __future__ import annotations

import pytest

from server.gate.auth import ApiKeys, presented_keys
from server.gate.client_secrets import ClientSecrets
from server.protocol.errors import ProtocolError

NOW = 1_000_000.5


def test_a_secret_opens_sessions_until_it_expires() -> None:
    secrets = ClientSecrets()
    secret = secrets.create({"instructions": "Be brief"}, 60, NOW)
    assert secret.value.startswith("ek_")
    assert secret.expires_at == 1_000_060
    for _ in range(2):
        assert secrets.find(["other", secret.value], NOW + 59) is secret
    assert secrets.find([secret.value], NOW + 60) is None
    assert secrets.find(["ek_guessed"], NOW) is None


def test_only_so_many_are_held_and_the_expired_make_room() -> None:
    secrets = ClientSecrets(limit=2)
    first = secrets.create({}, 10, NOW)
    secrets.create({}, 60, NOW)
    with pytest.raises(ProtocolError) as full:
        secrets.create({}, 60, NOW)
    assert full.value.code == "too_many_client_secrets"
    third = secrets.create({}, 60, NOW + 10)
    assert secrets.find([first.value], NOW + 10) is None
    assert secrets.find([third.value], NOW + 10) is third


def test_keys_are_presented_in_a_header_or_in_subprotocols() -> None:
    assert presented_keys("bearer one ") == ["one"]
    assert presented_keys("Basic one", ["realtime", "openai-insecure-api-key.two"]) == ["two"]
    assert presented_keys(None) == []


def test_a_secret_is_no_key() -> None:
    """It opens sessions alone; one that has expired does not even open a server that asks for no key."""
    assert ApiKeys().allow("Bearer anything")
    assert not ApiKeys().allow("Bearer ek_expired")
    assert not ApiKeys(["key"]).allow("Bearer ek_expired")

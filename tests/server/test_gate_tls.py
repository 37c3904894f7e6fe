"""https and wss: certificates that are given, and one of the server's own making."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from omni_core.errors import ConfigError
from server.gate.tls import check, self_signed
from server.main import serve
from server.settings import Settings
from tests.server.conftest import Start


def test_a_certificate_of_its_own_is_kept_while_it_serves(tmp_path: Path) -> None:
    certificate, key = self_signed("127.0.0.1", tmp_path / "tls")
    assert key.stat().st_mode & 0o777 == 0o600
    first = certificate.read_bytes()
    assert self_signed("0.0.0.0", tmp_path / "tls")[0].read_bytes() == first
    self_signed("omni.example", tmp_path / "tls")
    assert certificate.read_bytes() != first  # it lacked that name
    key.write_text("lost")
    self_signed("localhost", tmp_path / "tls")
    check(certificate, key)


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"can't be kept in .*file.*--tls-cert"):
        self_signed("localhost", tmp_path / "file")


def test_files_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    certificate, key = self_signed("localhost", tmp_path / "one")
    _, other = self_signed("localhost", tmp_path / "two")
    with pytest.raises(ConfigError, match=r"--tls-key .*none can't be read"):
        check(certificate, tmp_path / "none")
    with pytest.raises(ConfigError, match=r"--tls-cert .*one can't be read"):
        check(tmp_path / "one", key)
    with pytest.raises(ConfigError, match="is not the key of the certificate"):
        check(certificate, other)
    with pytest.raises(ConfigError, match="no certificate and unencrypted key in PEM"):
        check(key, key)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"tls_cert": Path("cert.pem")}, "belong together"),
        ({"tls_key": Path("key.pem")}, "belong together"),
        ({"tls_cert": Path("cert.pem"), "tls_self_signed": True}, "leave it out"),
        ({"tls_cert": Path("cert.pem"), "tls_key": Path("/none/key.pem")}, "can't be read"),
    ],
)
def test_the_server_does_not_start_with_them(settings: dict, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        serve(Settings(port=0, **settings))


def test_flags_come_from_the_environment_too() -> None:
    assert Settings.from_environment({"OMNI_TLS_SELF_SIGNED": "true"}).tls_self_signed
    assert not Settings.from_environment({"OMNI_TLS_SELF_SIGNED": "0"}).tls_self_signed
    with pytest.raises(ConfigError, match="OMNI_TLS_SELF_SIGNED='maybe'"):
        Settings.from_environment({"OMNI_TLS_SELF_SIGNED": "maybe"})


async def test_a_client_that_trusts_the_certificate_talks_over_it(serving: Start, tmp_path: Path) -> None:
    certificate, key = self_signed("127.0.0.1", tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with serving(tls_cert=certificate, tls_key=key) as server:
        async with connect(f"wss://127.0.0.1:{server.port}/v1/realtime", ssl=trusting, proxy=None) as socket:
            assert "session.created" in await socket.recv()
        async with httpx.AsyncClient(verify=trusting, trust_env=False) as client:
            landing = (await client.get(f"https://localhost:{server.port}/")).json()
            assert landing["realtime"] == f"wss://localhost:{server.port}/v1/realtime"
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(f"https://localhost:{server.port}/")

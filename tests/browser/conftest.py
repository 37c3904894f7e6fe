"""A real server with nano, and a real Chromium with a WAV file for a microphone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import httpx
import pytest
from playwright.sync_api import Playwright, sync_playwright

from clients.commands.server_process import running_server
from clients.python.audio import Wave
from tests.browser.visitor import House, Visitor, chromium, house


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    if chromium() is None:
        pytest.skip("Chromium is not installed: apt install chromium, or name it in CHROMIUM")
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page with nano behind it."""
    with running_server(tmp_path_factory.mktemp("server") / "server.log", "--device", "cpu", timeout_s=300) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="session")
def able(nano: str) -> dict[str, Any]:
    """What that server says its model can do."""
    return httpx.get(nano, trust_env=False, timeout=30).json()


class Visit(Protocol):
    def __call__(self, *said: float | Wave, url: str = ..., **options: Any) -> Visitor: ...


@pytest.fixture(scope="session")
def home(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(playwright, tmp_path_factory.mktemp("devices")) as it:
        yield it


@pytest.fixture
def visit(home: House, nano: str) -> Iterator[Visit]:
    """`visit(1.0, question("joke-annie"), 5.0)`: somebody at the page, and what the microphone will hear; options: of `House.visiting`."""
    with ExitStack() as visits:

        def begin(*said: float | Wave, url: str = nano, **options: Any) -> Visitor:
            return visits.enter_context(home.visiting(url, *said, **options))

        yield begin

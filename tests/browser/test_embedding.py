"""The ten lines of the module's README, as they stand there, in a page of another server."""

from __future__ import annotations

import functools
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser.conftest import Visit
from tests.browser.test_page import PAGE
from tests.browser.visitor import question

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: object) -> None:
        pass


@pytest.fixture
def elsewhere(tmp_path: Path, nano: str) -> Iterator[str]:
    """A folder with the example and the module, on a port of its own."""
    shutil.copytree(PAGE / "realtime", tmp_path / "omni-realtime")
    example = re.search(r"```html\n(.*?)```", (PAGE / "realtime" / "README.md").read_text(), re.DOTALL)
    assert example is not None
    lines = example[1].replace("wss://your-server/", nano.replace("http", "ws"))
    (tmp_path / "index.html").write_text(f"<!doctype html><title>Mine</title><link rel=icon href=data:,>\n{lines}")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_ten_lines_are_enough(visit: Visit, elsewhere: str) -> None:
    visitor = visit(1.0, question("joke-annie"), 60.0, url=elsewhere, ready="#talk")
    visitor.page.click("#talk")
    visitor.page.get_by_text("assistant: ").wait_for()
    visitor.page.wait_for_timeout(1_000)
    assert visitor.complaints == []

"""A server of our own in another process, for as long as a block lasts."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clients.errors import ClientError

_STOP_S = 10.0  #: a server that has not stopped by then is killed


@contextmanager
def running_server(log: Path, *options: str, python: str = sys.executable, timeout_s: float = 120.0) -> Iterator[int]:
    """Run `omni serve` of the interpreter `python` on a free port, its output in `log`; yields the port once it is ready to serve."""
    port = _free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        command = [python, "-m", "clients.cli", "serve", "--port", str(port), *options]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            _wait_until_ready(process, port, log, timeout_s)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path, timeout_s: float) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no way to this loopback
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            _show(log)
            raise ClientError(
                f"the server stopped with status {process.returncode} before it was ready; its last words are above, all of them in {log}"
            )
        try:
            with direct.open(f"http://127.0.0.1:{port}/readyz", timeout=5) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass  # not listening yet, or still loading
        time.sleep(0.1)
    _show(log)
    raise ClientError(f"the server was not ready within {timeout_s:g} s; its last words are above, all of them in {log}")


def _show(log: Path, lines: int = 15) -> None:
    for line in log.read_text(errors="replace").splitlines()[-lines:]:
        print(f"  | {line}", file=sys.stderr)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

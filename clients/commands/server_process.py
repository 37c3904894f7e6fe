"""A server of our own in another process, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from clients.errors import ClientError

_STOP_S = 10.0  #: a server that has not stopped by then is killed


@contextmanager
def running_server(log: Path, *options: str, python: str = sys.executable, timeout_s: float = 120.0) -> Iterator[int]:
    """Run `omni serve` of the interpreter `python` on a free port, its output in `log`; yields the port once it is ready to serve."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as output:
        port_file = Path(folder) / "port"
        command = [python, "-m", "clients.cli", "serve", "--port", "0", "--port-file", str(port_file), *options]
        # In a group of its own: Ctrl+C is for us, who stop it when we are done with it.
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, process_group=0)
        before = signal.signal(signal.SIGTERM, _leave)  # or a terminated demo would leave its server behind
        try:
            yield _port_when_ready(process, port_file, log, timeout_s)
        finally:
            signal.signal(signal.SIGTERM, before)
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def server_at(url: str | None, *options: str) -> Iterator[str]:
    """The address of a server that runs; None: of one of our own with these options, for as long as the block lasts."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder) / "server.log", *options) as port:
        yield f"ws://127.0.0.1:{port}/v1/realtime"


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _port_when_ready(process: subprocess.Popen[bytes], port_file: Path, log: Path, timeout_s: float) -> int:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            _show(log)
            raise ClientError(f"the server stopped with status {process.returncode} before it was ready; its last words are above, all in {log}")
        with contextlib.suppress(OSError, ValueError):  # no such file yet, or not all of it
            port = int(port_file.read_text())
            if _is_ready(port):
                return port
        time.sleep(0.1)
    _show(log)
    raise ClientError(f"the server was not ready within {timeout_s:g} s; its last words are above, all of them in {log}")


def _is_ready(port: int) -> bool:
    """The port is written once the model is ready; whether http or https is spoken there is all the same."""
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return True


def _show(log: Path, lines: int = 15) -> None:
    for line in log.read_text(errors="replace").splitlines()[-lines:]:
        print(f"  | {line}", file=sys.stderr)

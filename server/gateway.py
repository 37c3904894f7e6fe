"""One gateway: the HTTP application on one listening socket, in front of the engine process. In the server's process where there is one
gateway, in processes of their own (`python -m server.gateway`) where there are several.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Generator
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from omni_core.config import EngineConfig
from omni_core.engine.client import EngineClient
from omni_core.engine.supervisor import BEAT_S, Lifeline, Supervised
from omni_core.errors import OmniError
from server.app import create_app
from server.settings import Settings

_log = logging.getLogger("omni.server")


class _Server(uvicorn.Server):
    """uvicorn raises a caught signal again when it has ended, which would kill the process before the engine is closed: others take care of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class Gateway:
    """In this process and the running loop; started, awaited and closed as one in another process (`Supervised`)."""

    def __init__(self, settings: Settings, folder: Path, number: int, listener: socket.socket) -> None:
        """folder: of the engine process, and what all gateways share."""
        self._settings, self._folder, self._number, self._listener = settings, folder, number, listener
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    def start(self) -> None:
        """Begin to answer: while the model loads /healthz says alive, /readyz says not yet."""
        self._task = asyncio.create_task(self._run())

    async def ready(self) -> None:
        """Wait until the engine is there, or this has ended. Raises ConfigError for an unusable key file."""
        ready, ended = asyncio.create_task(self._ready.wait()), asyncio.create_task(self.ended())
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
        finally:
            ready.cancel()
            ended.cancel()

    async def ended(self) -> None:
        """Wait until it has stopped."""
        assert self._task is not None, "start() comes first"
        await asyncio.shield(self._task)

    async def close(self, quick: bool = False) -> None:
        """End every connection, in order unless `quick`, and leave the engine."""
        if self._server is not None:
            self._server.force_exit = quick
            self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait({self._task})  # what it failed with is for `ready` and `ended` to say

    async def _run(self) -> None:
        engine = EngineClient.connect(self._folder, engine_config(self._settings))
        try:
            self._server = _Server(uvicorn_config(self._settings, create_app(self._settings, engine, self._folder, self._number)))
            serving, ready = asyncio.create_task(self._server.serve(sockets=[self._listener])), asyncio.create_task(engine.ready())
            await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                self._ready.set()
            ready.cancel()
            await serving
        finally:
            await engine.close()


def gateway_process(settings: Settings, folder: Path, number: int, listener: socket.socket) -> Supervised:
    """The same in a process of its own; not yet started."""
    level = logging.getLogger().getEffectiveLevel()
    arguments = [str(folder), str(number), str(listener.fileno()), str(level)]
    environment = {**os.environ, **settings.to_environment()}
    command = [sys.executable, "-m", "server.gateway", *arguments]
    return Supervised(f"gateway {number}", command, fds=[listener.fileno()], environment=environment)


def engine_config(settings: Settings) -> EngineConfig:
    """What the settings say of the engine."""
    return EngineConfig(slots=settings.slots, queue=settings.queue, precision=settings.precision)


def uvicorn_config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    """How uvicorn runs the application."""
    return uvicorn.Config(
        app,
        ws="websockets-sansio",  # uvicorn's other implementation needs websockets' legacy server
        ws_max_size=settings.max_message_bytes,
        ws_per_message_deflate=False,  # it delays audio, and a small frame could unpack to a huge one
        timeout_graceful_shutdown=max(1, round(settings.shutdown_s)),
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


async def _run(folder: Path, number: int, listener: socket.socket, lifeline: Lifeline) -> None:
    """Until the lifeline's other end closes."""
    gateway = Gateway(Settings.from_environment(os.environ), folder, number, listener)
    loop, gone = asyncio.get_running_loop(), asyncio.Event()

    def leave() -> None:
        loop.remove_reader(lifeline.fileno())  # it stays readable
        gone.set()

    loop.add_reader(lifeline.fileno(), leave)
    gateway.start()
    beating = asyncio.create_task(_beat(lifeline))
    closing = asyncio.create_task(_close_when(gone, gateway))
    try:
        await gateway.ready()
        lifeline.ready(f"gateway {number}")
        await gateway.ended()
    finally:
        beating.cancel()
        closing.cancel()


async def _beat(lifeline: Lifeline) -> None:
    """Say that this loop turns."""
    while True:
        lifeline.beat()
        await asyncio.sleep(BEAT_S)


async def _close_when(gone: asyncio.Event, gateway: Gateway) -> None:
    await gone.wait()
    await gateway.close()


def main() -> int:
    """FOLDER NUMBER LISTENER LOG_LEVEL LIFELINE; the settings come from the environment."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach a whole terminal, or a whole service; the parent ends us in its order
        signal.signal(number, signal.SIG_IGN)
    folder, index, descriptor, level, line = sys.argv[1:]
    logging.basicConfig(level=int(level), format="%(asctime)s %(name)s %(levelname)s %(message)s")
    lifeline = Lifeline(int(line))
    try:
        asyncio.run(_run(Path(folder), int(index), socket.socket(fileno=int(descriptor)), lifeline))
    except Exception as error:
        if not isinstance(error, OmniError):
            _log.exception("the gateway stopped")
        lifeline.failed(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

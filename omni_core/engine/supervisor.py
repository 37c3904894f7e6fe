"""A process that is watched: started again when it ends or stands still, ended with this one, whatever ends this one.

Both sides hold an end of a socket, the lifeline. The child says on it, in lines of JSON, that it is ready or what failed, and again and again that
it lives. Whose other end closes knows at once that the other process is gone or wants it to end: that needs no signal, and works after a kill -9.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from omni_core.config import EngineConfig
from omni_core.engine.wire import pack_error, unpack_error
from omni_core.errors import ConfigError, EngineClosed, OmniError

log = logging.getLogger(__name__)

BEAT_S = 1.0  #: between a child's signs of life
HANG_S = 60.0  #: without one; no honest step takes so long
_END_S = 12.0  # for a child to end in order
_STEADY_S = 60.0  # a life after which the next death is the first again
_LONGEST_PAUSE_S = 30.0
_LONGEST_PATH = 100  # bytes that a socket's name may have, nearly


class Supervised:
    """One child process at a time. For one event loop, in which `start` is called."""

    def __init__(
        self, name: str, command: Sequence[str], *, fds: Sequence[int] = (), environment: Mapping[str, str] | None = None, hang_s: float = HANG_S
    ) -> None:
        """name: for people. command: gets the lifeline's descriptor as its last argument. fds: that it inherits. environment: None: this one's."""
        self._name, self._command, self._fds, self._environment, self._hang_s = name, command, fds, environment, hang_s
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[str] | None = None
        self._closing = asyncio.Event()
        self._lifeline: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that lives now."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Begin the first life."""
        self._ready = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep_alive(self._ready))

    async def ready(self) -> str:
        """Wait until it has been ready once; what it called itself then. Raises what its first life failed with: after that there is no second."""
        assert self._ready is not None, "start() comes first"
        return await asyncio.shield(self._ready)

    async def ended(self) -> None:
        """Wait until there will be no further life."""
        assert self._task is not None, "start() comes first"
        await asyncio.shield(self._task)

    async def close(self, quick: bool = False) -> None:
        """End it, in order unless `quick`, and wait until it has ended."""
        self._closing.set()
        if self._task is None:
            return
        if self._lifeline is not None:
            self._lifeline.close()
        if not quick and self._ready is not None and self._ready.done():  # before that there is nothing to end in order
            await asyncio.wait({self._task}, timeout=_END_S)
        self._kill()
        await self._task

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _keep_alive(self, ready: asyncio.Future[str]) -> None:
        clock, deaths = asyncio.get_running_loop().time, 0
        while True:
            begun = clock()
            error = await self._live(ready)
            if not ready.done():
                ready.set_exception(error)
                ready.exception()  # who does not ask need not be warned of it
                return
            if self._closing.is_set():
                return
            deaths = 1 if clock() - begun > _STEADY_S else deaths + 1
            pause_s = 0.0 if deaths == 1 else min(_LONGEST_PAUSE_S, 2.0 ** (deaths - 2))
            log.error("%s: %s; it is started again%s", self._name, error, f" in {pause_s:g} s" if pause_s else "")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._closing.wait()
                    return

    async def _live(self, ready: asyncio.Future[str]) -> OmniError:
        """One life: why it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = process = await asyncio.create_subprocess_exec(
                    *self._command,
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), *self._fds),
                    env=self._environment,
                )
            except OSError as error:
                ours.close()
                return EngineClosed(f"it can't be started: {error}")
        reader, self._lifeline = await asyncio.open_connection(sock=ours)
        try:
            failure = None if self._closing.is_set() else await self._follow(reader, ready)
        except TimeoutError:
            failure = EngineClosed(f"no sign of life for {self._hang_s:g} s")
            self._kill()
        finally:
            self._lifeline.close()
            self._lifeline = None
        try:
            async with asyncio.timeout(_END_S):
                status = await process.wait()
        except TimeoutError:
            self._kill()
            status = await process.wait()
        return failure or EngineClosed(f"the process ended with status {status}")

    async def _follow(self, reader: asyncio.StreamReader, ready: asyncio.Future[str]) -> OmniError | None:
        """Until the other end closes: what it said was its end."""
        failure = None
        while True:
            async with asyncio.timeout(self._hang_s):
                line = await reader.readline()
            if not line.endswith(b"\n"):
                return failure
            fact = json.loads(line)
            if "ready" in fact and not ready.done():
                ready.set_result(fact["ready"])
            if "failed" in fact:
                failure = unpack_error(*fact["failed"])


class Lifeline:
    """The child's end: no loop, no thread. `fileno` can be read from when the parent is gone or wants an end."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(False)

    def fileno(self) -> int:
        """For poll and select."""
        return self.socket.fileno()

    def ready(self, name: str) -> None:
        """Everything works; `name` is for people."""
        self._say({"ready": name})

    def failed(self, error: BaseException) -> None:
        """It ends for this reason."""
        self._say({"failed": pack_error(error)})

    def beat(self) -> None:
        """It lives."""
        self._say({})

    def _say(self, fact: object) -> None:
        with contextlib.suppress(OSError):  # a parent that stands still or has gone
            self.socket.send(json.dumps(fact).encode() + b"\n")


class EngineSpec(msgspec.Struct, frozen=True):
    """What an engine process is told: its first argument."""

    source: str
    device: str
    config: EngineConfig
    threads: int | None
    address: str  #: for ZeroMQ
    log_level: int


def engine_address(folder: Path) -> str:
    """Where the engine process of this folder is reached, for ZeroMQ. Raises ConfigError for a folder whose name is too long for that."""
    path = folder / "engine"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigError(f"{path} is too long for a socket's name: set TMPDIR to a shorter one")
    return f"ipc://{path}"


def engine_process(folder: Path, source: str, *, device: str, config: EngineConfig, threads: int | None = None, hang_s: float = HANG_S) -> Supervised:
    """An engine that loads `source` and serves the clients that connect to `folder`; not yet started.

    folder: one that nobody else may look into; it is removed with the engine.
    """
    spec = EngineSpec(source, device, config, threads, engine_address(folder), logging.getLogger().getEffectiveLevel())
    return Supervised("the engine", [sys.executable, "-m", "omni_core.engine.process", msgspec.json.encode(spec).decode()], hang_s=hang_s)

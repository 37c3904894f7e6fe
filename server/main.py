"""Starts the engine process and the gateways, says when they are ready, and stops all in order. Lives on when any of them dies."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from omni_core.engine.supervisor import Supervised, engine_process
from omni_core.errors import ConfigError
from server.gateway import Gateway, engine_config, gateway_process
from server.settings import Settings

_FILES = 65_536  # that may be open: a connection is one


def serve(settings: Settings, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Prints `listening on http://HOST:PORT ...` once the model is ready, and calls `on_ready` with that address.

    Raises ConfigError (a busy port, a bad key file or certificate) or whatever kept the model from loading.
    """
    asyncio.run(_serve(settings, on_ready))


async def _serve(settings: Settings, on_ready: Callable[[str], None] | None) -> None:
    settings = _with_certificate(settings)
    _allow_files()
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(contextlib.closing(one)) for one in _listen(settings)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="omni-")))  # nobody else may look into it
        engine = engine_process(folder, settings.model, device=settings.device, config=engine_config(settings))
        gateways: list[Gateway | Supervised]
        if len(listeners) == 1:
            gateways = [Gateway(settings, folder, 0, listeners[0])]
        else:
            gateways = [gateway_process(settings, folder, number, listener) for number, listener in enumerate(listeners)]
        stop = _Stop()
        try:
            for part in (engine, *gateways):
                part.start()
            if await stop.before(_all(engine.ready(), *(gateway.ready() for gateway in gateways))):
                address = _announce(settings, await engine.ready(), listeners[0])
                if on_ready is not None:
                    on_ready(address)
                await stop.before(*(gateway.ended() for gateway in gateways))
        finally:
            await stop.hurry(gateways)
            await stop.hurry([engine])


class _Stop:
    """SIGINT and SIGTERM: the first asks for an orderly end, the second for a quick one."""

    def __init__(self) -> None:
        self._asked, self._hurry = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self._asked.is_set():
            self._hurry.set()
        self._asked.set()

    async def before(self, *others: Awaitable[None]) -> bool:
        """Wait until any of `others` is done, True, or an end is asked for, False. Raises what they raise."""
        return await _first(self._asked, *others)

    async def hurry(self, parts: Sequence[Gateway | Supervised]) -> None:
        """Close all of them, quickly when that is asked for on the way."""
        if not await _first(self._hurry, _all(*(part.close() for part in parts))):
            await _all(*(part.close(quick=True) for part in parts))


async def _all(*parts: Awaitable[object]) -> None:
    await asyncio.gather(*parts)


async def _first(event: asyncio.Event, *others: Awaitable[None]) -> bool:
    """Wait for the event, False, or any of `others`, True. Raises what those raise that are done; the rest is cancelled."""
    tasks = [asyncio.ensure_future(other) for other in others]
    waiting = [asyncio.create_task(event.wait()), *tasks]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in tasks if task.done()]
        for task in done:
            task.result()
        return bool(done)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _with_certificate(settings: Settings) -> Settings:
    """Raises ConfigError for TLS files that can't be used."""
    if settings.tls_cert is None and settings.tls_key is None and not settings.tls_self_signed:
        return settings
    from server.gate import tls  # its library is slow to load

    certificate, key = settings.tls_cert, settings.tls_key
    if settings.tls_self_signed:
        if certificate or key:
            raise ConfigError("--tls-self-signed makes a certificate: leave it out, or --tls-cert and --tls-key")
        certificate, key = tls.self_signed(settings.host)
    if certificate is None or key is None:
        raise ConfigError("--tls-cert and --tls-key belong together: give both, or --tls-self-signed alone")
    tls.check(certificate, key)
    return dataclasses.replace(settings, tls_cert=certificate, tls_key=key)


def _allow_files() -> None:
    """As many open files as this process may have, within reason: the usual 1,024 are few for a thousand connections at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _listen(settings: Settings) -> list[socket.socket]:
    """A bound socket for each gateway, all on one port: the kernel spreads connections over them. Raises ConfigError for a port that is taken."""
    listeners = [_bound(settings, settings.port, shared=False)]
    if settings.gateways == 1:
        return listeners
    port = listeners[0].getsockname()[1]  # it is ours; those that share it have to be so from their beginning
    listeners[0].close()
    return [_bound(settings, port, shared=True) for _ in range(settings.gateways)]


def _bound(settings: Settings, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"can't listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port, or 0 for a free one") from None
    return listener


def _announce(settings: Settings, model: str, listener: socket.socket) -> str:
    """Say where the server listens; gives that address as this machine's browser reaches it."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    if settings.port_file is not None:
        settings.port_file.write_text(f"{port}\n")
    scheme = "http" if settings.tls_cert is None else "https"
    print(f"listening on {scheme}://{shown}:{port} (model {model}; Ctrl+C stops it)", flush=True)
    if settings.tls_self_signed:
        print(f"with a certificate of its own making: browsers ask once, other clients are told to trust {settings.tls_cert}", flush=True)
    return f"{scheme}://{'localhost' if host in ('0.0.0.0', '::') else shown}:{port}/"

"""Starts the engine and the HTTP server, says when both are ready, and stops both in order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import socket
from collections.abc import Callable, Generator

import uvicorn
from fastapi import FastAPI

from omni_core.config import EngineConfig
from omni_core.engine.client import EngineClient
from omni_core.errors import ConfigError
from server.app import create_app
from server.settings import Settings


class _Server(uvicorn.Server):
    """uvicorn raises a caught signal again when it has ended, which would kill the process before the engine is closed: signals are handled here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def stop(self) -> None:
        """The first signal asks for an orderly end, the second for a quick one."""
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(settings: Settings, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Prints `listening on http://HOST:PORT ...` once the model is ready, and calls `on_ready` with that address.

    Raises ConfigError (a busy port, a bad key file or certificate) or whatever kept the model from loading.
    """
    asyncio.run(_serve(settings, on_ready))


async def _serve(settings: Settings, on_ready: Callable[[str], None] | None) -> None:
    settings = _with_certificate(settings)
    listener = _listen(settings)
    with contextlib.closing(listener):
        engine = EngineClient.start_thread(settings.model, device=settings.device, config=EngineConfig(slots=settings.slots, queue=settings.queue))
        try:
            server = _Server(uvicorn_config(settings, create_app(settings, engine)))
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, server.stop)
            # The port answers while the model loads: /healthz says alive, /readyz says not yet.
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            ready = asyncio.create_task(engine.ready())
            await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                try:
                    ready.result()
                    address = _announce(settings, engine, listener)
                    if on_ready is not None:
                        on_ready(address)
                except BaseException:
                    server.stop()
                    await serving
                    raise
            ready.cancel()
            await serving
        finally:
            await engine.close()


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


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"can't listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port, or 0 for a free one") from None
    return listener


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


def _announce(settings: Settings, engine: EngineClient, listener: socket.socket) -> str:
    """Say where the server listens; gives that address as this machine's browser reaches it."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    if settings.port_file is not None:
        settings.port_file.write_text(f"{port}\n")
    scheme = "http" if settings.tls_cert is None else "https"
    print(f"listening on {scheme}://{shown}:{port} (model {engine.info.model}; Ctrl+C stops it)", flush=True)
    if settings.tls_self_signed:
        print(f"with a certificate of its own making: browsers ask once, other clients are told to trust {settings.tls_cert}", flush=True)
    return f"{scheme}://{'localhost' if host in ('0.0.0.0', '::') else shown}:{port}/"

"""The server's settings, and the only place of the server that reads the environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni_core.config import Precision
from omni_core.errors import ConfigError

PREFIX = "OMNI_"


@dataclass(frozen=True)
class Settings:
    """Every value has an environment variable: `OMNI_` and its name in capitals (`OMNI_MAX_SESSIONS=8`)."""

    model: str = "nano"  #: "nano", a directory or a hub name
    device: str = "auto"  #: auto, cpu or cuda
    precision: Precision = Precision.AUTO  #: what the model calculates in
    host: str = "127.0.0.1"
    port: int = 8000  #: 0: any free one
    port_file: Path | None = None  #: the port is written here once the server is ready
    page: Path | None = None  #: a folder with index.html: what a browser gets at `/`; `omni serve` has its own
    api_key_file: Path | None = None  #: one key per line, '#' comments; None: no key is asked for
    tls_cert: Path | None = None  #: a certificate (and its chain) in PEM: the server speaks https and wss
    tls_key: Path | None = None  #: its key
    tls_self_signed: bool = False  #: or with a certificate of its own making
    gateways: int = 1  #: processes that connections are spread over, in front of one engine process
    max_sessions: int = 64  #: connections at once, of all gateways together; one more is closed with 1013
    slots: int = 16  #: responses made at once
    queue: int = 32  #: responses that may wait for a slot
    session_s: float = 3600.0  #: longest session
    buffer_s: float = 900.0  #: uncommitted audio per session
    max_message_bytes: int = 8 * 2**20  #: a longer WebSocket message closes the connection with 1009
    outgoing_events: int = 1024  #: events a client may be behind; one more closes the connection
    send_timeout_s: float = 20.0  #: for one event to leave
    engine_timeout_s: float = 120.0  #: for the engine's next sign of life in a response, its queue included
    shutdown_s: float = 5.0  #: for connections to end when the server stops

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Raises ConfigError for a value that can't be read."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            text = environment.get(PREFIX + field.name.upper(), "")
            if not text:
                continue
            kind = _flag if field.type == "bool" else Path if "Path" in str(field.type) else type(field.default)
            try:
                values[field.name] = kind(text)
            except ValueError:
                raise ConfigError(f"{PREFIX}{field.name.upper()}={text!r}: expected a value of type {kind.__name__.strip('_')}") from None
        return cls(**values)

    def to_environment(self) -> dict[str, str]:
        """What `from_environment` reads these settings from."""
        values = dataclasses.asdict(self)
        return {PREFIX + name.upper(): "" if value is None else str(value) for name, value in values.items()}

    def __post_init__(self) -> None:
        if self.gateways < 1:
            raise ConfigError(f"{self.gateways} gateways can't serve: use 1 or more")


def _flag(text: str) -> bool:
    """Raises ValueError for what means neither."""
    flags = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in flags:
        raise ValueError(text)
    return flags[text.lower()]

"""Client secrets: keys that an application's server lends to a browser for a while, each with the session that it begins with.

They are kept as files, so that one that a gateway lent opens all of them, and lives on when that gateway is started again. A file is named by the
secret's hash: who reads the folder finds no secret in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.gate.auth import CLIENT_SECRET
from server.protocol.errors import ProtocolError

_FRESH_S = 5.0  # a file that is this young may not know yet how long it is good for


@dataclass(frozen=True)
class ClientSecret:
    """It opens any number of sessions until it expires; they may go on after that."""

    value: str
    expires_at: int  #: seconds since the epoch
    session: Mapping[str, Any]  #: what `session.update` would say; may be overridden there


class ClientSecrets:
    """Those of a folder that nobody else may look into. A file's time of change is when it expires."""

    def __init__(self, folder: Path, limit: int = 1024) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder, self._limit = folder, limit

    def create(self, session: Mapping[str, Any], seconds: int, now: float) -> ClientSecret:
        """A new one. Raises ProtocolError when `limit` of them are held."""
        if self._held(now) >= self._limit:
            raise ProtocolError("too_many_client_secrets", f"{self._limit} client secrets are held: try again later, or let them expire sooner")
        secret = ClientSecret(CLIENT_SECRET + secrets.token_urlsafe(24), int(now) + seconds, session)
        file = self._file(secret.value)
        file.write_text(json.dumps({"expires_at": secret.expires_at, "session": session}))
        os.utime(file, (secret.expires_at, secret.expires_at))
        return secret

    def find(self, keys: Sequence[str], now: float) -> ClientSecret | None:
        """The one among the presented keys, unless it has expired."""
        for key in keys:
            try:
                held = json.loads(self._file(key).read_text())
            except FileNotFoundError:
                continue
            if held["expires_at"] > now:
                return ClientSecret(key, **held)
        return None

    def _held(self, now: float) -> int:
        """How many have not expired; the files of those that have are removed."""
        held = 0
        for entry in os.scandir(self._folder):
            expires_at = entry.stat().st_mtime
            held += expires_at > now
            if expires_at < now - _FRESH_S:
                Path(entry).unlink(missing_ok=True)
        return held

    def _file(self, key: str) -> Path:
        return self._folder / hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()

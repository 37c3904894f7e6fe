"""Client secrets: keys that an application's server lends to a browser for a while, each with the session that it begins with."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.gate.auth import CLIENT_SECRET
from server.protocol.errors import ProtocolError


@dataclass(frozen=True)
class ClientSecret:
    """It opens any number of sessions until it expires; they may go on after that."""

    value: str
    expires_at: int  #: seconds since the epoch
    session: Mapping[str, Any]  #: what `session.update` would say; may be overridden there


class ClientSecrets:
    """Those that have not expired."""

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._held: dict[str, ClientSecret] = {}

    def create(self, session: Mapping[str, Any], seconds: int, now: float) -> ClientSecret:
        """A new one. Raises ProtocolError when `limit` of them are held."""
        self._held = {value: held for value, held in self._held.items() if held.expires_at > now}
        if len(self._held) >= self._limit:
            raise ProtocolError("too_many_client_secrets", f"{self._limit} client secrets are held: try again later, or let them expire sooner")
        secret = ClientSecret(CLIENT_SECRET + secrets.token_urlsafe(24), int(now) + seconds, session)
        self._held[secret.value] = secret
        return secret

    def find(self, keys: Sequence[str], now: float) -> ClientSecret | None:
        """The one among the presented keys, unless it has expired."""
        found = (self._held.get(key) for key in keys)
        return next((secret for secret in found if secret is not None and secret.expires_at > now), None)

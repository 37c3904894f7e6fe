"""API keys: read from a file, presented in a header or, by browsers, in a WebSocket subprotocol."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

from omni_core.errors import ConfigError

_BEARER = "bearer "
_KEY_SUBPROTOCOL = "openai-insecure-api-key."
CLIENT_SECRET = "ek_"  #: how a client secret begins


def presented_keys(authorization: str | None, subprotocols: Sequence[str] = ()) -> list[str]:
    """The keys in the header of that name and in the offered subprotocols."""
    keys = [name.removeprefix(_KEY_SUBPROTOCOL) for name in subprotocols if name.startswith(_KEY_SUBPROTOCOL)]
    if authorization is not None and authorization.lower().startswith(_BEARER):
        keys.append(authorization[len(_BEARER) :].strip())
    return keys


class ApiKeys:
    """The keys that open the server; none: everybody may come in."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = [key.encode() for key in keys]

    @classmethod
    def from_file(cls, path: Path | None) -> ApiKeys:
        """One key per line; blank lines and lines that begin with '#' don't count. Raises ConfigError."""
        if path is None:
            return cls()
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the API key file {path} can't be read: {error}") from None
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ConfigError(f"the API key file {path} holds no key: write one per line, or leave the file out to ask for none")
        return cls(keys)

    def allow(self, authorization: str | None, subprotocols: Sequence[str] = ()) -> bool:
        """Whether a request with these headers may come in."""
        given = presented_keys(authorization, subprotocols)
        if not self._keys:
            # One that has expired is refused all the same: a session that lacks what it stood for would surprise.
            return not any(key.startswith(CLIENT_SECRET) for key in given)
        return any(hmac.compare_digest(mine, key.encode()) for mine in self._keys for key in given)

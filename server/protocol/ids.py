"""Ids of everything on the wire: unique for a server's life, countable inside a session."""

from __future__ import annotations

from collections import Counter


class Ids:
    """Makes ids such as `item_4fK2..._3`: kind, the session's token, a number counted per kind."""

    def __init__(self, token: str) -> None:
        self.token = token  #: unguessable and unique to the session
        self._counts: Counter[str] = Counter()

    def new(self, kind: str) -> str:
        """The next id of `kind` ("item", "resp", "event")."""
        self._counts[kind] += 1
        return f"{kind}_{self.token}_{self._counts[kind]}"

    def session(self) -> str:
        """The session's own id."""
        return f"sess_{self.token}"

    def conversation(self) -> str:
        """The id of the session's one conversation."""
        return f"conv_{self.token}"

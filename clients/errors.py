"""What a client says when it can't go on: one line that names the thing and the remedy."""

from __future__ import annotations


class ClientError(Exception):
    """A client can't go on: a file it can't use, a server it can't reach, an answer that never came."""

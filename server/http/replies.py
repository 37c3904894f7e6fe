"""What goes back: JSON, refusals in OpenAI's error body with their status, and streams that a slow or vanished client can't hold open."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from omni_core.errors import OmniError
from server.protocol.errors import SERVER_ERROR, ProtocolError, as_protocol_error

_log = logging.getLogger("omni.server")

#: error code -> HTTP status; a code that is not listed is a 400 when the request is to blame, else a 500
_STATUS = {
    "invalid_api_key": 401,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "request_too_large": 413,
    "unsupported_media_type": 415,
    "server_busy": 429,
    "too_many_client_secrets": 429,
    "engine_stopped": 503,
    "engine_timeout": 503,
    "model_not_ready": 503,
}
_CLOSE = {"Connection": "close"}  # what is left of the body is not read
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 408: _CLOSE, 413: _CLOSE, 429: {"Retry-After": "1"}, 503: {"Retry-After": "5"}}

DONE = b"data: [DONE]\n\n"  #: the end of a chat's event stream


class ClientGone(Exception):
    """Nobody is left to answer: the client has closed the connection, or does not read."""


def dumps(value: Any) -> bytes:
    """JSON, in ASCII: half a surrogate pair, which JSON may escape, has no UTF-8."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A whole answer."""
    return Response(dumps(value), status, headers, "application/json")


def error_body(error: ProtocolError) -> dict[str, Any]:
    """The body that OpenAI's clients take errors from."""
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def refusal(error: Exception) -> Response:
    """What the client is told of any error; what was nobody's intention goes to the log."""
    refused = as_protocol_error(error)
    if refused.code == "internal_error":
        _log.error("a request failed", exc_info=error)
    status = _STATUS.get(refused.code, 500 if refused.type == SERVER_ERROR else 400)
    return json_reply(error_body(refused), status, _HEADERS.get(status))


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + dumps(value) + b"\n\n"


class Stream(Response):
    """An answer that leaves while it is made."""

    def __init__(self, chunks: AsyncIterator[bytes], media_type: str, send_timeout_s: float) -> None:
        super().__init__(None, 200, {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}, media_type)
        del self.headers["content-length"]  # unknown
        self._chunks, self._timeout_s = chunks, send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ClientGone when a chunk can't leave in time."""
        await self._send(send, {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for chunk in self._chunks:
                await self._send(send, {"type": "http.response.body", "body": chunk, "more_body": True})
        except (OmniError, TimeoutError) as error:
            _log.warning("an answer broke off: %s", error)
            if self.media_type != "text/event-stream":
                return  # the body stays without its end: an HTTP client reports that as an error
            await self._send(send, {"type": "http.response.body", "body": event(error_body(as_protocol_error(error))), "more_body": True})
        await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await send(message)
        except TimeoutError:
            raise ClientGone(f"nothing was read for {self._timeout_s:g} s") from None

"""Every address of HTTP and what all have in common: keys, bounds, errors, and an end to whatever a vanished client had asked for."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from server.gate.auth import ApiKeys
from server.gate.client_secrets import ClientSecrets
from server.http.call import Call, Handler
from server.http.client_secrets import ClientSecretsFace
from server.http.completions import ChatCompletions
from server.http.models import retrieve_model
from server.http.reference_chat import chat
from server.http.replies import ClientGone, error_body, json_reply, refusal
from server.http.speech import speak
from server.http.transcriptions import transcribe
from server.protocol.errors import SERVER_ERROR, ProtocolError
from server.settings import Settings

if TYPE_CHECKING:
    from omni_core.engine.client import EngineClient

_log = logging.getLogger("omni.server")

_BODY_S = 60.0  # for a whole body to arrive
_DISCARDED = 8  # times the limit: of an over-long body, so that its sender gets to read why it is refused


def add_http_faces(app: FastAPI, settings: Settings, engine: EngineClient, keys: ApiKeys, client_secrets: ClientSecrets) -> None:
    """Give `app` the addresses of this package, and its errors OpenAI's body."""
    gate = _Gate(settings, engine, keys)
    for method, path, handler in (
        ("POST", "/v1/audio/transcriptions", transcribe),
        ("POST", "/v1/audio/speech", speak),
        ("POST", "/v1/chat/completions", ChatCompletions().complete),
        ("POST", "/chat", chat),
        ("POST", "/v1/realtime/client_secrets", ClientSecretsFace(client_secrets).create),
        ("GET", "/v1/models/{model:path}", retrieve_model),
    ):
        app.router.routes.append(Route(path, _Face(gate, handler), methods=[method]))
    app.add_exception_handler(HTTPException, _refused_by_router)


class _Gate:
    """Who may come in, how many at once, and how much they may bring."""

    def __init__(self, settings: Settings, engine: EngineClient, keys: ApiKeys) -> None:
        self.settings, self.engine, self._keys = settings, engine, keys
        self._inside = 0

    async def admit(self, request: Request, stack: AsyncExitStack) -> bytes:
        """The body of a request that may be answered; `stack` gives its place back. Raises ProtocolError, ClientDisconnect."""
        refused = self._refusal(request)
        if refused is None:
            self._inside += 1
            stack.callback(self._leave)
        body = await _read_body(request, self.settings.max_message_bytes, keep=refused is None)
        if refused is not None:
            raise refused
        return body

    def _refusal(self, request: Request) -> ProtocolError | None:
        if not self._keys.allow(request.headers.get("authorization")):
            return ProtocolError("invalid_api_key", "A valid API key is needed: Authorization: Bearer KEY")
        if not self.engine.healthy:
            return ProtocolError("model_not_ready", "The model is loading or has stopped: try again later", type=SERVER_ERROR)
        places = self.settings.slots + self.settings.queue  # more could not be answered anyway
        if self._inside >= places:
            return ProtocolError("server_busy", f"{places} requests are being answered or wait: try again later", type=SERVER_ERROR)
        return None

    def _leave(self) -> None:
        self._inside -= 1


class _Face:
    """An ASGI application around one handler."""

    def __init__(self, gate: _Gate, handler: Handler) -> None:
        self._gate, self._handler = gate, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        async with AsyncExitStack() as stack:
            try:
                body = await self._gate.admit(request, stack)
            except ClientDisconnect:
                return
            except ProtocolError as error:
                await refusal(error)(scope, receive, send)
                return
            call = Call(self._gate.engine, self._gate.settings, request, body, stack)
            try:
                async with asyncio.TaskGroup() as group:
                    watching = group.create_task(_until_gone(receive))
                    reply = await self._reply(call)
                    await reply(scope, receive, send)
                    watching.cancel()
            except* ClientGone as gone:
                _log.info("%s: the answer was given up: %s", request.url.path, gone.exceptions[0])

    async def _reply(self, call: Call) -> Response:
        try:
            return await self._handler(call)
        except Exception as error:
            return refusal(error)


async def _read_body(request: Request, limit: int, *, keep: bool) -> bytes:
    """The whole body, or b"" where it is not to be kept. Raises ProtocolError for one that is too long or too slow, ClientDisconnect."""
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _DISCARDED * limit:
                    break
                if keep and size <= limit:
                    body += chunk
    except TimeoutError:
        raise ProtocolError("request_timeout", f"The body was not here after {_BODY_S:g} s: send it faster") from None
    if size > limit:
        raise ProtocolError("request_too_large", f"The body is longer than {limit} bytes: send less")
    return bytes(body)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise ClientGone("the client closed the connection")


async def _refused_by_router(request: Request, error: Exception) -> Response:
    """No such address, or not by this method."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return json_reply(error_body(ProtocolError(code, message)), error.status_code, error.headers)

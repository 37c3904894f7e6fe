"""`POST /v1/realtime/client_secrets`: an application's server, which has a key, gets one for a browser, which must not."""

from __future__ import annotations

import secrets
import time
from typing import Any, Literal

from pydantic import Field
from starlette.responses import Response

from server.gate.client_secrets import ClientSecrets
from server.http.call import Body, Call
from server.http.replies import dumps, json_reply
from server.protocol.errors import ProtocolError
from server.protocol.ids import Ids
from server.protocol.session_object import SessionObject

_SESSION_BYTES = 64 * 1024  # of the session that one secret holds


class _ExpiresAfter(Body):
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=600, ge=10, le=7_200)


class _Request(Body):
    expires_after: _ExpiresAfter | None = None
    session: dict[str, Any] | None = None


class ClientSecretsFace:
    """Gives out what `client_secrets` holds."""

    def __init__(self, client_secrets: ClientSecrets) -> None:
        self._client_secrets = client_secrets

    async def create(self, call: Call) -> Response:
        """The secret, when it expires, and the whole session that a connection with it begins with."""
        request = call.json(_Request)
        asked = request.session or {}
        if len(dumps(asked)) > _SESSION_BYTES:
            raise ProtocolError("request_too_large", f"The session is longer than {_SESSION_BYTES} bytes: shorten it", param="session")
        model = asked.get("model") or call.engine.info.model
        if not isinstance(model, str):
            raise ProtocolError("invalid_value", f"session.model {model!r} is no name", param="session.model")
        session = SessionObject(id=Ids(secrets.token_urlsafe(9)).session(), expires_at=0, model=model).updated(asked)
        secret = self._client_secrets.create(asked, (request.expires_after or _ExpiresAfter()).seconds, time.time())
        shown = {**session.model_dump(), "expires_at": secret.expires_at}
        return json_reply({"value": secret.value, "expires_at": secret.expires_at, "session": shown})

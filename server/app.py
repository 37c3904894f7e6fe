"""The HTTP application: the WebSocket face, health, the list of models, and the page."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, Response

from server.connection import Connection
from server.gate.auth import ApiKeys, presented_keys
from server.gate.client_secrets import ClientSecrets
from server.gate.open_sessions import OpenSessions
from server.http import add_http_faces
from server.page import add_page_files, page
from server.protocol.dialects import HEADER, Dialect
from server.settings import Settings

if TYPE_CHECKING:
    from omni_core.engine.client import EngineClient

_SUBPROTOCOL = "realtime"


def create_app(settings: Settings, engine: EngineClient, folder: Path | None = None, gateway: int = 0) -> FastAPI:
    """The application around an engine client, which may still be loading. Raises ConfigError for an unusable key file.

    folder: where all gateways keep what they share; None: this is the only one. gateway: its number.
    """
    app = FastAPI(title="Omni Duplex", docs_url=None, redoc_url=None, openapi_url=None)
    keys = ApiKeys.from_file(settings.api_key_file)
    if folder is None:
        app.state.folder = tempfile.TemporaryDirectory(prefix="omni-")  # is removed with the application
        folder = Path(app.state.folder.name)
    client_secrets = ClientSecrets(folder / "secrets")
    everywhere = OpenSessions(folder / "sessions", gateway, settings.gateways)
    started = int(time.time())
    sessions: set[Connection] = set()
    app.state.sessions = sessions

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readiness() -> JSONResponse:
        if engine.healthy:
            return JSONResponse({"status": "ready", "model": engine.info.model, "sessions": everywhere.total})
        return JSONResponse(
            {"status": "unavailable", "reason": "the engine is loading, or has stopped and is started again; the log says which"}, 503
        )

    @app.get("/v1/models")
    async def models(request: Request) -> JSONResponse:
        if not keys.allow(request.headers.get("authorization")):
            return _unauthorized()
        names = [engine.info.model] if engine.healthy else []
        data = [{"id": name, "object": "model", "created": started, "owned_by": "omni-duplex"} for name in names]
        return JSONResponse({"object": "list", "data": data})

    @app.get("/")
    async def landing(request: Request) -> Response:
        if settings.page is not None and "text/html" in request.headers.get("accept", ""):
            return page(settings.page)
        scheme = "wss" if request.url.scheme == "https" else "ws"
        addresses = {"realtime": f"{scheme}://{request.url.netloc}/v1/realtime", "models": "/v1/models", "ready": "/readyz"}
        info = engine.info if engine.healthy else None
        able = {"listens": info is not None and info.listener, "sees": info is not None and any(task.needs_image for task in info.tasks)}
        about = {"name": "omni-duplex", "model": info.model if info else None, **able, **addresses}
        return JSONResponse(about, headers={"Vary": "Accept", "Cache-Control": "no-store"})

    @app.get("/v1/realtime")
    async def realtime_without_upgrade() -> JSONResponse:
        return JSONResponse(_error("upgrade_required", "This is a WebSocket address: connect with ws:// or wss://"), 426, {"Upgrade": "websocket"})

    @app.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket) -> None:
        offered, authorization = websocket.scope.get("subprotocols", []), websocket.headers.get("authorization")
        secret = client_secrets.find(presented_keys(authorization, offered), time.time())
        if secret is None and not keys.allow(authorization, offered):
            await websocket.send_denial_response(_unauthorized())
            return
        # The key may be among the offered subprotocols: it is never echoed.
        await websocket.accept(subprotocol=_SUBPROTOCOL if _SUBPROTOCOL in offered else None)
        if not engine.healthy:
            await websocket.close(1013, "the model is not ready: try again")
            return
        if everywhere.total >= settings.max_sessions:
            await websocket.close(1013, f"busy: {settings.max_sessions} sessions are open, try again")
            return
        extended = "omni" in websocket.query_params.get("extensions", "").split(",")
        start = secret.session if secret is not None else {}
        connection = Connection(
            websocket,
            engine,
            settings,
            dialect=Dialect.of(websocket.headers.get(HEADER), offered),
            model=websocket.query_params.get("model") or start.get("model"),
            extended=extended,
            start=start,
        )
        sessions.add(connection)
        everywhere.here(len(sessions))
        try:
            await connection.run()
        finally:
            sessions.discard(connection)
            everywhere.here(len(sessions))

    add_http_faces(app, settings, engine, keys, client_secrets)
    if settings.page is not None:
        add_page_files(app, settings.page)
    return app


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"type": "invalid_request_error", "code": code, "message": message, "param": None}}


def _unauthorized() -> JSONResponse:
    return JSONResponse(_error("invalid_api_key", "A valid API key is needed: Authorization: Bearer KEY"), 401, {"WWW-Authenticate": "Bearer"})

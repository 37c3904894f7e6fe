"""`GET /v1/models/{id}`: one model is served, and any name is an alias of it, as everywhere else."""

from __future__ import annotations

import time

from starlette.responses import Response

from server.http.call import Call
from server.http.replies import json_reply

_STARTED = int(time.time())


async def retrieve_model(call: Call) -> Response:
    """The model under the name that was asked for."""
    return json_reply({"id": call.request.path_params["model"], "object": "model", "created": _STARTED, "owned_by": "omni-duplex"})

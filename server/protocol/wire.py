"""Text frames <-> events. A connection sends `serialise(told)` for each `told in dialect.outgoing(event)`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from server.protocol.dialects import Dialect
from server.protocol.errors import ProtocolError
from server.protocol.events import AnyClientEvent, ClientEvent
from server.protocol.server_events import ServerEvent

_CLIENT_EVENT: TypeAdapter[ClientEvent] = TypeAdapter(AnyClientEvent)


def parse(text: str, dialect: Dialect | None = None) -> ClientEvent:
    """One client event; None: of a client that certainly speaks GA. Raises ProtocolError with the client's `event_id` where that can be read."""
    try:
        data = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("invalid_json", f"The frame is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ProtocolError("invalid_json", "The frame is not a JSON object")
    event_id = data.get("event_id") if isinstance(data.get("event_id"), str) else None
    try:
        return _CLIENT_EVENT.validate_python(data if dialect is None else dialect.incoming(data))
    except ProtocolError as error:
        error.event_id = event_id
        raise
    except ValidationError as error:
        raise _refusal(data, error, event_id) from None


def _refusal(data: dict[str, Any], error: ValidationError, event_id: str | None) -> ProtocolError:
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "union_tag_not_found":
        return ProtocolError("missing_required_parameter", "The event has no 'type'", param="type", event_id=event_id)
    if first["type"] == "union_tag_invalid":
        return ProtocolError("unknown_event_type", f"Unknown event type {str(data['type'])[:100]!r}", param="type", event_id=event_id)
    param = ".".join(str(part) for part in first["loc"][1:])  # the first part is the event's type
    if first["type"] == "missing":
        return ProtocolError("missing_required_parameter", f"Missing required parameter {param!r}", param=param, event_id=event_id)
    return ProtocolError("invalid_value", f"{param}: {first['msg']}", param=param, event_id=event_id)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def serialise(event: ServerEvent) -> str:
    """One text frame. ASCII only: half a surrogate pair, which JSON may escape, has no UTF-8."""
    return json.dumps(event, separators=(",", ":"), allow_nan=False)

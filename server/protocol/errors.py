"""What the client is told when something is wrong: one exception, and one table for errors raised elsewhere.

omni_core's errors are named, not imported: the wire knows no model.
"""

from __future__ import annotations

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"

#: error class -> (wire type, wire code); a class that is not listed is looked up by its parents' names
ERROR_CODES: dict[str, tuple[str, str]] = {
    "AudioError": (INVALID_REQUEST, "invalid_audio"),
    "ImageError": (INVALID_REQUEST, "invalid_image"),
    "TextError": (INVALID_REQUEST, "invalid_text"),
    "TaskError": (INVALID_REQUEST, "task_not_supported"),
    "InputError": (INVALID_REQUEST, "invalid_input"),
    "ConfigError": (INVALID_REQUEST, "invalid_value"),
    "CheckpointError": (SERVER_ERROR, "model_unusable"),
    "EngineBusy": (SERVER_ERROR, "server_busy"),
    "EngineClosed": (SERVER_ERROR, "engine_stopped"),
    "EngineError": (SERVER_ERROR, "engine_error"),
    "OmniError": (SERVER_ERROR, "engine_error"),
    "TimeoutError": (SERVER_ERROR, "engine_timeout"),
    "Exception": (SERVER_ERROR, "internal_error"),
}


class ProtocolError(Exception):
    """A request that is refused: becomes the wire's `error` event, and the connection lives on."""

    def __init__(self, code: str, message: str, *, param: str | None = None, event_id: str | None = None, type: str = INVALID_REQUEST) -> None:
        super().__init__(message)
        self.type = type
        self.code = code
        self.message = message
        self.param = param
        self.event_id = event_id  #: of the client event that caused it, where it could be read


def as_protocol_error(error: Exception) -> ProtocolError:
    """The wire's form of any exception. An internal error keeps its words to itself: they go to the log."""
    if isinstance(error, ProtocolError):
        return error
    for cls in type(error).__mro__:
        if cls.__name__ in ERROR_CODES:
            type_, code = ERROR_CODES[cls.__name__]
            message = str(error) or cls.__name__
            if cls is Exception:
                message = "The server failed while it handled this; the details are in its log."
            return ProtocolError(code, message, type=type_)
    raise error  # a BaseException that is no Exception is nobody's message

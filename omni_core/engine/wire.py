"""Messages as bytes: msgpack by their types, sound as the bytes of its float32 samples, errors as the name of their class and their text."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from omni_core import errors
from omni_core.engine.messages import FromClient, FromEngine
from omni_core.errors import EngineError, OmniError


def encode(message: FromClient | FromEngine) -> bytes:
    """Raises UnicodeEncodeError for a text that has no UTF-8 (`checks.check_unicode`)."""
    return _ENCODER.encode(message)


def from_client(data: bytes) -> FromClient:
    """What a client says. Raises EngineError for bytes that are none of it."""
    return _read(_CLIENT, data)


def from_engine(data: bytes) -> FromEngine:
    """What the engine says. Raises EngineError for bytes that are none of it."""
    return _read(_ENGINE, data)


def pack_error(error: BaseException) -> tuple[str, str]:
    """The class and the text of an error."""
    return type(error).__name__, str(error).encode(errors="replace").decode()


def unpack_error(name: str, text: str) -> OmniError:
    """The same error; one that is none of `omni_core.errors` is an EngineError that names its class."""
    kind = getattr(errors, name, None)
    return kind(text) if isinstance(kind, type) and issubclass(kind, OmniError) else EngineError(f"{name}: {text}")


def _read(decoder: msgspec.msgpack.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, errors.ConfigError) as error:  # a ValidationError is a DecodeError
        raise EngineError(f"a message between the engine and its client can't be read: {error}") from None


def _to_plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, "<f4").data
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, BaseException):
        return pack_error(value)
    raise NotImplementedError(f"{type(value).__name__} can't be sent")


def _from_plain(kind: Any, value: Any) -> Any:
    if kind is Exception:
        return unpack_error(*value)
    return np.frombuffer(bytearray(value), "<f4")  # of a bytearray it can be written to, as torch wants it


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_to_plain)
_CLIENT = msgspec.msgpack.Decoder(FromClient, dec_hook=_from_plain)
_ENGINE = msgspec.msgpack.Decoder(FromEngine, dec_hook=_from_plain)

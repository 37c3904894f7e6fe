"""Audio and pictures as the wire carries them: base64 of s16le PCM, data URLs of encoded pictures."""

from __future__ import annotations

import base64
import binascii

from server.protocol.errors import ProtocolError

SAMPLE_RATE = 24_000  #: Hz; the only legal rate of audio/pcm
SAMPLE_BYTES = 2  #: s16le, mono

_PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}  #: first bytes -> kind


def samples_to_ms(samples: int) -> int:
    """Audio time, rounded down."""
    return samples * 1000 // SAMPLE_RATE


def ms_to_samples(ms: float) -> int:
    """Audio time in samples."""
    return int(ms * SAMPLE_RATE / 1000)


def pcm_samples(pcm: bytes) -> int:
    """How many samples are in s16le mono PCM."""
    return len(pcm) // SAMPLE_BYTES


def decode_base64(text: str, param: str, code: str = "invalid_audio") -> bytes:
    """The bytes of base64. Raises ProtocolError with `code`, naming `param`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(code, f"{param} is not base64: {error}", param=param) from None


def encode_base64(data: bytes) -> str:
    """base64 of bytes."""
    return base64.b64encode(data).decode("ascii")


def decode_picture(url: str, param: str) -> bytes:
    """The encoded PNG or JPEG inside a data URL. Raises ProtocolError naming `param`."""
    if not url.startswith("data:"):
        raise ProtocolError("invalid_image", f"{param} must be a data URL (data:image/jpeg;base64,...): pictures are not fetched", param=param)
    header, _, body = url.partition(",")
    if not header.endswith(";base64"):
        raise ProtocolError("invalid_image", f"{param} is a data URL without base64: write data:image/jpeg;base64,...", param=param)
    return _picture(body, param)


def decode_frame(text: str, param: str) -> bytes:
    """A camera's encoded PNG or JPEG in base64 or in a data URL (`input_image_buffer.append`). Raises ProtocolError naming `param`."""
    return decode_picture(text, param) if text.startswith("data:") else _picture(text, param)


def _picture(text: str, param: str) -> bytes:
    picture = decode_base64(text, param, "invalid_image")
    if not any(picture.startswith(start) for start in _PICTURES):
        raise ProtocolError("invalid_image", f"{param} holds no picture: use {' or '.join(_PICTURES.values())}", param=param)
    return picture

"""multipart/form-data, whole and in memory (RFC 7578)."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesParser

from server.protocol.errors import ProtocolError

_PARTS = 64  #: more are refused
_LINE = b"\r\n"


def read_form(body: bytes, content_type: str) -> dict[str, bytes]:
    """The parts of a form by name, files and fields alike; of a name that comes twice the last. Raises ProtocolError."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise ProtocolError("unsupported_media_type", f"Send multipart/form-data with a boundary, not {content_type[:100]!r}")
    _, *parts = (_LINE + body).split(_LINE + b"--" + boundary.encode(errors="replace"), _PARTS + 2)
    if not parts or not parts[-1].startswith(b"--"):
        raise ProtocolError("invalid_form", f"The form does not end as it should: it is cut off, or has more than {_PARTS} parts")
    return dict(_read_part(part) for part in parts[:-1])


def _read_part(part: bytes) -> tuple[str, bytes]:
    head, found, content = part.partition(_LINE + _LINE)
    name = BytesParser().parsebytes(head.lstrip(), headersonly=True).get_param("name", header="content-disposition")
    if not found or not isinstance(name, str):
        raise ProtocolError("invalid_form", 'A part of the form has no Content-Disposition: form-data; name="..."')
    return name, content

"""`POST /chat`: the reference server's own face (gpt-omni/mini-omni2 `server.py`), so that its web demos run against this server.

The answer is multipart/x-mixed-replace with the boundary "frame": parts of bare 24 kHz s16le under the name audio/wav, and parts of text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import Field
from starlette.responses import Response

from omni_core.audio import to_s16le
from omni_core.engine.request import AudioChunk, GenerateRequest, Task, TextDelta
from server.http.call import Body, Call, Event, new_id
from server.http.sound import decode_sound, from_base64

_FRAME_BYTES = 2 * 2048  # of a codec frame: 2,048 samples of 16 bits
_BOUNDARY = b"\r\n--frame\r\n"
_AUDIO, _TEXT = b"Content-Type: audio/wav\r\n\r\n", b"Content-Type: text/plain\r\n\r\n"


class _Chat(Body):
    audio: str  #: base64 of a sound file
    image: str | None = None  #: base64 of a JPEG or PNG
    stream_stride: int = Field(default=1, ge=1)  #: codec frames in a part of audio, the last one apart
    max_tokens: int = Field(default=2048, ge=1)  #: decode steps


async def chat(call: Call) -> Response:
    """A spoken answer to speech, with or without a picture."""
    wanted = call.json(_Chat)
    audio, rate = await asyncio.to_thread(decode_sound, wanted.audio, call.engine.info.max_audio_s, "audio")
    image = from_base64(wanted.image, "image") if wanted.image else None
    task = Task.VA1A2 if image else Task.A1A2
    request = GenerateRequest(new_id("chat"), task, audio=audio, sample_rate=rate, image=image, max_steps=wanted.max_tokens)
    return call.stream(_parts(await call.ask(request), wanted.stream_stride * _FRAME_BYTES), "multipart/x-mixed-replace; boundary=frame")


async def _parts(events: AsyncIterator[Event], size: int) -> AsyncIterator[bytes]:
    """Each part is sent with the boundary behind it: the demos take a part only when they see the boundary of the next."""
    yield _BOUNDARY
    waiting = b""
    async for each in events:
        match each:
            case TextDelta():
                yield _TEXT + each.text.encode() + _BOUNDARY
            case AudioChunk():
                waiting += to_s16le(each.pcm)
                if len(waiting) >= size:
                    yield _AUDIO + waiting + _BOUNDARY
                    waiting = b""
    if waiting:
        yield _AUDIO + waiting + _BOUNDARY
    yield _TEXT + b"\r\n--frame--\r\n"

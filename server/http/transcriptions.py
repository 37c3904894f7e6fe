"""`POST /v1/audio/transcriptions`: a sound file's words, task A1T1."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import ValidationError
from starlette.responses import PlainTextResponse, Response

from omni_core.config import SamplingParams
from omni_core.engine.request import GenerateRequest, Task, TextDelta
from server.asking import transcript_steps
from server.http.call import Answer, Body, Call, Event, explained, new_id
from server.http.forms import read_form
from server.http.replies import event, json_reply
from server.http.sound import read_sound
from server.protocol.errors import ProtocolError


class _Transcription(Body):
    language: str | None = None
    response_format: Literal["json", "text", "verbose_json"] = "json"
    stream: bool = False
    temperature: float = 0.0


async def transcribe(call: Call) -> Response:
    """JSON, text, or the words as they are found."""
    form = read_form(call.body, call.request.headers.get("content-type", ""))
    if "file" not in form:
        raise ProtocolError("missing_required_parameter", "Missing required parameter 'file': the sound file", param="file")
    file = form.pop("file")
    try:
        wanted = _Transcription.model_validate({name: value.decode(errors="replace") for name, value in form.items()})
    except ValidationError as error:
        raise explained(error) from None
    audio, rate = await asyncio.to_thread(read_sound, file, call.engine.info.max_audio_s, "file")
    seconds = len(audio) / rate
    events = await call.ask(
        GenerateRequest(
            new_id("transcription"),
            Task.A1T1,
            audio=audio,
            sample_rate=rate,
            sampling=SamplingParams(temperature=wanted.temperature),
            max_steps=transcript_steps(seconds),
        )
    )
    if wanted.stream:
        return call.stream(_deltas(events))
    text = (await Answer.whole(events)).text.strip()
    if wanted.response_format == "text":
        return PlainTextResponse(text + "\n")
    reply: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": seconds}}
    if wanted.response_format == "verbose_json":
        reply |= {"task": "transcribe", "duration": seconds, "language": wanted.language or "unknown"}
    return json_reply(reply)


async def _deltas(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    answer = Answer()
    async for each in events:
        answer.add(each)
        if isinstance(each, TextDelta):
            yield event({"type": "transcript.text.delta", "delta": each.text})
    prompt, text, _ = answer.tokens
    usage = {"type": "tokens", "input_tokens": prompt, "output_tokens": text, "total_tokens": prompt + text}
    yield event({"type": "transcript.text.done", "text": answer.text.strip(), "usage": usage})

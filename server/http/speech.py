"""`POST /v1/audio/speech`: task T1A2. A model that declares how it is asked to read aloud reads the text, any other answers it.

Such a model repeats a few words at a time: a longer text is read in pieces, one after the other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Literal

from pydantic import Field
from starlette.responses import Response

from omni_core.audio import to_s16le
from omni_core.engine.request import AudioChunk, EngineInfo, GenerateRequest, Task
from server.http.call import Answer, Body, Call, Event, new_id
from server.http.replies import event
from server.http.sound import BARE, check_writable, media_type, to_base64, write_sound

_STEPS, _STEPS_PER_WORD = 32, 24  # for a piece read aloud: two seconds a word are a model that lost its way
_BREAK = re.compile(r"(?<=[.!?;:,])\s+")  # where a reader takes a breath


class _Speech(Body):
    """`voice`, `speed` and `instructions` have no effect: a model has one voice."""

    input: str = Field(min_length=1, max_length=4096)
    response_format: str = "mp3"
    stream_format: Literal["audio", "sse"] = "audio"


async def speak(call: Call) -> Response:
    """PCM leaves while it is made; a file when it is whole, because its header holds its length."""
    wanted = call.json(_Speech)
    check_writable(wanted.response_format, "response_format")
    first, *later = requests(call.engine.info, wanted.input)
    spoken = _spoken(call, await call.ask(first), later)
    if wanted.stream_format == "sse":
        return call.stream(_deltas(call, spoken, wanted.response_format))
    if wanted.response_format in BARE:
        return call.stream(_pcm(spoken), media_type(wanted.response_format))
    sound = await _file(call, await Answer.whole(spoken), wanted.response_format)
    return Response(sound, media_type=media_type(wanted.response_format))


def requests(info: EngineInfo, text: str) -> list[GenerateRequest]:
    """What the model is asked, one after the other, to have `text` spoken."""
    reading = info.read_aloud
    if reading is None or not text.strip():
        return [GenerateRequest(new_id("speech"), Task.T1A2, text=text)]
    most = _STEPS + _STEPS_PER_WORD * reading.words
    asked = (reading.prompt.replace("{text}", piece) for piece in pieces(text, reading.words))
    return [GenerateRequest(new_id("speech"), Task.T1A2, text=prompt, max_steps=most) for prompt in asked]


def pieces(text: str, words: int) -> list[str]:
    """`text` in runs of at most so many words, which end with a clause where they can and are about as long as each other where they can't."""
    found: list[str] = []
    for clause in _BREAK.split(text.strip()):
        said = clause.split()
        parts = -(-len(said) // words)
        found += [" ".join(said[len(said) * n // parts : len(said) * (n + 1) // parts]) for n in range(parts)]
    return found


async def _spoken(call: Call, events: AsyncIterator[Event], later: list[GenerateRequest]) -> AsyncIterator[Event]:
    """The events of all pieces."""
    async for each in events:
        yield each
    for request in later:
        async for each in await call.ask(request):
            yield each


async def _pcm(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    async for each in events:
        if isinstance(each, AudioChunk):
            yield to_s16le(each.pcm)


async def _file(call: Call, answer: Answer, format: str) -> bytes:
    return await asyncio.to_thread(write_sound, answer.samples, call.engine.info.sample_rate, format)


async def _deltas(call: Call, events: AsyncIterator[Event], format: str) -> AsyncIterator[bytes]:
    answer = Answer()
    async for each in events:
        if isinstance(each, AudioChunk) and format in BARE:
            yield event({"type": "speech.audio.delta", "audio": to_base64(to_s16le(each.pcm))})
        else:
            answer.add(each)
    if format not in BARE:
        yield event({"type": "speech.audio.delta", "audio": to_base64(await _file(call, answer, format))})
    prompt, text, audio = answer.tokens
    usage = {"input_tokens": prompt, "output_tokens": text + audio, "total_tokens": prompt + text + audio}
    yield event({"type": "speech.audio.done", "usage": usage})

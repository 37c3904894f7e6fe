"""`POST /v1/audio/speech`: a text's spoken answer in all formats, with a model that does not read aloud."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from functools import partial
from typing import Any

import pytest
import soundfile
from openai import AsyncOpenAI

from omni_core.checkpoint import Bundle
from tests.server.http.conftest import Question, same_sound


@pytest.fixture(scope="module")
def bundle(nano: Bundle) -> Bundle:
    return nano


async def test_nano_answers_a_text_in_every_format(stock: AsyncOpenAI, question: Question) -> None:
    speak: Any = partial(stock.audio.speech.create, model="tts-1", voice="alloy", input=question.words, speed=1.5)
    bare, streamed = await asyncio.gather(speak(response_format="pcm"), speak(response_format="pcm", stream_format="sse"))
    pcm = bare.content
    kinds = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg", "opus": "audio/ogg"}
    files = await asyncio.gather(*(speak(response_format=format) for format in kinds))
    for (format, kind), reply in zip(kinds.items(), files, strict=True):
        samples, rate = soundfile.read(io.BytesIO(reply.content), dtype="int16")
        assert (rate, reply.response.headers["content-type"]) == (24_000, kind)
        assert len(samples) == pytest.approx(len(pcm) / 2, abs=4800)
        if format in ("wav", "flac"):
            assert same_sound(samples.tobytes(), pcm)
    events = [json.loads(line.removeprefix("data: ")) for line in streamed.text.split("\n\n") if line]
    assert same_sound(b"".join(base64.b64decode(event["audio"]) for event in events[:-1]), pcm)
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["output_tokens"] > 0


async def test_sound_leaves_while_it_is_made(stock: AsyncOpenAI, question: Question) -> None:
    async with stock.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=question.words, response_format="pcm"
    ) as reply:
        parts = [part async for part in reply.iter_bytes()]
    assert len(parts) > 3

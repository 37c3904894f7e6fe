"""`POST /v1/chat/completions` with OpenAI's own client: nano's answers to text and speech, in text and speech, whole and streamed."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import pytest
import soundfile
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion

from omni_core.checkpoint import Bundle
from tests.server.conftest import Server
from tests.server.http.conftest import Question, checked, same_sound

SPOKEN = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}


@pytest.fixture(scope="module")
def bundle(nano: Bundle) -> Bundle:
    return nano


@pytest.fixture
def spoken(question: Question) -> list[Any]:
    """The question as a recording."""
    data = base64.b64encode(question.as_file("WAV")).decode()
    recording = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    return [{"role": "user", "content": [{"type": "text", "text": "Listen."}, recording]}]


async def test_text_is_answered_in_text(stock: AsyncOpenAI, question: Question) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question.words}]
    tool: Any = {"type": "function", "function": {"name": "look_up", "parameters": {}}}
    create = stock.chat.completions.create
    reply = checked(await create(model="gpt-4o", messages=messages, tools=[tool], tool_choice="auto", temperature=0))
    (choice,) = reply.choices
    assert (choice.message.content, choice.finish_reason, reply.model) == (question.answer, "stop", "gpt-4o")
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.completion_tokens_details.audio_tokens == 0
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


async def test_speech_is_answered_in_speech(stock: AsyncOpenAI, question: Question, spoken: list[Any]) -> None:
    reply = checked(await stock.chat.completions.create(model="gpt-audio", messages=spoken, **SPOKEN))
    audio = reply.choices[0].message.audio
    assert audio is not None
    assert audio.transcript == question.answer
    info = soundfile.info(io.BytesIO(base64.b64decode(audio.data)))
    assert (info.samplerate, info.channels) == (24_000, 1)
    assert info.duration > 1


async def test_a_stream_says_what_the_whole_would_have_said(stock: AsyncOpenAI, question: Question, spoken: list[Any]) -> None:
    create = stock.chat.completions.create
    text = [checked(chunk) async for chunk in await create(model="any", messages=spoken, stream=True)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in text) == question.answer
    assert [chunk.choices[0].finish_reason for chunk in text][-2:] == [None, "stop"]

    options: Any = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}}
    streamed = create(model="any", messages=spoken, stream=True, stream_options={"include_usage": True}, **options)
    whole, stream = await asyncio.gather(create(model="any", messages=spoken, **options), streamed)
    assert whole.choices[0].message.audio is not None
    *chunks, usage = [checked(chunk) async for chunk in stream]
    parts = [part for chunk in chunks if (part := chunk.choices[0].delta.audio)]
    assert "".join(part.transcript or "" for part in parts) == question.answer
    assert same_sound(b"".join(base64.b64decode(part.data or "") for part in parts), base64.b64decode(whole.choices[0].message.audio.data))
    assert parts[-1].expires_at is not None
    assert (usage.choices, usage.usage) == ([], whole.usage)


async def test_limits_and_sampling_apply(stock: AsyncOpenAI, question: Question) -> None:
    create, messages = stock.chat.completions.create, [{"role": "user", "content": question.words}]

    async def ask(**options: Any) -> ChatCompletion:
        return await create(model="any", messages=messages, **options)  # type: ignore[arg-type]

    for limit in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
        short = await ask(**limit)
        assert (short.choices[0].finish_reason, short.usage and short.usage.completion_tokens) == ("length", 3)
    wild = [(await ask(temperature=10, seed=seed, max_tokens=12)).choices[0].message.content for seed in (1, 1, 2)]
    assert wild[0] == wild[1]
    assert wild[0] != wild[2]


async def test_the_synchronous_client_streams_too(server: Server, question: Question) -> None:
    def ask() -> str:
        with OpenAI(api_key="none-needed", base_url=f"{server.http}/v1") as client:
            stream = client.chat.completions.create(model="any", messages=[{"role": "user", "content": question.words}], stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await asyncio.to_thread(ask) == question.answer


async def test_the_model_is_known_by_any_name(stock: AsyncOpenAI) -> None:
    assert [model.id async for model in await stock.models.list()] == ["nano"]
    assert checked(await stock.models.retrieve("gpt-audio")).id == "gpt-audio"

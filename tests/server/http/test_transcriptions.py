"""`POST /v1/audio/transcriptions` with nano and OpenAI's own client."""

from __future__ import annotations

import asyncio

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.audio import TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent

from omni_core.checkpoint import Bundle
from tests.server.conftest import Server
from tests.server.http.conftest import Question, checked


@pytest.fixture(scope="module")
def bundle(nano: Bundle) -> Bundle:
    return nano


async def test_a_recording_becomes_words(stock: AsyncOpenAI, question: Question) -> None:
    create = stock.audio.transcriptions.create
    plain = checked(await create(file=("question.flac", question.flac), model="gpt-4o-transcribe", prompt="has no effect"))
    assert plain.text == question.words
    assert plain.usage is not None
    assert plain.usage.type == "duration"
    assert await create(file=question.as_file("MP3"), model="whisper-1", response_format="text") == question.words + "\n"
    verbose = checked(await create(file=question.as_file("OGG"), model="whisper-1", response_format="verbose_json", language="en"))
    assert (verbose.text, verbose.language) == (question.words, "en")
    assert 1.5 < verbose.duration < 2


async def test_words_come_as_they_are_found(stock: AsyncOpenAI, question: Question) -> None:
    stream = await stock.audio.transcriptions.create(file=("größe.flac", question.flac), model="whisper-1", stream=True)
    *deltas, done = [checked(event) async for event in stream]
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert done.text == question.words
    assert done.usage is not None
    assert done.usage.output_tokens == len(deltas)
    assert "".join(delta.delta for delta in deltas if isinstance(delta, TranscriptionTextDeltaEvent)) == question.words


async def test_the_synchronous_client_does_it_too(server: Server, question: Question) -> None:
    def ask() -> str:
        with OpenAI(api_key="none-needed", base_url=f"{server.http}/v1") as client:
            return client.audio.transcriptions.create(file=("question.wav", question.as_file("WAV")), model="whisper-1").text

    assert await asyncio.to_thread(ask) == question.words

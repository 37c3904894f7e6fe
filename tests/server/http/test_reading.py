"""`POST /v1/audio/speech` with a model that declares how it is asked to read aloud: in pieces, in order.

nano was not trained to: shown is that what is heard are its answers to the prompts made of the pieces, and nothing else.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from omni_core.checkpoint import Bundle, load_bundle
from omni_core.checkpoint.save import save_bundle
from omni_core.config import ReadAloudConfig
from omni_core.errors import ConfigError
from server.http.speech import pieces
from tests.server.http.conftest import same_sound

READS = ReadAloudConfig("Tell me, {text}", 4)


@pytest.fixture(scope="module")
def bundle(nano: Bundle) -> Bundle:
    return replace(nano, read_aloud=READS)


async def test_a_text_is_spoken_piece_by_piece(stock: AsyncOpenAI) -> None:

    async def answer(prompt: str) -> bytes:
        options: Any = {"modalities": ["text", "audio"], "audio": {"voice": "any", "format": "pcm16"}}
        reply = await stock.chat.completions.create(model="any", messages=[{"role": "user", "content": prompt}], **options)
        assert reply.choices[0].message.audio is not None
        return base64.b64decode(reply.choices[0].message.audio.data)

    heard, *expected = await asyncio.gather(
        stock.audio.speech.create(model="tts-1", voice="alloy", input="Who are you? What day is it?", response_format="pcm"),
        answer("Tell me, Who are you?"),
        answer("Tell me, What day is it?"),
    )
    assert same_sound(heard.content, b"".join(expected))


def test_a_text_is_read_in_clauses_and_long_clauses_in_even_parts() -> None:
    assert pieces("  Good morning. One two three four five six seven, eight!\nNine", 4) == [
        *("Good morning.", "One two three", "four five six seven,", "eight!", "Nine")
    ]
    assert pieces("word " * 7, 6) == ["word word word", "word word word word"]


def test_a_checkpoint_declares_how_it_reads_aloud(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path)
    assert load_bundle(tmp_path, "cpu").read_aloud == READS
    with pytest.raises(ConfigError, match=r"needs \{text\} in it"):
        ReadAloudConfig("Repeat after me", 6)

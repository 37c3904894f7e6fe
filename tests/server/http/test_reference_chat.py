"""`POST /chat`: the request of the reference's web demos, and the answer as they take it apart."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import pytest

from omni_core.checkpoint import Bundle
from tests.server.conftest import Server
from tests.server.http.conftest import Question, same_sound


@pytest.fixture(scope="module")
def bundle(nano: Bundle) -> Bundle:
    return nano


async def as_the_demos_do(server: Server, body: dict[str, Any]) -> tuple[list[bytes], str]:
    """The parts of sound, and the text: webui/omni_streamlit.py and omni_gradio.py of gpt-omni/mini-omni2 split in this way."""
    sound, text, buffer = [], "", b""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client, client.stream("POST", f"{server.http}/chat", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        async for chunk in response.aiter_bytes(2048):
            buffer += chunk
            while b"\r\n--frame\r\n" in buffer:
                part, buffer = buffer.split(b"\r\n--frame\r\n", 1)
                if b"Content-Type: audio/wav" in part:
                    sound.append(part.split(b"\r\n\r\n", 1)[1])
                elif b"Content-Type: text/plain" in part:
                    text += part.split(b"\r\n\r\n", 1)[1].decode()
    assert buffer == b"Content-Type: text/plain\r\n\r\n\r\n--frame--\r\n"  # an empty part: nothing is lost to those who wait for one boundary more
    return sound, text


async def test_the_demos_hear_and_read_the_whole_answer(server: Server, question: Question) -> None:
    audio = base64.b64encode(question.as_file("WAV")).decode()
    requests = ({"audio": audio}, {"audio": audio, "stream_stride": 4, "max_tokens": 2048}, {"audio": audio, "max_tokens": 20})
    (sound, text), (strided, same), (cut, _) = await asyncio.gather(*(as_the_demos_do(server, request) for request in requests))
    assert text == question.answer
    assert all(len(part) % 2 == 0 for part in sound)
    assert same == text
    assert same_sound(b"".join(strided), b"".join(sound))
    assert len(strided) < len(sound) / 2
    assert 0 < len(b"".join(cut)) < len(b"".join(sound))

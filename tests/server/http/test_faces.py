"""What all HTTP faces have in common: keys, bounds, refusals, and clients that go away."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_core.config import EngineConfig
from server.http.replies import ClientGone, Stream
from tests.server.conftest import Server, Start
from tests.server.http.conftest import Question

SPEECH, CHAT, HEAR = "/v1/audio/speech", "/v1/chat/completions", "/v1/audio/transcriptions"
LONG = {"messages": [{"role": "user", "content": "Tell me a lot"}], "modalities": ["text", "audio"], "audio": {"format": "pcm16"}}
PICTURE = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def http(server: Server, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=20, **options)


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"json": {"messages": [{"role": "user", "content": list(parts)}]}}


async def test_refusals_have_a_status_and_openai_s_body(server: Server, question: Question) -> None:
    refused: list[tuple[str, dict[str, Any], int, str]] = [
        ("/v1/nothing", {}, 404, "not_found"),
        ("/v1/models", {}, 405, "method_not_allowed"),
        (SPEECH, {"content": b"{"}, 400, "invalid_json"),
        (SPEECH, {"json": {}}, 400, "missing_required_parameter"),
        (SPEECH, {"json": {"input": " "}}, 400, "invalid_text"),
        (SPEECH, {"json": {"input": "x" * 4097}}, 400, "invalid_value"),
        (SPEECH, {"json": {"input": "Hello", "response_format": "aac"}}, 400, "unsupported_format"),
        (SPEECH, {"content": b"x" * 20_000_000}, 413, "request_too_large"),
        (SPEECH, {"data": {"input": "Hello"}}, 415, "unsupported_media_type"),
        (HEAR, {"json": {}}, 415, "unsupported_media_type"),
        (HEAR, {"files": {"model": (None, "whisper-1")}}, 400, "missing_required_parameter"),
        (HEAR, {"files": {"file": b"?"}}, 400, "invalid_audio"),
        (HEAR, {"files": {"file": question.flac, "response_format": (None, "srt")}}, 400, "invalid_value"),
        (HEAR, {"files": {"file": question.flac, "temperature": (None, "11")}}, 400, "invalid_value"),
        (CHAT, {"json": {"messages": []}}, 400, "invalid_value"),
        (CHAT, {"json": {"messages": [{"role": "assistant", "content": "Hello"}]}}, 400, "invalid_value"),
        (CHAT, user({"type": "file", "file": {}}), 400, "invalid_value"),
        (CHAT, user({"type": "input_audio", "input_audio": {"data": "?"}}), 400, "invalid_base64"),
        (CHAT, user({"type": "image_url", "image_url": "https://example.com/cat.png"}), 400, "invalid_image"),
        (CHAT, user({"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": PICTURE}}), 400, "task_not_supported"),
        ("/chat", {"json": {"audio": "", "stream_stride": 4}}, 400, "invalid_audio"),
    ]
    async with http(server) as client:
        for path, body, status, code in refused:
            reply = await client.post(path, **body)
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), (path, reply.text)
            assert reply.json()["error"]["message"]
    await server.idle()


async def test_a_key_is_asked_for(serving: Start, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("open-sesame\n")
    async with serving(api_key_file=tmp_path / "keys") as server, http(server) as client:
        for path in (SPEECH, HEAR, CHAT, "/chat"):
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                reply = await client.post(path, content=b"x" * 100_000, headers=headers)
                assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
        assert (await client.get("/v1/models/any")).status_code == 401
        right = {"Authorization": "Bearer open-sesame"}
        assert (await client.get("/v1/models/any/name", headers=right)).json()["id"] == "any/name"


async def test_more_requests_than_places_are_asked_to_come_again(serving: Start) -> None:
    """The engine's places are taken, then the server's own: the second counts requests whose bodies are still on their way."""
    body = {"input": "Hello", "response_format": "pcm"}
    async with serving(EngineConfig(slots=1, queue=0), slots=1, queue=1) as server, http(server) as client:
        async with client.stream("POST", SPEECH, json=body) as running:
            assert running.status_code == 200
            busy = await client.post(SPEECH, json=body)
            assert (busy.status_code, busy.headers["retry-after"], busy.json()["error"]["code"]) == (429, "1", "server_busy")

            body_here = asyncio.Event()

            async def slowly() -> AsyncIterator[bytes]:
                yield b"{"
                await body_here.wait()
                yield b"}"

            slow = asyncio.create_task(client.post(SPEECH, content=slowly(), headers={"content-type": "application/json"}))
            await asyncio.sleep(0.2)
            busy = await client.post(SPEECH, json=body)
            assert (busy.status_code, "2 requests" in busy.text) == (429, True)
            body_here.set()
            assert (await slow).status_code == 400
        await server.idle()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_frees_its_slot(serving: Start, stream: bool) -> None:
    body = {**LONG, "stream": stream}
    async with serving(EngineConfig(slots=1, queue=0)) as server:
        async with http(server) as client:
            asking = asyncio.create_task(client.post(CHAT, json=body))
            while not server.engine._streams:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            asking.cancel()
        begun = asyncio.get_running_loop().time()
        await server.idle()
        assert asyncio.get_running_loop().time() - begun < 1.0


async def test_an_engine_that_stops_ends_the_answer_with_an_error(server: Server) -> None:
    chat, speech = {**LONG, "stream": True}, {"input": "Tell me a lot", "response_format": "pcm"}
    async with http(server) as client:
        async with client.stream("POST", CHAT, json=chat) as events, client.stream("POST", SPEECH, json=speech) as sound:
            await server.engine.close()
            lines = [line async for line in events.aiter_lines() if line]
            assert '"code":"engine_stopped"' in lines[-1]
            with pytest.raises(httpx.RemoteProtocolError):
                [part async for part in sound.aiter_bytes()]
        refused = await client.post(CHAT, json=chat)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_not_ready")


async def test_a_client_that_does_not_read_is_given_up() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"sound"

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(ClientGone):
        await Stream(chunks(), "audio/pcm", send_timeout_s=0.05)({}, None, send)  # type: ignore[arg-type]

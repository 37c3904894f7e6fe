"""A Realtime server of a page: it calls anything loud speech, answers every turn with a tone, and does just what its script says."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from websockets.asyncio.server import ServerConnection, serve

RATE = 24_000
SILENCE = RATE // 2  #: samples of silence that end a turn


@dataclass
class Script:
    """How the server answers."""

    chunk_s: float = 0.2
    chunks: int = 3
    pauses_s: tuple[float, ...] = (0.0,)  #: before each chunk, the last one for all that follow
    error: str | None = None  #: answered to response.create
    blind: bool = False  #: says that pictures are left out
    deaf: bool = False  #: never hears a turn
    received: list[dict[str, Any]] = field(default_factory=list)  #: all but the audio
    samples: int = 0  #: of audio received
    arrivals: list[float] = field(default_factory=list)
    url: str = ""


class _Connection:
    def __init__(self, socket: ServerConnection, script: Script) -> None:
        self.socket, self.script = socket, script
        self.listening, self.speaking, self.position, self.quiet = True, False, 0, 0
        self.response: asyncio.Task[None] | None = None
        self.ids = itertools.count(1)
        self.active = ""

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, "event_id": f"e{next(self.ids)}", **fields}))

    async def run(self) -> None:
        await self.send("session.created", session={"type": "realtime"})
        async for message in self.socket:
            event = json.loads(message)
            if event["type"] == "input_audio_buffer.append":
                await self.hear(np.frombuffer(base64.b64decode(event["audio"]), "<i2"))
                continue
            self.script.received.append(event)
            match event["type"]:
                case "session.update":
                    self.listening = event["session"]["audio"]["input"]["turn_detection"] is not None
                case "response.create" if self.script.error:
                    await self.send("error", error={"type": "invalid_request_error", "message": self.script.error, "event_id": event["event_id"]})
                case "response.create":
                    self.response = asyncio.create_task(self.answer())
                case "conversation.item.retrieve":
                    content = [{"type": "output_audio", "transcript": "word0 word1"}]
                    await self.send("conversation.item.retrieved", item={"id": event["item_id"], "content": content})
                case _:
                    pass

    async def hear(self, pcm: np.ndarray) -> None:
        self.script.samples += len(pcm)
        self.position += len(pcm)
        self.script.arrivals.append(asyncio.get_running_loop().time())
        if not self.listening or self.script.deaf:
            return
        if np.abs(pcm).max(initial=0) > 300:
            self.quiet = 0
            if not self.speaking:
                self.speaking = True
                await self.interrupt()
                await self.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
        elif self.speaking:
            self.quiet += len(pcm)
            if self.quiet >= SILENCE:
                self.speaking = False
                end_ms = round(1000 * (self.position - self.quiet) / RATE)
                await self.send("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id="u")
                await self.send("input_audio_buffer.committed", item_id="u")
                self.response = asyncio.create_task(self.answer())

    async def interrupt(self) -> None:
        if self.response and not self.response.done():
            self.response.cancel()
            await self.send("response.done", response={"id": self.active, "status": "cancelled", "status_details": {"reason": "turn_detected"}})

    async def answer(self) -> None:
        number = next(self.ids)
        self.active = response = f"resp_{number}"
        of = {"response_id": response, "item_id": f"item_{number}", "output_index": 0, "content_index": 0}
        if self.script.blind:
            await self.send(
                "error", error={"type": "invalid_request_error", "code": "image_not_supported", "message": "I can't see", "event_id": None}
            )
        await self.send("response.created", response={"id": response, "status": "in_progress"})
        await self.send("response.output_item.added", response_id=response, output_index=0, item={"id": f"item_{number}"})
        tone = (np.sin(np.arange(round(self.script.chunk_s * RATE)) / 20) * 8000).astype("<i2")
        pauses = itertools.chain(self.script.pauses_s, itertools.repeat(self.script.pauses_s[-1]))
        for number, pause in zip(range(self.script.chunks), pauses, strict=False):
            await asyncio.sleep(pause)
            await self.send("response.output_audio_transcript.delta", delta=f"word{number} ", **of)
            await self.send("response.output_audio.delta", delta=base64.b64encode(tone.tobytes()).decode(), **of)
        await self.send("omni.response.timings", response_id=response, server_ttfa_ms=12.4, rtf=0.251, audio_ms=600)
        await self.send("response.done", response={"id": response, "status": "completed", "usage": {"total_tokens": 1}})


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    """A running scripted server."""
    script = Script()

    async def handle(socket: ServerConnection) -> None:
        connection = _Connection(socket, script)
        try:
            await connection.run()
        finally:
            if connection.response:
                connection.response.cancel()

    async with serve(handle, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        script.url = f"ws://127.0.0.1:{port}/v1/realtime"
        yield script


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    """Something loud."""
    return (0.5 * np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 220 / rate)).astype(np.float32)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """0.6 s of sound and 0.2 s of silence."""
    path = tmp_path / "question.wav"
    soundfile.write(path, np.concatenate([tone(0.6), np.zeros(RATE // 5, np.float32)]), RATE)
    return path

"""A real server on a free port in front of a real engine with a tiny random model: every part is nano's, none is trained."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import tokenizers
import torch
import uvicorn
from tokenizers import decoders, models, pre_tokenizers
from websockets.asyncio.client import ClientConnection, connect

from omni_core.checkpoint import Bundle
from omni_core.codec import CausalCodec
from omni_core.config import BackboneConfig, CausalCodecConfig, ChunkedEncoderConfig, EngineConfig, LayoutConfig, ListenerConfig, ModelConfig
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.engine.client import EngineClient
from omni_core.models import OmniModel
from omni_core.tokens import Tokenizer
from server.app import create_app
from server.gateway import uvicorn_config
from server.settings import Settings
from tests.session.harness import base64_audio, check

PATIENCE_S = 20.0


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """It says nothing that makes sense, at the pace of a real model."""
    torch.manual_seed(5)
    vocabulary = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), decoders.ByteLevel()
    model = OmniModel(
        ModelConfig(
            name="tiny",
            layout=LayoutConfig(text_tokens=256, text_rows=264, codes=16, audio_rows=24),
            backbone=BackboneConfig(layers=2, width=32, heads=4, kv_heads=2, head_size=8, mlp=48, rope_base=1e4, norm_eps=1e-6, max_positions=1024),
            audio_features=16,
            vision_features=None,
            adapter_mlp=16,
            image_overwrites_input=False,
        )
    ).eval()
    encoder = ChunkedEncoder(
        ChunkedEncoderConfig(mels=16, width=16, layers=1, heads=2, mlp=16, features_per_s=25, chunk_features=8, left_chunks=2, ctc_vocabulary=0)
    ).eval()
    widths = {"code_dim": 4, "encoder_width": 16, "latent": 16, "decoder_width": 16, "expansion": 2}
    depths = {"encoder_layers": 1, "frame_layers": 1, "decoder_layers": 1}
    codec = CausalCodec(CausalCodecConfig(codes=16, mels=16, fft=1024, hop=256, delay=0, **widths, **depths)).eval()
    return Bundle(model, Tokenizer(inner), encoder, None, codec, "tiny", listener=None, memory_turns=2)


async def eventually(true: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class User:
    """A WebSocket client that checks what it is told as strict clients do."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []

    async def send(self, type: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            event = json.loads(await self.socket.recv())
        check(event)
        self.heard.append(event)
        return event

    async def until(self, type: str) -> dict[str, Any]:
        """The next event of that type; those before it are in `heard`."""
        while True:
            event = await self.next()
            if event["type"] == type:
                return event
            assert event["type"] != "error" or type == "error", event

    async def say(self, pcm: bytes, chunk_ms: int = 100) -> None:
        """Audio in chunks, as fast as it goes."""
        step = 2 * 24 * chunk_ms
        for at in range(0, len(pcm), step):
            await self.send("input_audio_buffer.append", audio=base64_audio(pcm[at : at + step]))

    async def manual(self, **session: Any) -> User:
        await self.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}, **session})
        await self.until("session.updated")
        return self

    async def ask(self, **response: Any) -> None:
        """A typed question; the answer is bounded so that tests are quick."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello?"}]}
        await self.send("conversation.item.create", item=item)
        await self.send("response.create", response={"max_output_tokens": 160, **response})

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.heard if event["type"] == type]


Start = Callable[..., Any]


class Server:
    """The running server."""

    def __init__(self, port: int, engine: EngineClient, sessions: set) -> None:
        self.port, self.engine, self.sessions = port, engine, sessions
        self.http, self.url = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/v1/realtime"

    @asynccontextmanager
    async def user(self, query: str = "", **options: Any) -> AsyncIterator[User]:
        """Somebody who has connected and read session.created."""
        async with connect(self.url + query, proxy=None, max_size=None, max_queue=None, **options) as socket:
            user = User(socket)
            await user.until("session.created")
            yield user

    async def idle(self) -> None:
        """Wait until the engine has nothing left to do for anybody."""
        await eventually(lambda: not self.engine._streams)


@pytest.fixture
def serving(bundle: Bundle) -> Start:
    """`async with serving(max_sessions=1) as server`: settings by name."""

    @asynccontextmanager
    async def start(config: EngineConfig | None = None, listener: ListenerConfig | None = None, **settings: Any) -> AsyncIterator[Server]:
        engine = EngineClient.start_thread(replace(bundle, listener=listener), config=config or EngineConfig(slots=2, queue=2))
        await engine.ready()
        chosen = replace(Settings(port=0, shutdown_s=1.0), **settings)
        app = create_app(chosen, engine)
        server = uvicorn.Server(uvicorn_config(chosen, app))
        listener = socket.create_server(("127.0.0.1", 0))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield Server(listener.getsockname()[1], engine, app.state.sessions)
        finally:
            server.should_exit = True
            await running
            await engine.close()

    return start


@pytest.fixture
async def server(serving: Start) -> AsyncIterator[Server]:
    """One with the usual settings."""
    async with serving() as running:
        yield running

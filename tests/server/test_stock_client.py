"""The protocol's own client library holds a conversation with the server."""

from __future__ import annotations

import asyncio
import base64

from openai import AsyncOpenAI

from tests.server.conftest import PATIENCE_S, Server


async def test_the_openai_package_gets_a_spoken_answer_to_a_typed_question(server: Server) -> None:
    client = AsyncOpenAI(api_key="none-needed", websocket_base_url=server.url.removesuffix("/realtime"))
    heard, audio = [], 0
    async with asyncio.timeout(PATIENCE_S), client.realtime.connect(model="gpt-realtime", websocket_connection_options={"proxy": None}) as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["audio"], "audio": {"input": {"turn_detection": None}}})
        content = [{"type": "input_text", "text": "Say hello!"}]
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})  # type: ignore[arg-type,typeddict-item]
        await connection.response.create(response={"max_output_tokens": 120, "metadata": {"turn": "1"}})
        async for event in connection:
            heard.append(event.type)
            if event.type == "response.created":
                assert event.response.metadata == {"turn": "1"}
            if event.type == "response.output_audio.delta":
                audio += len(base64.b64decode(event.delta))
            if event.type == "response.done":
                assert event.response.usage is not None
                break
    assert heard[:2] == ["session.created", "session.updated"]
    assert audio > 0

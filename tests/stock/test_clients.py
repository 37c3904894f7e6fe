"""Clients that others wrote, unmodified, in conversation with nano: over TLS, with a key, all at once."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from agents.realtime.model_inputs import RealtimeModelSendInterrupt
from openai import AsyncOpenAI, OpenAI
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from pydantic import TypeAdapter

from clients.commands.server_process import running_server
from server.gate.tls import self_signed
from tests.npm import NPM, installed
from tests.stock.conversation import LONG_ANSWER, PCM, RATE, TELEPHONE, TURN_DETECTION, Conversation, Event, Heard, chunks, picture, spoken

KEY = "open-sesame"
MODEL = "gpt-realtime"
PATIENCE_S = 280.0
JS = Path(__file__).parent / "js"

pytestmark = pytest.mark.timeout(300)


def talk_as_openai(base: str) -> None:
    """The `openai` package's blocking client."""
    client, steps = OpenAI(api_key=KEY, websocket_base_url=base), Conversation().steps()
    with client.realtime.connect(model=MODEL) as connection:
        next(steps)
        for event in connection:
            try:
                saying = steps.send(event.to_dict())
            except StopIteration:
                return
            for said in saying:
                connection.send(said)  # type: ignore[arg-type]
    raise AssertionError("the server ended the conversation")


async def talk_as_async_openai(base: str) -> None:
    """The `openai` package's client for asyncio, which comes in with a client secret and speaks as telephones do."""
    server = AsyncOpenAI(api_key=KEY, base_url=base.replace("wss:", "https:"))
    secret = await server.realtime.client_secrets.create(session={"type": "realtime", "instructions": "Be brief"})
    client, steps = AsyncOpenAI(api_key=secret.value, websocket_base_url=base), Conversation(TELEPHONE).steps()
    async with client.realtime.connect(model=MODEL) as connection:
        next(steps)
        async for event in connection:
            try:
                saying = steps.send(event.to_dict())
            except StopIteration:
                return
            for said in saying:
                await connection.send(said)  # type: ignore[arg-type]
    raise AssertionError("the server ended the conversation")


async def talk_as_beta_openai(base: str) -> None:
    """The same package's older client: one spoken turn in the beta dialect, by its own types."""
    strict: TypeAdapter[BetaServerEvent] = TypeAdapter(BetaServerEvent)
    answer = ""
    async with AsyncOpenAI(api_key=KEY, websocket_base_url=base).beta.realtime.connect(model=MODEL) as connection:
        await connection.session.update(session={"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}, "voice": "alloy"})
        for chunk in chunks(PCM.encode(spoken("capital-france-annie"))):
            await connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())
        async for event in connection:
            strict.validate_python(event.to_dict())
            assert event.type != "error", event
            if event.type == "response.audio.delta":
                answer += event.delta
            if event.type == "response.done":
                break
    assert len(answer) > RATE // 2 * 2 * 4 // 3


def talk_as_npm(base: str) -> None:
    """The npm package `openai`, moved through pipes."""
    folder = installed(JS)
    command = ["node", str(folder / "bridge.mjs"), base.replace("wss:", "https:"), KEY]
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": os.environ["SSL_CERT_FILE"]}
    steps = Conversation().steps()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            next(steps)
            for line in process.stdout:
                try:
                    saying = steps.send(json.loads(line))
                except StopIteration:
                    return
                process.stdin.writelines(json.dumps(said) + "\n" for said in saying)
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
    raise AssertionError(f"the client stopped with status {process.returncode}")


class _Agents:
    """What RealtimeRunner's session says, one event at a time, its raw server events checked as strictly as everybody's."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session, self.heard, self._events = session, Heard(PCM), aiter(session)

    async def until(self, type: str) -> Any:
        """The next event of that type: the session's own, or the server's."""
        async for event in self._events:
            if event.type == "raw_model_event" and event.data.type == "raw_server_event":
                told: Event = event.data.data
                self.heard.add(told)
                if told["type"] == type:
                    return told
            elif event.type == "raw_model_event":
                assert event.data.type != "exception", event.data
            elif event.type == type:
                return event
        raise AssertionError(f"the session ended before {type}")

    async def say(self, question: str) -> None:
        for chunk in chunks(PCM.encode(spoken(question))):
            await self.session.send_audio(chunk)

    async def answered(self) -> None:
        done = await self.until("response.done")
        assert done["response"]["status"] == "completed", done
        assert len(self.heard.audio(done)) > RATE // 2


async def talk_as_agents(base: str) -> None:
    """`openai-agents`, whose session interrupts and truncates by itself."""
    runner = RealtimeRunner(RealtimeAgent(name="Omni", instructions="Be brief"))
    settings: Any = {"turn_detection": TURN_DETECTION}
    options: Any = {"url": f"{base}/realtime?model={MODEL}", "api_key": KEY, "initial_model_settings": settings}
    async with await runner.run(model_config=options) as session:
        talk = _Agents(session)
        for question in ("capital-france-annie", "spider-legs-annie"):
            await talk.say(question)
            await talk.until("audio")
            await talk.answered()

        content: Any = [{"type": "input_image", "image_url": picture()}, {"type": "input_text", "text": "What do you see?"}]
        await session.send_message({"type": "message", "role": "user", "content": content})
        await talk.answered()

        await session.send_message(LONG_ANSWER)
        await talk.until("audio")
        await session.model.send_event(RealtimeModelSendInterrupt(force_response_cancel=True))
        done = await talk.until("response.done")
        assert done["response"]["status_details"]["reason"] == "client_cancelled"

        await session.send_message(LONG_ANSWER)
        await talk.until("audio")
        await talk.say("capital-japan-annie")
        done = await talk.until("response.done")
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        await talk.until("audio_interrupted")
        await talk.answered()
        talk.heard.check()


CLIENTS: dict[str, Callable[[str], None]] = {
    "openai": talk_as_openai,
    "openai (async)": lambda base: asyncio.run(talk_as_async_openai(base)),
    "openai (beta)": lambda base: asyncio.run(talk_as_beta_openai(base)),
    "openai-agents": lambda base: asyncio.run(talk_as_agents(base)),
    "npm openai": talk_as_npm,
}


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Every client's conversation, begun at the same time with one server."""
    folder = tmp_path_factory.mktemp("stock")
    certificate, key = self_signed("127.0.0.1", folder)
    (folder / "keys").write_text(KEY)
    options = ("--device", "cpu", "--tls-cert", str(certificate), "--tls-key", str(key), "--api-key-file", str(folder / "keys"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(certificate))
        environment.setenv("NO_PROXY", "127.0.0.1")
        environment.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
        with ThreadPoolExecutor(len(CLIENTS)) as pool, running_server(folder / "server.log", *options) as port:
            yield {name: pool.submit(talk, f"wss://127.0.0.1:{port}/v1") for name, talk in CLIENTS.items()}


@pytest.mark.parametrize("client", [pytest.param(name, marks=NPM) if name.startswith("npm") else name for name in CLIENTS])
def test_a_client_holds_a_conversation(talks: dict[str, Future[None]], client: str) -> None:
    """Two spoken turns, a picture, a cancelled answer and a barge-in (beta: a turn); every server event is one that the client's types know."""
    talks[client].result(PATIENCE_S)

"""The engine in a process of its own, with a small model that was saved to disk: several clients, one that vanishes, and every way to die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from omni_core.checkpoint.save import save_bundle
from omni_core.config import EngineConfig
from omni_core.engine.client import EngineClient
from omni_core.engine.request import AudioChunk, EngineEvent, Failed, Finished, GenerateRequest, TextDelta
from omni_core.engine.supervisor import Supervised, engine_address, engine_process
from omni_core.errors import CheckpointError, ConfigError, EngineBusy, EngineClosed, OmniError
from omni_core.tokens import Task
from tests.engine.parts import wave
from tests.small import small_nano

pytestmark = pytest.mark.timeout(300)
CONFIG = EngineConfig(slots=2, queue=1)
PATIENCE_S = 90.0  # a process starts in 3 s on a free machine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_bundle(small_nano(), folder)
    return folder


@asynccontextmanager
async def running(folder: Path, model: Path, hang_s: float = 60.0, program: str | None = None) -> AsyncIterator[Supervised]:
    """An engine that is ready, for clients that connect to `folder`; `program` stands in its module's place."""
    process = engine_process(folder, str(model), device="cpu", config=CONFIG, hang_s=hang_s)
    if program is not None:
        process._command = [sys.executable, "-c", program, process._command[-1]]
    process.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await process.ready()
        yield process
    finally:
        await process.close()


@asynccontextmanager
async def client_of(folder: Path) -> AsyncIterator[EngineClient]:
    client = EngineClient.connect(folder, CONFIG)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await client.ready()
        yield client
    finally:
        await client.close()


def question(id: str, **values) -> GenerateRequest:
    return GenerateRequest(**({"id": id, "task": Task.T1A2, "text": "Hello?", "max_steps": 40} | values))


def endless(id: str) -> GenerateRequest:
    """As long as positions last, at the pace of speech."""
    return question(id, max_steps=10_000, paced=True)


async def answer(client: EngineClient, request: GenerateRequest) -> list[EngineEvent]:
    async with asyncio.timeout(PATIENCE_S), aclosing(client.generate(request)) as stream:
        return [event async for event in stream]


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_clients_with_equal_ids_get_what_a_thread_would_give_them(tmp_path: Path, model: Path) -> None:
    thread = EngineClient.start_thread(model, device="cpu", config=CONFIG)
    await thread.ready()
    asked = [question("same"), question("same", text="And you?")]
    expected = [await answer(thread, request) for request in asked]
    async with running(tmp_path, model), client_of(tmp_path) as one, client_of(tmp_path) as other:
        assert one.info == other.info == thread.info
        given = await asyncio.gather(*[answer(client, request) for client, request in zip((one, other), asked, strict=True)])
        for events, wanted in zip(given, expected, strict=True):
            assert isinstance(events[-1], Finished)
            assert [e.text for e in events if isinstance(e, TextDelta)] == [e.text for e in wanted if isinstance(e, TextDelta)]
            sound, wanted_sound = (np.concatenate([e.pcm for e in es if isinstance(e, AudioChunk)]) for es in (events, wanted))
            np.testing.assert_allclose(sound, wanted_sound, atol=1e-5)  # sums of a batch of two are rounded otherwise
        # a microphone, a turn that is heard while it is spoken, and an alignment, under one name each
        async with aclosing(one.listen("same")) as ear:
            ear.push(wave(0.2))
            assert (await anext(ear)).frame == 0
        turn = one.hear("same")
        turn.push(wave(0.5))
        assert not other.hears("same", 12_000)
        assert one.hears("same", 12_000)
        assert isinstance((await answer(one, question("b", task=Task.A1A2, text=None, turn=("same", 12_000))))[-1], Finished)
        turn.close()
        assert 0 <= await one.heard_words("one two", wave(0.5)) <= 7
        with pytest.raises(OmniError, match="no word"):
            await one.heard_words("...", wave(0.5))
    await thread.close()


async def test_what_a_vanished_client_had_open_is_free_for_others(tmp_path: Path, model: Path) -> None:
    async with running(tmp_path, model), client_of(tmp_path) as stayed:
        for vanish in (_leave, _break_off):
            gone = EngineClient.connect(tmp_path, CONFIG)
            await gone.ready()
            held = [gone.generate(endless(id)) for id in "abc"], [gone.hear(id) for id in "abc"], [gone.listen(id) for id in "ab"]  # all there is
            held[-1][0].push(wave(0.2))
            await anext(held[-1][0])
            refused = (await answer(stayed, question("refused")))[-1]
            assert isinstance(refused, Failed)
            assert isinstance(refused.error, EngineBusy)
            with pytest.raises(EngineBusy):
                await anext(stayed.listen("refused"))
            stayed.hear("refused")
            await eventually(lambda: not stayed._turns)
            await vanish(gone)
            async with asyncio.timeout(PATIENCE_S):
                while not isinstance((await answer(stayed, question("next", max_steps=3)))[-1], Finished):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            turns = [stayed.hear(id) for id in "abc"]
            turns[2].push(wave(0.1))
            assert isinstance((await answer(stayed, question("d", task=Task.A1A2, text=None, turn=("c", 2400))))[-1], Finished)
            async with aclosing(stayed.listen("a")) as ear:
                ear.push(wave(0.2))
                await anext(ear)
            for turn in turns:
                turn.close()


async def _leave(client: EngineClient) -> None:
    await client.close()


async def _break_off(client: EngineClient) -> None:
    """As a process that is killed: nothing is said."""
    assert client._link is not None
    client._link._beat.cancel()
    client._link._shut(0)
    client._link = None


POISONED = """
from omni_core.engine import process
from omni_core.engine.messages import Submit
receive = process.Clients.receive
def poisoned(port, wait_s):
    commands = receive(port, wait_s)
    if any(isinstance(command, Submit) and command.request.text == "poison" for command in commands):
        raise RuntimeError("the device fell off")
    return commands
process.Clients.receive = poisoned
process.main()
"""  # an engine whose loop fails over this text


async def test_an_engine_that_fails_or_stands_still_ends_every_stream_and_comes_back(tmp_path: Path, model: Path) -> None:
    async with running(tmp_path, model, hang_s=8.0, program=POISONED) as process, client_of(tmp_path) as client:
        stream, turn, ear = client.generate(endless("a")), client.hear("t"), client.listen("l")
        turn.push(wave(0.5))
        await anext(stream)
        died = (await answer(client, question("b", text="poison")))[-1]
        *_, last = [event async for event in stream]
        for failed in (died, last):
            assert isinstance(failed, Failed)
            assert isinstance(failed.error, EngineClosed)
            assert "fell off" in str(failed.error)
        with pytest.raises(EngineClosed, match="fell off"):
            await anext(ear)
        assert not client.hears("t", 12_000)
        for refused in (lambda: client.generate(question("c")), lambda: client.listen("m"), lambda: client.hear("n")):
            with pytest.raises(EngineClosed):
                refused()
        await eventually(lambda: client.healthy)

        stream, stuck = client.generate(endless("a")), process.pid
        await anext(stream)
        assert stuck is not None
        os.kill(stuck, signal.SIGSTOP)
        async with asyncio.timeout(20):
            *_, last = [event async for event in stream]
        assert isinstance(last, Failed)
        assert isinstance(last.error, EngineClosed)
        await eventually(lambda: client.healthy)
        assert not alive(stuck)
        assert isinstance((await answer(client, question("a")))[-1], Finished)


async def test_a_model_that_can_not_be_loaded_is_said_by_ready(tmp_path: Path) -> None:
    client = EngineClient.start_process(tmp_path / "nothing here", device="cpu")
    with pytest.raises(CheckpointError, match="nothing here"):
        await client.ready()
    assert not client.healthy
    await client.close()


def test_a_folder_with_too_long_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TMPDIR"):
        engine_address(tmp_path / ("x" * 100))


async def test_the_engine_ends_with_its_parent_and_leaves_nothing(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    program = f"""
import asyncio
from pathlib import Path
from omni_core.config import EngineConfig
from omni_core.engine.supervisor import engine_process
async def main():
    process = engine_process(Path({str(folder)!r}), {str(model)!r}, device="cpu", config=EngineConfig(slots=1))
    process.start()
    await process.ready()
    print(process.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        engine = int(await parent.stdout.readline())
    assert alive(engine)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not alive(engine))
    await eventually(lambda: not folder.exists())

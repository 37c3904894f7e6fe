"""The asyncio side: refusals at once, streams that can be closed, and an engine that dies."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import numpy as np
import pytest

from omni_core.config import EngineConfig
from omni_core.engine.client import EngineClient
from omni_core.engine.request import AudioChunk, Failed, Finished, FinishReason, GenerateRequest, TextDelta
from omni_core.errors import AudioError, CheckpointError, EngineBusy, EngineClosed, EngineError
from omni_core.tokens import Task
from tests.engine.parts import ScriptedModel, make_bundle, make_frames, script, wave


def _model(frames: int = 6) -> ScriptedModel:
    return ScriptedModel(script("hello", make_frames(frames)))


def _request(id: str = "r", **values) -> GenerateRequest:
    return GenerateRequest(**({"id": id, "task": Task.A1A2, "audio": wave()} | values))


async def _client(model: ScriptedModel, **config) -> EngineClient:
    model.parameters = lambda: iter(())  # type: ignore[attr-defined]
    client = EngineClient.start_thread(make_bundle(model), config=EngineConfig(**config))
    await client.ready()
    return client


async def test_answers_come_as_streams_side_by_side():
    client = await _client(_model(), slots=2)
    assert client.healthy
    assert (client.info.model, client.info.sample_rate) == ("tiny", 24000)
    results = await asyncio.gather(*[_collect(client, _request(str(n))) for n in range(5)])
    for events in results:
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "hello"
        assert sum(len(event.pcm) for event in events if isinstance(event, AudioChunk)) == 6 * 2048
        assert isinstance(events[-1], Finished)
        assert events[-1].reason is FinishReason.STOP
    await client.close()


async def _collect(client: EngineClient, request: GenerateRequest) -> list:
    async with aclosing(client.generate(request)) as stream:
        return [event async for event in stream]


async def test_the_model_is_loaded_in_the_thread_and_its_error_is_raised_by_ready(tmp_path):
    client = EngineClient.start_thread(str(tmp_path / "nothing here"), device="cpu")
    with pytest.raises(CheckpointError):
        await client.ready()
    assert not client.healthy
    with pytest.raises(EngineClosed):
        client.generate(_request())
    await client.close()


def test_before_it_is_ready_nothing_is_known():
    client = EngineClient(EngineConfig())
    assert not client.healthy
    with pytest.raises(EngineError, match="ready"):
        _ = client.info


async def test_refusals_are_raised_at_once_and_take_no_place():
    client = await _client(_model(150), slots=1, queue=1)
    with pytest.raises(AudioError):
        client.generate(_request(audio=np.zeros(0, np.float32)))
    streams = [client.generate(_request(id, paced=True)) for id in "ab"]
    with pytest.raises(EngineError, match="already"):
        client.generate(_request("a"))
    with pytest.raises(EngineBusy):
        client.generate(_request("c"))
    await streams[0].aclose()
    third = client.generate(_request("c", max_steps=4))
    await streams[1].aclose()
    assert isinstance([event async for event in third][-1], Finished)
    await client.close()


async def test_closing_a_stream_frees_its_slot_between_steps():
    client = await _client(_model(150), slots=1, queue=0)
    for n in range(20):  # each would hold the only slot for 11 s
        async with aclosing(client.generate(_request(str(n), paced=True))) as stream:
            async for event in stream:
                if isinstance(event, AudioChunk):
                    break
        assert [event async for event in stream] == []
    await client.close()


async def test_a_task_that_is_cancelled_while_it_waits_for_an_event_frees_its_slot():
    client = await _client(_model(150), slots=1, queue=0)
    task = asyncio.create_task(_collect(client, _request("a", paced=True)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance((await _collect(client, _request("b", max_steps=2)))[-1], Finished)
    await client.close()


async def test_when_the_engine_dies_every_stream_is_told():
    model = _model(150)
    client = await _client(model, slots=2, queue=2)
    streams = [client.generate(_request(str(n), paced=True)) for n in range(4)]
    await anext(streams[0])
    model.broken = True
    for stream in streams:
        *_, last = [event async for event in stream]
        assert isinstance(last, Failed)
        assert isinstance(last.error, EngineClosed)
        assert "fell off" in str(last.error)
    assert not client.healthy
    with pytest.raises(EngineClosed, match="fell off"):
        client.generate(_request("late"))
    await client.close()


async def test_closing_ends_the_thread_and_its_streams():
    client = await _client(_model(150))
    stream = client.generate(_request(paced=True))
    await client.close()
    *_, last = [event async for event in stream]
    assert isinstance(last, Failed)
    assert isinstance(last.error, EngineClosed)
    assert not client.healthy
    assert not any(thread.name == "engine" for thread in threading.enumerate())


async def test_a_reader_that_never_reads_costs_no_more_than_one_answer():
    client = await _client(_model(100), slots=1)
    stream = client.generate(_request(max_steps=50))
    await _collect(client, _request("behind", max_steps=1))
    events = [event async for event in stream]
    assert isinstance(events[-1], Finished)
    assert sum(len(event.pcm) for event in events if isinstance(event, AudioChunk)) == (50 - 7) * 2048
    await client.close()

"""Listeners inside the engine: the statuses of the stand-alone listener, beside answers that don't notice, for hours, and freed when closed."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import resource
from contextlib import aclosing

import numpy as np
import pytest
import torch
from torch import Tensor

from omni_core.checkpoint import Bundle, load_bundle
from omni_core.codec.base import FRAME_SAMPLES, encode_as_stream
from omni_core.config import EngineConfig, ListenerConfig
from omni_core.engine.client import EngineClient
from omni_core.engine.engine import Engine
from omni_core.engine.request import GenerateRequest, ListenerEnded, Status
from omni_core.errors import AudioError, EngineBusy, EngineClosed, EngineError, TaskError
from omni_core.listener import BatchListener
from omni_core.tokens import Task
from tests.engine.parts import wave
from tests.small import small_nano

CLOSE = {"atol": 1e-4, "rtol": 0.0}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return small_nano()


@pytest.fixture(scope="module")
def nano() -> Bundle:
    """nano's weights and codec; its irq ids are read as they are, in a band that is soon round."""
    return dataclasses.replace(load_bundle("nano", "cpu"), listener=ListenerConfig(9, 0.0))


def frames_of(seconds: float, seed: int = 0) -> np.ndarray:
    """[frames, 2048]"""
    sound = wave(seconds, seed)
    return sound[: len(sound) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)


def expected(bundle: Bundle, frames: np.ndarray) -> Tensor:
    """Margins [F] of the stand-alone listener."""
    assert bundle.listener is not None
    assert bundle.codec is not None
    codes = encode_as_stream(bundle.codec, torch.from_numpy(frames).flatten())
    return BatchListener(bundle.model, bundle.listener.band_frames, bundle.listener.margin).margins(codes[None])[0]


def margins(statuses: list[Status]) -> Tensor:
    return torch.tensor([status.margin for status in statuses])


def listen(engine: Engine, id: str, frames: np.ndarray, start: int = 0) -> list[Status]:
    """One step a frame, and no other response."""
    statuses = []
    for number, pcm in enumerate(frames, start):
        engine.listeners.push(id, number, pcm)
        assert engine.wait_s(0.0) == 0
        engine.step(0.0)
        statuses += [event for _, event in engine.listeners.events()]
    assert engine.wait_s(0.0) is None
    return statuses


def test_statuses_are_those_of_the_stand_alone_listener_and_answers_do_not_notice(nano):
    """Listeners come and go at different times beside two answers."""
    sounds = {"a": frames_of(3.0, 1), "b": frames_of(2.2, 2), "c": frames_of(1.4, 3)}
    requests = [GenerateRequest("x", Task.A1A2, audio=wave(0.5), max_steps=30), GenerateRequest("y", Task.T1A2, text="hello", max_steps=20)]

    def run(listening: bool) -> tuple[list[np.ndarray], dict[str, list[Status]]]:
        engine = Engine(nano, EngineConfig(slots=3))
        responses = [engine.submit(request) for request in requests]
        heard: dict[str, list[Status]] = {id: [] for id in sounds}
        for step in range(45):
            for id, begins in zip(sounds if listening else "", (0, 4, 9), strict=False):
                if step == begins:
                    engine.listeners.open(id)
                if 0 <= step - begins < len(sounds[id]):
                    engine.listeners.push(id, step - begins, sounds[id][step - begins])
                if step - begins == len(sounds[id]) + 1:
                    engine.listeners.close(id)
            engine.step(0.0)
            for id, event in engine.listeners.events():
                assert isinstance(event, Status)
                heard[id].append(event)
        return [np.stack(response.columns, axis=1) for response in responses], heard

    (alone, _), (beside, heard) = run(False), run(True)
    for one, other in zip(alone, beside, strict=True):
        assert np.array_equal(one, other)
    for id, frames in sounds.items():
        assert [status.frame for status in heard[id]] == list(range(len(frames)))
        torch.testing.assert_close(margins(heard[id]), expected(nano, frames), **CLOSE)


def test_irq_has_to_win_by_the_margin_and_a_row_starts_anew(bundle):
    frames = frames_of(2.0)
    wanted = expected(bundle, frames)
    strict = dataclasses.replace(bundle, listener=ListenerConfig(4, float(wanted.median()) + 1e-3))
    engine = Engine(strict, EngineConfig(slots=1))
    for id in ("first", "again"):
        engine.listeners.open(id)
        statuses = listen(engine, id, frames)
        torch.testing.assert_close(margins(statuses), wanted, **CLOSE)
        assert [status.irq for status in statuses] == (wanted > strict.listener.margin).tolist()
        engine.listeners.close(id)


def test_after_an_hour_it_hears_as_at_the_start(bundle):
    late = Engine(bundle, EngineConfig(slots=1))
    late.listeners.open("a")
    listen(late, "a", frames_of(1.0, 1))
    late._runner._step.positions[0] += 4 * 11_000  # an hour of rounds through the band
    late._runner._heard[0] += 4 * 11_000
    frames = frames_of(4.0)
    reach = 2 * 3 + 8  # two layers of a band of 4, and the encoder's convolutions: what lies before has no influence
    torch.testing.assert_close(margins(listen(late, "a", frames))[reach:], expected(bundle, frames)[reach:], **CLOSE)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_hour_of_listening_takes_no_more_memory_than_a_minute(bundle):
    engine = Engine(bundle, EngineConfig(slots=1))
    engine.listeners.open("a")
    frames = frames_of(60.0)
    listen(engine, "a", frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for minute in range(1, 60):
        statuses = listen(engine, "a", frames, minute * len(frames))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB
    torch.testing.assert_close(margins(statuses)[14:], expected(bundle, frames)[14:], **CLOSE)


@pytest.mark.parametrize("bad", [np.zeros(100, np.float32), np.full(FRAME_SAMPLES, np.nan, np.float32)], ids=["a part", "NaN"])
def test_a_frame_that_can_not_be_heard_ends_its_listener_alone(bundle, bad):
    engine = Engine(bundle, EngineConfig(slots=2))
    engine.listeners.open("good")
    engine.listeners.open("bad")
    engine.listeners.push("bad", 0, bad)
    engine.listeners.push("good", 0, np.zeros(FRAME_SAMPLES, np.float32))
    engine.step(0.0)
    engine.step(0.02)
    (_, ended), (id, status) = engine.listeners.events()
    assert isinstance(ended.error, EngineError)
    assert id == "good"
    assert isinstance(status, Status)
    engine.listeners.open("next")  # in the row that is free again


def test_when_a_pass_for_all_microphones_fails_each_is_encoded_alone():
    """Only those for whom it fails again are ended."""
    broken = small_nano()
    engine = Engine(broken, EngineConfig(slots=3))
    for id in "abc":
        engine.listeners.open(id)
        engine.listeners.push(id, 0, np.full(FRAME_SAMPLES, ord(id), np.float32))
    encode_batch = broken.codec.encode_batch
    broken.codec.encode_batch = lambda wave, state: 1 / 0 if (wave[:, 0] == ord("b")).any() else encode_batch(wave, state)
    engine.step(0.0)
    engine.step(0.02)
    assert {id: type(event) for id, event in engine.listeners.events()} == {"a": Status, "b": ListenerEnded, "c": Status}


def test_where_several_listen_a_frame_waits_a_moment_for_others(bundle):
    engine = Engine(bundle, EngineConfig(slots=2))
    engine.listeners.open("a")
    engine.listeners.push("a", 0, np.zeros(FRAME_SAMPLES, np.float32))
    assert engine.wait_s(5.0) == 0  # alone it is heard at once
    engine.step(5.0)
    assert len(engine.listeners.events()) == 1
    engine.listeners.open("b")
    engine.listeners.push("a", 1, np.zeros(FRAME_SAMPLES, np.float32))
    assert engine.wait_s(5.0) == pytest.approx(0.02)
    engine.step(5.0)
    engine.listeners.push("b", 0, np.zeros(FRAME_SAMPLES, np.float32))
    assert engine.wait_s(5.015) == pytest.approx(0.005)
    engine.step(5.021)
    assert {id for id, _ in engine.listeners.events()} == {"a", "b"}
    assert engine.wait_s(5.021) is None


def test_warming_up_leaves_no_listener_open(bundle):
    engine = Engine(bundle, EngineConfig(slots=1))
    engine.warm_up()
    engine.listeners.open("a")


async def _client(bundle: Bundle, slots: int = 2) -> EngineClient:
    client = EngineClient.start_thread(bundle, config=EngineConfig(slots=slots))
    await client.ready()
    return client


async def test_a_microphone_s_audio_in_any_pieces_gives_one_status_a_frame(bundle):
    client = await _client(bundle)
    frames = frames_of(2.0)
    async with aclosing(client.listen("mic")) as stream:
        for piece in np.array_split(frames.flatten(), 31):
            stream.push(piece)
        stream.push(np.zeros(7, np.float32))  # not yet a frame
        statuses = [await anext(stream) for _ in frames]
    assert [status.frame for status in statuses] == list(range(len(frames)))
    torch.testing.assert_close(margins(statuses), expected(bundle, frames), **CLOSE)
    assert [status async for status in stream] == []
    await client.close()


async def test_refusals_come_at_once_and_closing_frees_the_row(bundle):
    client = await _client(bundle)
    first, second = client.listen("a"), client.listen("b")
    with pytest.raises(EngineError, match="already"):
        client.listen("a")
    with pytest.raises(EngineBusy):
        client.listen("c")
    with pytest.raises(AudioError):
        second.push([0.0, float("nan")])
    waiting = asyncio.create_task(anext(first, None))
    await asyncio.sleep(0)
    await first.aclose()
    assert await waiting is None
    first.push(np.zeros(9999))  # nobody minds
    for n in range(20):
        async with aclosing(client.listen(f"d{n}")) as stream:
            stream.push(np.zeros(FRAME_SAMPLES))
            assert (await anext(stream)).frame == 0
    await client.close()
    with pytest.raises(EngineClosed):
        await anext(second)
    with pytest.raises(EngineClosed):
        client.listen("late")


async def test_a_model_without_a_trained_listener_can_not_listen(bundle):
    client = await _client(dataclasses.replace(bundle, listener=None))
    assert not client.info.listener
    with pytest.raises(TaskError, match="listener"):
        client.listen("a")
    await client.close()


async def test_who_does_not_read_loses_the_oldest_audio_and_hears_on(bundle, caplog):
    client = await _client(bundle)
    stream = client.listen("slow")
    with caplog.at_level(logging.WARNING):
        for frame in frames_of(10.0):
            stream.push(frame)
    assert sum("behind" in record.message for record in caplog.records) == 1
    pushed = len(frames_of(10.0))
    numbers = [(await anext(stream)).frame for _ in range(24)]
    assert numbers == [*range(12), *range(pushed - 12, pushed)]
    await client.close()


async def test_when_the_engine_dies_its_listeners_are_told():
    broken = small_nano()
    client = await _client(broken)
    stream = client.listen("a")
    broken.model.forward = lambda *_, **__: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    stream.push(np.zeros(FRAME_SAMPLES))
    with pytest.raises(EngineClosed, match="division"):
        await anext(stream)
    assert [status async for status in stream] == []
    assert not client.healthy
    await client.close()

"""A turn that is encoded while it is spoken gives what its audio gives at once, however it came and wherever the prompt ends."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import numpy as np
import pytest
import torch

from omni_core.audio import resample
from omni_core.checkpoint import Bundle, load_bundle
from omni_core.config import EngineConfig
from omni_core.encoders.chunked import ChunkedEncoder, EncoderStream
from omni_core.engine import turns
from omni_core.engine.client import EngineClient
from omni_core.engine.engine import Engine
from omni_core.engine.request import EngineEvent, Failed, Finished, GenerateRequest, TextDelta
from omni_core.engine.turns import SAMPLE_RATE, Turn
from omni_core.errors import AudioError, EngineBusy, EngineClosed, EngineError, TaskError
from omni_core.tokens import Task
from tests.engine.parts import Ear, wave
from tests.small import small_nano

CPU = torch.device("cpu")
CHUNK = 7680  # samples of a chunk at 24 kHz


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return small_nano()


@pytest.fixture
def encoder(bundle) -> ChunkedEncoder:
    assert isinstance(bundle.audio_encoder, ChunkedEncoder)
    return bundle.audio_encoder


@pytest.fixture
def chunks(monkeypatch) -> list[int]:
    """The lengths of the chunks that were encoded so far."""
    lengths: list[int] = []
    encode = EncoderStream._chunk
    monkeypatch.setattr(EncoderStream, "_chunk", lambda self, wave: lengths.append(len(wave)) or encode(self, wave))
    return lengths


def at_once(encoder, sound: np.ndarray) -> torch.Tensor:
    return encoder.encode(torch.from_numpy(resample(sound, SAMPLE_RATE, encoder.sample_rate)))


def heard(encoder, sound: np.ndarray, pieces: int) -> Turn:
    """A turn that was pushed in pieces and encoded in every pause."""
    turn = Turn(encoder, CPU)
    for piece in np.array_split(sound, pieces):
        turn.push(piece)
        while turn.ready:
            turn.encode_chunk()
    return turn


@pytest.mark.parametrize("pieces", [1, 13, 400])
def test_any_beginning_of_a_turn_has_the_features_that_it_has_at_once(encoder, pieces):
    sound = wave(4.0)
    turn = heard(encoder, sound, pieces)
    for samples in (96_000, 50_000, 1, CHUNK, 3 * CHUNK + 480, 3 * CHUNK + 479, 51_234, 95_999, 96_000):
        torch.testing.assert_close(turn.features(samples), at_once(encoder, sound[:samples]), rtol=1e-4, atol=1e-5)


def test_only_what_is_left_is_encoded_when_a_prompt_asks(encoder, chunks):
    sound = wave(4.0)
    turn = heard(encoder, sound, 100)
    assert chunks == [5120] * 12  # 96,000 samples are 12.5 chunks
    first = turn.features(96_000)
    assert chunks[12:] == [2560]
    assert turn.features(96_000) is first  # the transcript asks for what the answer had
    turn.features(8 * CHUNK + 2880)  # they stopped speaking long ago: the silence is left out
    assert chunks[13:] == [1920]
    turn.push(wave(0.5))  # and then they went on
    turn.features(96_000 + 12_000)
    assert chunks[14:] == [5120, 5120, 640]


def test_a_prompt_that_ends_very_far_back_is_encoded_anew(encoder, chunks, monkeypatch):
    monkeypatch.setattr(turns, "_BACK", 3)
    sound = wave(3.0)
    turn = heard(encoder, sound, 1)
    chunks.clear()
    for samples in (2 * CHUNK, 7 * CHUNK):
        torch.testing.assert_close(turn.features(samples), at_once(encoder, sound[:samples]), rtol=1e-4, atol=1e-5)
    assert chunks == [5120]  # the second prompt's last: its filter saw the end of the prompt


def test_other_encoders_hear_a_turn_at_once():
    sound = wave(1.0)
    turn = heard(Ear(), sound, 10)
    assert torch.equal(turn.features(20_000), at_once(Ear(), sound[:20_000]))


def test_nano_says_the_same_to_a_turn_as_to_its_audio():
    """An answer is prepared in a pause and thrown away; the one that is given is the one to the whole turn."""
    engine = Engine(load_bundle("nano", "cpu"), EngineConfig(slots=2))
    sound = wave(2.0) * np.hanning(48_000).astype(np.float32)
    engine.turns.open("turn")
    prepared = None
    for start in range(0, len(sound), 2400):
        engine.turns.push("turn", sound[start : start + 2400])
        engine.work_ahead()
        if start == 24_000:
            prepared = engine.submit(GenerateRequest("prepared", Task.A1A2, turn=("turn", 20_000), max_steps=20))
            engine.step(0.0)
            engine.cancel("prepared")
    responses = [
        prepared,
        engine.submit(GenerateRequest("by turn", Task.A1A2, turn=("turn", 45_000), max_steps=20)),
        engine.submit(GenerateRequest("by audio", Task.A1A2, audio=sound[:45_000], max_steps=20)),
        engine.submit(GenerateRequest("words", Task.A1T1, turn=("turn", 45_000), max_steps=20)),
    ]
    engine.turns.close("turn")  # all of them keep it
    while engine.wait_s(0.0) is not None:
        assert not [event for _, event in engine.step(0.0) if isinstance(event, Failed)]
    _, by_turn, by_audio, _ = (np.stack(response.columns) for response in responses if response is not None)
    assert np.array_equal(by_turn, by_audio)


def test_each_step_is_followed_by_one_chunk_of_each_turn_in_its_turn(bundle):
    engine = Engine(bundle)
    for id in "ab":
        engine.turns.open(id)
        engine.turns.push(id, wave(1.0))
    opened = [engine.turns.find(id) for id in "ab"]
    done = []
    while engine.wait_s(0.0) == 0:
        engine.work_ahead()
        done.append([len(turn._features) for turn in opened if turn])
    assert done == [[1, 0], [1, 1], [2, 1], [2, 2], [3, 2], [3, 3]]


def test_an_encoder_that_breaks_harms_only_the_response_that_asks(bundle, monkeypatch):
    engine = Engine(bundle)
    engine.turns.open("a")
    engine.turns.push("a", wave(1.0))
    monkeypatch.setattr(ChunkedEncoder, "_subsample", lambda *_: 1 / 0)
    engine.work_ahead()
    assert engine.wait_s(0.0) is None
    engine.submit(GenerateRequest("r", Task.A1T2, turn=("a", 24_000)))
    ((_, failed),) = engine.step(0.0)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, EngineError)


async def _client(bundle: Bundle, **config) -> EngineClient:
    client = EngineClient.start_thread(bundle, config=EngineConfig(**config))
    await client.ready()
    return client


async def _answer(client: EngineClient, request: GenerateRequest) -> list[EngineEvent]:
    async with aclosing(client.generate(request)) as stream:
        return [event async for event in stream]


async def test_a_turn_is_heard_by_the_client_s_engine(bundle, chunks):
    client = await _client(bundle)
    chunks.clear()  # of the warm-up
    hearing = client.hear("turn")
    sound = wave(2.0)
    for piece in np.array_split(sound, 100):
        hearing.push(piece)
    for _ in range(500):
        if len(chunks) == 6:
            break
        await asyncio.sleep(0.01)
    assert chunks == [5120] * 6  # nobody has asked yet
    stream = client.generate(GenerateRequest("a", Task.A1T2, turn=("turn", hearing.pushed), max_steps=20))
    hearing.close()
    hearing.close()
    hearing.push(sound)  # nobody minds
    by_turn = [event async for event in stream]
    by_audio = await _answer(client, GenerateRequest("b", Task.A1T2, audio=sound, max_steps=20))
    assert isinstance(by_turn[-1], Finished)
    assert [e for e in by_turn if isinstance(e, TextDelta)] == [e for e in by_audio if isinstance(e, TextDelta)]
    await client.close()


async def test_what_can_not_be_heard_is_refused_at_once(bundle, monkeypatch):
    client = await _client(bundle, slots=1, queue=1)
    one, _ = client.hear("one"), client.hear("two")
    with pytest.raises(EngineBusy):
        client.hear("three")
    with pytest.raises(EngineError, match="already"):
        client.hear("one")
    one.push(wave(0.1))
    for turn, says in ((("one", 2401), "2400 were pushed"), (("one", 0), "ask for 1"), (("none", 5), "not open")):
        with pytest.raises(AudioError, match=says):
            client.generate(GenerateRequest("r", Task.A1A2, turn=turn))
    with pytest.raises(AudioError, match="leave one"):
        client.generate(GenerateRequest("r", Task.A1A2, turn=("one", 100), audio=wave()))
    with pytest.raises(TaskError, match="takes no audio"):
        client.generate(GenerateRequest("r", Task.T1T2, text="hello", turn=("one", 100)))
    with pytest.raises(AudioError, match="nan"):
        one.push([float("nan")])
    one.push(np.zeros(300 * SAMPLE_RATE - 2400, np.float32))
    with pytest.raises(AudioError, match="300 s"):
        one.push([0.0])
    await client.close()
    one.push([])  # nobody minds
    with pytest.raises(EngineClosed):
        client.hear("late")

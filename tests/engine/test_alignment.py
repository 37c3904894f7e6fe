"""What was heard of an answer, from letters and from a transcription, by itself and through the engine."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from omni_core.audio import read_audio, resample
from omni_core.checkpoint import Bundle, load_bundle
from omni_core.config import EngineConfig
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.encoders.ctc import VOCABULARY
from omni_core.engine.alignment import Alignment
from omni_core.engine.client import EngineClient
from omni_core.engine.spoken import Spoken, match
from omni_core.errors import AudioError, EngineBusy, EngineClosed, EngineError, TaskError, TextError
from tests.engine.parts import ScriptedModel, make_bundle, make_frames, script, wave
from tests.small import small_nano

CPU = torch.device("cpu")
STORY = "Once there was a little boat — that was afraid, of the sea. It had 42 sails!"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return small_nano()


def test_a_text_as_it_sounds_knows_where_its_words_end():
    spoken = Spoken.of(" It's 42 —  ok! ", 10.0)
    assert spoken.letters == "it's forty two ok"
    assert spoken.ends == (0, 4, 14, 14, 17)
    assert spoken.characters == (0, 5, 8, 10, 15)
    with pytest.raises(TextError):
        Spoken.of("— 你好", 1.0)
    assert len(Spoken.of("word " * 10_000, 1.0).letters) < 150  # more than anybody says in a second


@pytest.mark.parametrize(
    ("transcript", "heard"),
    [
        ("once there was", "Once there was"),
        ("ones there wars a litter boat that was", "Once there was a little boat — that was"),
        ("once there was a lit", "Once there was a little"),
        ("Once there was a little boat that was afraid of the sea. It had forty-two sails.", STORY),
    ],
)
def test_a_transcription_is_matched_with_the_beginning_it_is_nearest_to(transcript, heard):
    assert STORY[: match(STORY, transcript, 20.0)] == heard


@pytest.mark.parametrize("transcript", ["", "stockholm congratulations"])
def test_a_transcription_of_something_else_tells_nothing(transcript):
    with pytest.raises(EngineError, match="estimate by time"):
        match(STORY, transcript, 3.0)


def test_letters_tell_how_far_a_voice_has_come(repository):
    """Bundled recordings and the trained ear: at every cut the words said so far, give or take the one at the cut."""
    encoder = load_bundle("nano", "cpu").audio_encoder
    assert isinstance(encoder, ChunkedEncoder)
    for name, text in (("story", "Can you tell me a short story?"), ("capital-france", "What is the capital of France?")):
        sound = _speech(repository / f"clients/questions/{name}.flac")
        counts = []
        for share in (0.2, 0.4, 0.6, 0.8, 1.0):
            alignment = Alignment(encoder, text, sound[: int(share * len(sound))], CPU)
            while alignment.advance():
                pass
            counts.append(len(text[: alignment.heard].split()))
        assert counts == sorted(counts)
        words = len(text.split())
        assert all(abs(count - share * words) <= 1.5 for count, share in zip(counts, (0.2, 0.4, 0.6, 0.8, 1.0), strict=True)), (name, counts)
        assert counts[-1] == words


def _speech(path: Path) -> np.ndarray:
    """At 24 kHz, without the silence around it."""
    sound = resample(*read_audio(path), 24_000)
    loud = np.flatnonzero(np.abs(sound) > 0.02)
    return sound[loud[0] : loud[-1]]


async def _client(bundle, **config) -> EngineClient:
    client = EngineClient.start_thread(bundle, config=EngineConfig(**config))
    await client.ready()
    return client


async def test_the_engine_listens_a_chunk_at_a_time_when_nothing_else_is_due(bundle):
    client = await _client(bundle)
    assert client.info.letters
    sounds = [wave(2.0, seed) for seed in range(3)]
    counts = await asyncio.gather(*[client.heard_words(STORY, sound) for sound in sounds])
    for count, sound in zip(counts, sounds, strict=True):
        alone = Alignment(bundle.audio_encoder, STORY, sound, CPU)
        while alone.advance():
            pass
        assert count == alone.heard
    assert await client.heard_words(STORY, []) == 0
    await client.close()


async def test_without_letters_the_audio_is_transcribed():
    model = ScriptedModel(script("once their was a", make_frames(2)))
    model.parameters = lambda: iter(())  # type: ignore[attr-defined]
    client = await _client(make_bundle(model))
    assert not client.info.letters
    assert STORY[: await client.heard_words(STORY, wave())] == "Once there was a"
    await client.close()


async def test_what_can_not_be_heard_is_said_so(bundle, monkeypatch):
    client = await _client(bundle, slots=1, queue=0)
    with pytest.raises(TextError):
        await client.heard_words("...", wave())
    with pytest.raises(AudioError):
        await client.heard_words(STORY, [float("nan")])
    with pytest.raises(AudioError, match="300 s"):
        await client.heard_words(STORY, np.zeros(300 * 24_000 + 1, np.float32))
    first = asyncio.create_task(client.heard_words(STORY, wave()))
    await asyncio.sleep(0)
    with pytest.raises(EngineBusy):
        await client.heard_words(STORY, wave())
    first.cancel()  # its place is free when the engine is done with it
    for _ in range(1000):
        if client._alignments:
            await asyncio.sleep(0.01)
    with monkeypatch.context() as patch:
        patch.setattr(ChunkedEncoder, "ctc_logits", lambda *_: 1 / 0)
        with pytest.raises(EngineError, match="division"):
            await client.heard_words(STORY, wave())
    await client.close()
    with pytest.raises(EngineClosed):
        await client.heard_words(STORY, wave())
    deaf = await _client(dataclasses.replace(bundle, audio_encoder=None))
    with pytest.raises(TaskError):
        await deaf.heard_words(STORY, wave())
    await deaf.close()


async def test_who_waits_is_told_when_the_engine_dies():
    broken = small_nano()
    client = await _client(broken)
    assert isinstance(broken.audio_encoder, ChunkedEncoder)
    assert broken.audio_encoder.config.ctc_vocabulary == VOCABULARY
    broken.model.forward = lambda *_, **__: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    waiting = [asyncio.create_task(client.heard_words(STORY, wave(20.0, seed))) for seed in range(3)]
    await asyncio.sleep(0)
    client.listen("a").push(np.zeros(2048))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, EngineClosed) and "division" in str(result) for result in results[1:])
    await client.close()

"""From a model directory to an answer, as `omni infer` and the server go: real parts, small and random, written and read back."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from omni_core.audio import read_audio, write_wav
from omni_core.checkpoint import Bundle, save_bundle
from omni_core.codec.causal import CausalCodec
from omni_core.config import CausalCodecConfig, ChunkedEncoderConfig
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.engine.client import EngineClient
from omni_core.engine.request import AudioChunk, Finished, GenerateRequest
from omni_core.errors import AudioError, TaskError, TextError
from omni_core.infer import run_infer
from omni_core.models import OmniModel
from omni_core.tokens import Task
from tests.engine.parts import CONFIG, make_tokenizer, wave

CODEC = CausalCodecConfig(
    codes=16, code_dim=4, mels=20, encoder_width=16, encoder_layers=1, latent=8, decoder_width=16, frame_layers=1, decoder_layers=1,
    expansion=2, fft=1024, hop=256, delay=512,
)  # fmt: skip
EAR = ChunkedEncoderConfig(mels=20, width=8, layers=1, heads=2, mlp=16, features_per_s=25, chunk_features=8, left_chunks=2, ctc_vocabulary=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, audio_features=EAR.width, vision_features=None)
    bundle = Bundle(OmniModel(config), make_tokenizer(), ChunkedEncoder(EAR).eval(), None, CausalCodec(CODEC).eval(), "tiny", None, memory_turns=2)
    path = tmp_path_factory.mktemp("tiny")
    save_bundle(bundle, path)
    return path


@pytest.mark.usefixtures("_one_thread")
def test_infer_answers_writes_the_sound_and_gives_figures(folder, tmp_path):
    write_wav(tmp_path / "question.wav", wave(), 24_000)
    result = run_infer("A1A2", model=str(folder), device="cpu", audio=tmp_path / "question.wav", out=tmp_path / "answer.wav", max_steps=12)
    sound, rate = read_audio(tmp_path / "answer.wav")
    assert (len(sound), rate) == (5 * 2048, 24_000)
    figures = json.loads(json.dumps(dataclasses.asdict(result)))
    assert figures["steps"] == 12
    assert figures["audio_s"] == pytest.approx(5 * 2048 / 24_000)
    assert 0 < figures["first_audio_s"] <= figures["total_s"]
    assert "prefill + 8 steps" in "\n".join(result.lines())
    assert run_infer("T1T2", model=str(folder), device="cpu", text="hi", max_steps=3).audio_s == 0


def test_infer_takes_earlier_turns_from_a_file(folder, tmp_path):
    (tmp_path / "turns.json").write_text('[["I am Ann.", "Hello, Ann!"]]')
    for name, positions in (("turns.json", 4 + len("I am Ann.Hello, Ann!")), (None, 0)):
        result = run_infer("T1T2", model=str(folder), device="cpu", text="hi", history=name and tmp_path / name, max_steps=3)
        assert result.prompt_tokens == positions + 5
    for content in ("{", "{}", '[["I am Ann."]]'):
        (tmp_path / "turns.json").write_text(content)
        with pytest.raises(TextError):
            run_infer("T1T2", model=str(folder), device="cpu", text="hi", history=tmp_path / "turns.json")


def test_infer_refuses_before_it_loads():
    for task, out, error in (("A1T2", "answer.wav", TaskError), ("B1B2", None, TaskError), ("A1A2", "no such folder/answer.wav", AudioError)):
        with pytest.raises(error):
            run_infer(task, model="no such model", out=out)


@pytest.mark.usefixtures("_one_thread")
async def test_the_server_s_client_serves_the_directory(folder):
    client = EngineClient.start_thread(folder, device="cpu")
    await client.ready()
    events = [event async for event in client.generate(GenerateRequest("a", Task.A1A2, audio=wave(), max_steps=10))]
    assert isinstance(events[-1], Finished)
    assert sum(len(event.pcm) for event in events if isinstance(event, AudioChunk)) == 3 * 2048
    await client.close()


@pytest.fixture
def _one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)

"""The Python face, on a small model and scripted ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from omni_core.api import Omni, read_image, read_input
from omni_core.audio import write_wav
from omni_core.config import SamplingParams
from omni_core.engine.request import AudioChunk, Finished, FinishReason, TextDelta
from omni_core.errors import AudioError, EngineBusy, ImageError, InputError, TaskError, TextError
from omni_core.tokens import TEXT_STREAM
from tests.engine.parts import AFTER_EOT, LAYOUT, Ear, ScriptedModel, make_bundle, make_frames, make_tokenizer, script, wave


def _omni(text: str = "hello", frames: int = 4, **parts) -> Omni:
    return Omni(make_bundle(ScriptedModel(script(text, make_frames(frames))), **parts))


def test_an_answer_has_text_sound_tokens_and_times(tmp_path):
    omni = _omni()
    write_wav(tmp_path / "question.wav", wave(), 24_000)
    for audio in (tmp_path / "question.wav", (wave(), 24_000), wave(), (wave() * 32767).astype(np.int16)):
        answer = omni.generate("A1A2", audio=audio)
        assert (answer.text, answer.reason, answer.sample_rate) == ("hello", FinishReason.STOP, 24_000)
        assert answer.audio is not None
        assert len(answer.audio) == 4 * 2048
        assert answer.tokens.shape == (8, 12)
        assert answer.timings.steps == 12
        assert answer.timings.first_audio_s is not None
        assert answer.timings.rtf is not None
    silent = omni.generate("T1T2", text="hi", max_steps=3)
    assert silent.audio is None
    assert (silent.text, silent.reason) == ("hel", FinishReason.LENGTH)


def test_a_stream_gives_the_same_and_closing_it_frees_the_model():
    omni = _omni()
    events = list(omni.stream("T1A2", text="hi"))
    assert isinstance(events[-1], Finished)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "hello"
    stream = omni.stream("T1A2", text="hi")
    assert isinstance(next(stream), TextDelta)
    with pytest.raises(EngineBusy):
        omni.generate("T1A2", text="hi")
    stream.close()  # type: ignore[attr-defined]
    answer = omni.generate("T1A2", text="hi")
    assert answer.audio is not None
    assert len(answer.audio) == sum(len(event.pcm) for event in events if isinstance(event, AudioChunk))


@pytest.mark.parametrize(
    ("task", "inputs", "error"),
    [
        ("A2A2", {}, TaskError),
        ("VA1A2", {"audio": wave(), "image": b"x"}, TaskError),
        ("A1A2", {}, AudioError),
        ("A1A2", {"audio": "no such file.wav"}, AudioError),
        ("A1A2", {"audio": wave(), "sample_rate": 0}, AudioError),
        ("A1A2", {"audio": wave(3.0)}, AudioError),
        ("A1A2", {"audio": np.full(4000, 0.5, np.float32), "sample_rate": 16_000}, AudioError),
        ("A1A2", {"audio": wave(), "text": "both"}, TaskError),
        ("T1A2", {"text": ""}, TextError),
        ("T1A2", {"text": "x" * 400}, InputError),
        ("T1A2", {"text": "hi", "history": [("one", "two", "three")]}, TextError),
        ("T1A2", {"text": "hi", "history": [("asked", " ")]}, TextError),
    ],
)
def test_bad_inputs_are_errors_and_the_next_question_is_answered(task, inputs, error):
    omni = _omni(audio_encoder=Ear(2.0))
    with pytest.raises(error):
        omni.generate(task, **inputs)
    assert omni.generate("T1A2", text="hi").text == "hello"


def test_a_model_finds_the_newest_turns_that_it_was_trained_for(random_model):
    talk = [("What is your name?", "I am Omni."), ("", "It is late."), ("I am Ann.", "Hello, Ann!")]

    def ask(turns: int, history=talk):
        omni = Omni(make_bundle(random_model, memory_turns=turns))
        return omni.generate("T1T2", text="Who am I?", history=history, sampling=SamplingParams(temperature=1.0, seed=1), max_steps=20)

    forgetful = ask(0)
    assert np.array_equal(forgetful.tokens, ask(2, ()).tokens)
    for turns in (1, 2):
        newest = talk[-turns:]
        remembering = ask(turns)
        assert remembering.usage.prompt_tokens == forgetful.usage.prompt_tokens + sum(len(q + a) + 4 for q, a in newest)
        assert np.array_equal(remembering.tokens, ask(2, newest).tokens)
        assert not np.array_equal(remembering.tokens, forgetful.tokens)


def test_seeds_repeat_and_differ(random_model):
    omni = Omni(make_bundle(random_model))

    def run(seed: int) -> np.ndarray:
        return omni.generate("A1A2", audio=wave(), sampling=SamplingParams(temperature=1.0, seed=seed), max_steps=20).tokens

    assert np.array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


def test_raw_streams_stop_as_the_reference_does():
    """Layer 7's eoa and a text-only eot end them and are left out; the first step ends nothing."""
    frames = make_frames(4)
    columns = script("ok", frames)
    columns[6, 0], columns[TEXT_STREAM, 1] = LAYOUT.eoa, LAYOUT.eot  # eoa in the first step is not looked at
    omni = Omni(make_bundle(ScriptedModel(columns), tokenizer=None, codec=None, audio_encoder=None))
    features = np.zeros((1, 9, 6), np.float32)
    speech = omni.decode_features("A1A2", audio_features=features, max_steps=50)
    assert speech.shape == (8, 11)  # 4 frames and the delay of 7
    assert np.array_equal(speech[:TEXT_STREAM], columns[:TEXT_STREAM, :11])
    ok = make_tokenizer().encode("ok")
    assert speech[TEXT_STREAM].tolist() == [ok[0], LAYOUT.eot] + [LAYOUT.pad_t] * 9
    text = omni.decode_features("T1T2", text_ids=[1, 2], max_steps=50)
    assert text[TEXT_STREAM].tolist() == ok[:1]
    assert (text[:TEXT_STREAM] == LAYOUT.pad_a).all()
    columns[TEXT_STREAM, 0], columns[TEXT_STREAM, 1:] = LAYOUT.eot, AFTER_EOT
    first = Omni(make_bundle(ScriptedModel(columns))).decode_features("A1T2", audio_features=torch.zeros(9, 6), max_steps=5)
    assert first[TEXT_STREAM].tolist() == [LAYOUT.eot] + [AFTER_EOT] * 4


@pytest.mark.parametrize(
    ("task", "inputs", "error"),
    [
        ("A1A2", {"audio_features": np.zeros((9, 5), np.float32)}, AudioError),
        ("A1A2", {"audio_features": np.zeros((2, 9, 6), np.float32)}, AudioError),
        ("A1A2", {"audio_features": np.zeros((9, 6), np.int64)}, AudioError),
        ("A1A2", {}, AudioError),
        ("A1A2", {"audio_features": np.zeros((9, 6), np.float32), "image_features": np.zeros((50, 5), np.float32)}, ImageError),
        ("VA1A2", {"audio_features": np.zeros((9, 6), np.float32)}, ImageError),
        ("VA1A2", {"audio_features": np.zeros((9, 6), np.float32), "image_features": np.zeros((1, 5), np.float32)}, ImageError),
        ("T1A2", {"text_ids": [999]}, TextError),
        ("T1A2", {"text_ids": []}, TextError),
        ("T9", {}, TaskError),
    ],
)
def test_features_that_do_not_fit_are_refused(random_model, task, inputs, error):
    with pytest.raises(error):
        Omni(make_bundle(random_model)).decode_features(task, **inputs)


def test_features_may_be_of_either_library_and_shape(random_model):
    omni, features = Omni(make_bundle(random_model)), np.random.default_rng(0).standard_normal((9, 6))
    results = [
        omni.decode_features("A1A2", audio_features=given, max_steps=10)
        for given in (features, features[None], torch.from_numpy(features), torch.from_numpy(features).float()[None])
    ]
    assert all(np.array_equal(result, results[0]) for result in results)


def test_pictures_and_sounds_are_read_from_what_people_have(tmp_path):
    picture = Image.new("RGB", (4, 3), "red")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    assert read_image(tmp_path / "a.png") == buffer.getvalue() == read_image(buffer.getvalue())
    assert Image.open(io.BytesIO(read_image(picture))).size == (4, 3)
    with pytest.raises(ImageError):
        read_image(tmp_path / "b.png")
    with pytest.raises(ImageError):
        read_image(5)
    with pytest.raises(AudioError):
        read_input((np.zeros((5, 2)), 24_000))

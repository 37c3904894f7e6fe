import dataclasses

import numpy as np
import pytest

from omni_core.datagen import synthesis
from omni_core.datagen.synthesis import SynthesisError, speak, speak_all
from omni_core.datagen.voices import ANSWER_VOICE, QUESTION_VOICES, TRAIN_FLITE_VOICES, TRAIN_VOICES


def test_a_missing_program_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SynthesisError, match="apt-get install espeak-ng flite"):
        speak("hello", TRAIN_VOICES[0])


def test_trim_refuses_silence_and_keeps_a_margin():
    with pytest.raises(SynthesisError, match="no sound"):
        synthesis.trim(np.zeros(100, np.float32))
    wave = np.zeros(16_000, np.float32)
    wave[8000:9000] = 1
    assert len(synthesis.trim(wave)) == 1000 + 2 * 480


@pytest.mark.speech
@pytest.mark.parametrize("voice", [*QUESTION_VOICES, *TRAIN_FLITE_VOICES, TRAIN_VOICES[0], ANSWER_VOICE], ids=lambda voice: voice.name)
def test_speech_is_levelled_and_follows_from_its_seed(voice):
    wave = speak("What is the capital of France?", voice, seed=3)
    assert wave.dtype == np.float32
    assert 0.8 * 16_000 < len(wave) < 4 * 16_000
    assert np.abs(wave).max() < 1
    assert np.sqrt(np.mean(np.square(wave))) == pytest.approx(synthesis.LEVEL_RMS, rel=0.3)
    np.testing.assert_array_equal(wave, speak("What is the capital of France?", voice, seed=3))


@pytest.mark.speech
def test_an_open_voice_differs_by_seed_and_the_tract_keeps_the_duration():
    voice = TRAIN_FLITE_VOICES[0]
    assert len(speak("hello there", voice, 1)) != len(speak("hello there", voice, 2))
    lengths = [len(speak("hello there", dataclasses.replace(voice, rate=1.0, pitch=160, tract=tract))) for tract in (0.85, 1.0, 1.15)]
    assert max(lengths) < 1.06 * min(lengths)


@pytest.mark.speech
def test_many_at_once_come_in_order():
    jobs = [(word, TRAIN_VOICES[0], seed) for seed, word in enumerate(("one", "two", "three"))]
    for wave, job in zip(speak_all(jobs, workers=2), jobs, strict=True):
        np.testing.assert_array_equal(wave, speak(*job))


@pytest.mark.speech
def test_an_unknown_voice_is_an_error():
    with pytest.raises(SynthesisError):
        speak("hello", dataclasses.replace(TRAIN_VOICES[0], accent="xx-nowhere"))


@pytest.mark.speech
@pytest.mark.parametrize("voice", [ANSWER_VOICE, TRAIN_VOICES[0]], ids=lambda voice: voice.engine)
def test_a_last_sentence_of_one_word_is_spoken(voice):
    """flite drops it from a file that doesn't end with a newline: "Stop. Omni." would be no command."""
    assert len(speak("Stop. Omni.", voice, 1)) > 1.4 * len(speak("Stop.", voice, 1))

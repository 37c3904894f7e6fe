"""Resampling and speech probability, chunk by chunk against all at once."""

import sys

import numpy as np
import pytest

from omni_core.audio import Resampler, VoiceActivity, resample
from omni_core.errors import AudioError


def _speechlike(seconds: float) -> np.ndarray:
    """A buzz through moving formants: enough like a vowel for the detector."""
    t = np.arange(int(24000 * seconds)) / 24000
    formant = 700 + 200 * np.sin(2 * np.pi * 3 * t)
    buzz = sum(np.sin(2 * np.pi * f * t + f) * np.exp(-(((f - formant) / 400) ** 2)) for f in range(120, 3600, 120))
    return (0.2 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def test_streamed_resampling_is_the_same_sound():
    wave = np.random.default_rng(0).standard_normal(24000).astype(np.float32) * 0.1
    stream = Resampler(24000, 16000)
    pieces = [stream.push(wave[i : i + 777]) for i in range(0, len(wave), 777)] + [stream.flush()]
    joined, whole = np.concatenate(pieces), resample(wave, 24000, 16000)
    assert abs(len(joined) - 16000) <= 1
    assert np.abs(joined[:15900] - whole[:15900]).max() < 1e-4


def test_an_impossible_rate_is_refused():
    with pytest.raises(AudioError):
        resample(np.zeros(10, np.float32), 0, 16000)


def test_probability_tells_voice_from_silence_and_counts_samples():
    detector = VoiceActivity()
    quiet = detector.push(np.zeros(24000, np.float32))
    assert [end for end, _ in quiet] == [768 * (i + 1) for i in range(len(quiet))]
    assert len(quiet) >= 30
    assert max(p for _, p in quiet) < 0.2
    assert max(p for _, p in detector.push(_speechlike(1.0))) > 0.5


def test_chunking_does_not_change_the_probabilities_and_sessions_share_nothing():
    wave = _speechlike(0.8)
    whole, chunked, other = VoiceActivity(), VoiceActivity(), VoiceActivity()
    expected = whole.push(wave)
    got = []
    for i in range(0, len(wave), 480):
        got += chunked.push(wave[i : i + 480])
        other.push(np.zeros(480, np.float32))
    assert len(got) == len(expected)
    assert np.allclose([p for _, p in got], [p for _, p in expected], atol=1e-3)
    whole.reset()
    assert np.allclose([p for _, p in whole.push(wave)], [p for _, p in expected], atol=1e-6)


def test_the_detector_leaves_torch_threads_alone():
    VoiceActivity()
    assert "silero_vad" not in sys.modules

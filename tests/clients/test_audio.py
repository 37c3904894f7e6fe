"""Sound files: everything odd either becomes 24 kHz mono or gets one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from clients.errors import ClientError
from clients.python.audio import RATE, from_pcm16, load_audio, save_audio, speech_end, to_pcm16


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_stereo_become_24_khz_mono(tmp_path: Path, rate: int, channels: int) -> None:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "a.wav", np.stack([wave] * channels, axis=1), rate)
    loaded = load_audio(tmp_path / "a.wav")
    assert loaded.dtype == np.float32
    assert loaded.ndim == 1
    assert abs(len(loaded) - RATE) <= 2
    spectrum = np.abs(np.fft.rfft(loaded))
    assert abs(np.argmax(spectrum) * RATE / len(loaded) - 440) < 2


def test_stereo_is_the_mean_of_its_channels(tmp_path: Path) -> None:
    left = np.full(2400, 0.5)
    soundfile.write(tmp_path / "a.wav", np.stack([left, -left], axis=1), RATE)
    assert np.abs(load_audio(tmp_path / "a.wav")).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.wav", None, "no such file"),
        ("text.wav", b"this is no sound", "can't be read as audio"),
        ("nothing.wav", b"", "can't be read as audio"),
        ("cut.flac", b"fLaC\0\0\0\x22", "can't be read as audio"),
    ],
)
def test_unusable_files_are_named_with_a_remedy(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClientError, match=says) as caught:
        load_audio(path)
    assert name in str(caught.value)
    assert "give a WAV or FLAC file" in str(caught.value)


def test_a_folder_an_empty_file_and_samples_that_are_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="is a folder"):
        load_audio(tmp_path)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    with pytest.raises(ClientError, match="holds no samples"):
        load_audio(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.1]), RATE, subtype="FLOAT")
    with pytest.raises(ClientError, match="not numbers"):
        load_audio(tmp_path / "nan.wav")


def test_a_sample_rate_of_zero_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zero.wav"
    soundfile.write(path, np.zeros(100), RATE)
    data = bytearray(path.read_bytes())
    data[24:28] = bytes(4)  # the rate in the header of a WAV
    path.write_bytes(data)
    with pytest.raises(ClientError, match=r"zero\.wav"):
        load_audio(path)


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    wave = np.linspace(-1, 1, 4800, dtype=np.float32)
    for name in ("a.wav", "deep/er/a.flac"):
        assert np.abs(load_audio(save_audio(tmp_path / name, wave)) - wave).max() < 1e-3
    with pytest.raises(ClientError, match="can't be written"):
        save_audio(tmp_path / "a.sound", wave)


@given(st.lists(st.integers(-32767, 32767), max_size=50))
def test_pcm16_goes_there_and_back(values: list[int]) -> None:
    wave = np.array(values, np.float32) / 32767
    back = np.frombuffer(to_pcm16(wave), "<i2")
    assert back.tolist() == values
    assert np.abs(from_pcm16(to_pcm16(wave)) - wave).max(initial=0) < 1e-4


def test_speech_ends_where_the_sound_does() -> None:
    sound, silence = np.full(RATE, 0.3, np.float32), np.full(RATE // 2, 1e-5, np.float32)
    assert abs(speech_end(np.concatenate([sound, silence])) - RATE) <= RATE // 50
    assert speech_end(silence[:0]) == 0
    assert speech_end(np.zeros(1000, np.float32)) == 1000

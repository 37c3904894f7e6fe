"""Samples in and out, and what is refused."""

import numpy as np
import pytest
import soundfile

from omni_core.audio import check_samples, from_s16le, read_audio, to_s16le, write_wav
from omni_core.errors import AudioError


def test_every_pcm_value_survives_the_round_trip():
    values = np.arange(-32768, 32768).astype("<i2").tobytes()
    assert to_s16le(from_s16le(values)) == values


def test_loud_samples_are_clipped():
    assert np.frombuffer(to_s16le(np.array([2.0, -2.0])), "<i2").tolist() == [32767, -32768]


@pytest.mark.parametrize("call", [lambda: from_s16le(b"123"), lambda: to_s16le(np.array([0.0, np.nan])), lambda: check_samples([0.0, np.inf]),
                                  lambda: check_samples(np.zeros((2, 2))), lambda: check_samples("hello")])  # fmt: skip
def test_bad_samples_are_refused(call):
    with pytest.raises(AudioError):
        call()


def test_a_stereo_file_is_averaged(tmp_path):
    left = np.linspace(-0.5, 0.5, 100, dtype=np.float32)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, -left], 1), 16000, subtype="FLOAT")
    wave, rate = read_audio(tmp_path / "stereo.wav")
    assert (wave.shape, rate) == ((100,), 16000)
    assert np.abs(wave).max() < 1e-6


def test_a_written_file_reads_back(tmp_path):
    wave = np.sin(np.arange(500) / 9).astype(np.float32) / 2
    write_wav(tmp_path / "tone.wav", wave, 24000)
    back, rate = read_audio(tmp_path / "tone.wav")
    assert rate == 24000
    assert np.abs(back - wave).max() <= 0.51 / 32768


def test_unusable_files_name_the_file_and_the_reason(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is no sound")
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1), np.float32), 24000)
    soundfile.write(tmp_path / "nan.wav", np.full(10, np.nan, np.float32), 24000, subtype="FLOAT")
    header = bytearray(_wav_bytes(tmp_path))
    header[24:28] = b"\0\0\0\0"  # the rate field of a WAV header
    (tmp_path / "rate0.wav").write_bytes(header)
    for name in ("empty.wav", "text.wav", "none.wav", "nan.wav", "rate0.wav", "missing.wav"):
        with pytest.raises(AudioError, match=name):
            read_audio(tmp_path / name)


def _wav_bytes(folder) -> bytes:
    write_wav(folder / "ok.wav", np.zeros(100, np.float32), 24000)
    return (folder / "ok.wav").read_bytes()

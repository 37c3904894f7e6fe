"""Sound files in and out, and forms: what can be used, and what is said of the rest."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from omni_core.errors import AudioError
from server.http.forms import read_form
from server.http.sound import check_writable, from_base64, read_sound, write_sound
from server.protocol.errors import ProtocolError
from tests.server.http.conftest import Question

TONE = (0.5 * np.sin(np.arange(24_000) * 0.05)).astype(np.float32)


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_usual_files_are_read_whatever_their_rate_and_channels(question: Question, format: str, subtype: str | None) -> None:
    samples, rate = read_sound(question.as_file(format, subtype, rate=48_000, channels=2), None, "file")
    plain, _ = soundfile.read(io.BytesIO(question.flac), dtype="float32")
    assert rate == 48_000
    assert abs(len(samples) - len(plain)) < 0.05 * rate  # a codec's padding
    assert samples.ndim == 1
    if format == "FLAC":
        np.testing.assert_allclose(samples, plain, atol=1e-4)


def test_files_that_can_not_be_used_say_why(question: Question) -> None:
    hour_of_nothing = io.BytesIO()
    soundfile.write(hour_of_nothing, np.zeros(3600 * 8000, np.int16), 8000, format="FLAC")
    assert len(hour_of_nothing.getvalue()) < 200_000
    aiff = io.BytesIO()
    soundfile.write(aiff, TONE, 24_000, format="AIFF")
    nothing, unreal = io.BytesIO(), io.BytesIO()
    soundfile.write(nothing, np.zeros(0), 24_000, format="WAV")
    soundfile.write(unreal, np.array([0.0, np.nan]), 24_000, format="WAV", subtype="FLOAT")
    for data, why in (
        (b"", "file is empty"),
        (b"no sound at all", "no sound file that can be read"),
        (question.flac[:60], "no sound file|holds no samples"),
        (aiff.getvalue(), "format AIFF: send WAV, FLAC, OGG or MP3"),
        (question.as_file(rate=300_000), "sample rate of 300000 Hz"),
        (hour_of_nothing.getvalue(), "longer than 120 s"),
        (nothing.getvalue(), "holds no samples"),
        (unreal.getvalue(), "sample 1 is nan"),
    ):
        with pytest.raises(AudioError, match=why):
            read_sound(data, None, "file")
    with pytest.raises(AudioError, match=r"longer than 0\.25 s"):
        read_sound(question.flac, 0.25, "file")
    with pytest.raises(ProtocolError, match="is not base64"):
        from_base64("?", "audio")


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus"])
def test_answers_are_files_that_play_as_long_as_they_should(format: str) -> None:
    check_writable(format, "format")
    info = soundfile.info(io.BytesIO(write_sound(TONE, 24_000, format)))
    assert (info.samplerate, info.channels) == (24_000, 1)
    assert info.duration == pytest.approx(1.0, abs=0.1)
    assert len(write_sound(TONE, 24_000, "pcm")) == 48_000
    with pytest.raises(ProtocolError, match="'aac' can't be made here: use pcm, wav, flac, mp3, opus"):
        check_writable("aac", "format")


def test_a_form_is_read_to_the_byte() -> None:
    content = b"\r\n--not-the-boundary\r\n\r\n\x00\xff\r\n"
    head = 'Content-Disposition: form-data; name="file"; filename="größe \\"1\\".wav"\r\nContent-Type: audio/wav\r\n\r\n'.encode()
    body = b"--B\r\n" + head + content + b'\r\n--B\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--B--\r\n'
    assert read_form(body, 'multipart/form-data; boundary="B"') == {"file": content, "model": b"whisper-1"}
    for form, kind, why in (
        (body[:-10], "multipart/form-data; boundary=B", "does not end"),
        (body, "multipart/form-data; boundary=C", "does not end"),
        (body, "multipart/form-data", "with a boundary"),
        (body, "application/json", "Send multipart/form-data"),
        (b"--B\r\n\r\nnameless\r\n--B--", "multipart/form-data; boundary=B", "name="),
        (b"--B\r\nX: y\r\n\r\n\r\n" * 99 + b"--B--", "multipart/form-data; boundary=B", "more than 64 parts"),
    ):
        with pytest.raises(ProtocolError, match=why):
            read_form(form, kind)

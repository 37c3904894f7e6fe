"""G.711 and its rate, against another implementation and by ear's measure."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile

from server.protocol import g711
from server.protocol.audio_formats import AudioIn, AudioOut, decode_audio
from server.protocol.errors import ProtocolError
from server.protocol.session_object import AudioFormat, G711Format, PcmFormat

MU, A, PCM = G711Format(type="audio/pcmu"), G711Format(type="audio/pcma"), PcmFormat()
LAWS = pytest.mark.parametrize("law", ["audio/pcmu", "audio/pcma"])
EVERY_SAMPLE = np.arange(-32_768, 32_768).astype(np.int16)
SUBTYPES: dict[g711.Law, str] = {"audio/pcmu": "ULAW", "audio/pcma": "ALAW"}


def tone(hz: float, seconds: float = 0.5) -> bytes:
    at = np.arange(int(24_000 * seconds)) / 24_000
    return (8_000 * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes()


def samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2").astype(float)


def there_and_back(pcm: bytes, format: AudioFormat, chunk: int = 999) -> bytes:
    """Through the line in chunks of an odd number of samples, and back in single milliseconds."""
    out, back = AudioOut(format), AudioIn(format)
    line = b"".join(out.push(pcm[at : at + 2 * chunk]) for at in range(0, len(pcm), 2 * chunk)) + out.flush()
    return b"".join(back.push(line[at : at + 8]) for at in range(0, len(line), 8))


@LAWS
def test_every_byte_is_the_sample_that_libsndfile_reads(law: g711.Law) -> None:
    every_byte = bytes(range(256))
    theirs, _ = soundfile.read(io.BytesIO(every_byte), format="RAW", subtype=SUBTYPES[law], channels=1, samplerate=8_000, dtype="int16")
    assert (g711.decode(law, every_byte) == theirs).all()


@LAWS
def test_every_sample_is_as_near_as_libsndfile_writes_it(law: g711.Law) -> None:
    file = io.BytesIO()
    soundfile.write(file, EVERY_SAMPLE, 8_000, format="RAW", subtype=SUBTYPES[law])

    def error(data: bytes) -> np.ndarray:
        return np.abs(g711.decode(law, data).astype(int) - EVERY_SAMPLE)

    assert (error(g711.encode(law, EVERY_SAMPLE)) <= error(file.getvalue())).all()


@pytest.mark.parametrize("format", [MU, A])
def test_speech_survives_a_telephone_line(format: G711Format) -> None:
    pcm = tone(1_000)
    heard = samples(there_and_back(pcm, format))
    delay = 72  # of both filters
    sent, received = samples(pcm)[600:-600], heard[600 + delay :][: len(samples(pcm)) - 1_200]
    assert 10 * np.log10((sent**2).sum() / ((sent - received) ** 2).sum()) > 35  # dB; G.711 itself reaches 38


def test_what_a_telephone_can_not_carry_does_not_fold_into_what_it_can() -> None:
    heard = samples(there_and_back(tone(5_000), MU))
    assert np.abs(heard[600:-600]).max() < 20


@pytest.mark.parametrize("format", [MU, A])
def test_no_sample_is_held_back(format: G711Format) -> None:
    into, out = AudioIn(format), AudioOut(format)
    assert [len(into.push(bytes(n))) for n in (160, 1, 0, 7)] == [960, 6, 0, 42]
    assert out.flush() == b""  # nothing was said
    assert sum(len(out.push(bytes(2 * n))) for n in (480, 1, 0, 1, 1)) == 161
    assert len(out.flush()) == 12


def test_chunks_sound_as_the_whole() -> None:
    pcm = tone(700)
    assert there_and_back(pcm, MU, 1) == there_and_back(pcm, MU, len(pcm))


def test_silence_is_silence() -> None:
    assert set(AudioOut(MU).push(bytes(960))) == {0xFF}
    assert set(AudioOut(A).push(bytes(960))) == {0xD5}
    assert np.abs(samples(AudioIn(MU).push(b"\xff" * 160))).max() == 0


def test_pcm_passes_as_it_is() -> None:
    pcm = bytes(range(256))
    assert AudioIn(PCM).push(pcm) == AudioOut(PCM).push(pcm) == pcm
    assert AudioOut(PCM).flush() == b""
    assert decode_audio(base64.b64encode(pcm).decode(), PCM, "audio") == pcm


@pytest.mark.parametrize(("text", "format"), [("AA==", PCM), ("A", PCM), ("?", MU), ("ü", MU)])
def test_bad_audio_is_named(text: str, format: AudioFormat) -> None:
    with pytest.raises(ProtocolError) as error:
        decode_audio(text, format, "item.content.0.audio")
    assert (error.value.code, error.value.param) == ("invalid_audio", "item.content.0.audio")

"""Sound files in requests and answers: any file that is read here is bounded, whatever its header claims or its bytes unpack to."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
import soundfile
from numpy.typing import NDArray

from omni_core.audio import check_samples, to_s16le
from omni_core.errors import AudioError
from server.protocol.errors import ProtocolError

MAX_AUDIO_S = 120.0  #: longest file that is read where the model names no limit
_MAX_RATE = 192_000  # Hz
_BLOCK = 1 << 16  # samples of all channels

READABLE = ("WAV", "WAVEX", "FLAC", "OGG", "MP3")  #: libsndfile's names

BARE = ("pcm", "pcm16")  #: formats of an answer without a header: s16le
#: format of an answer -> libsndfile's names and the media type
_WRITABLE = {
    "wav": ("WAV", "PCM_16", "audio/wav"),
    "flac": ("FLAC", "PCM_16", "audio/flac"),
    "mp3": ("MP3", "MPEG_LAYER_III", "audio/mpeg"),
    "opus": ("OGG", "OPUS", "audio/ogg"),
}


def from_base64(text: str, param: str) -> bytes:
    """Raises ProtocolError naming `param`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("invalid_base64", f"{param} is not base64: {error}", param=param) from None


def to_base64(data: bytes) -> str:
    """For JSON."""
    return base64.b64encode(data).decode("ascii")


def read_sound(data: bytes, max_s: float | None, param: str) -> tuple[NDArray[np.float32], int]:
    """A sound file -> (float32 [samples], rate in Hz), channels averaged; what it is, its bytes say and not its name.

    Raises AudioError naming `param` when it can't be read, is empty or longer than `max_s` (None: MAX_AUDIO_S).
    """
    limit_s = MAX_AUDIO_S if max_s is None else max_s
    if not data:
        raise AudioError(f"{param} is empty: send a sound file")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            if file.format not in READABLE:
                raise AudioError(f"{param} is of format {file.format}: send WAV, FLAC, OGG or MP3")
            if not 0 < rate <= _MAX_RATE:
                raise AudioError(f"{param} has a sample rate of {rate} Hz: it must be above 0 and at most {_MAX_RATE}")
            wave = _read(file, limit_s)
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise AudioError(f"{param} is no sound file that can be read here ({error}): send WAV, FLAC, OGG or MP3") from None
    if wave is None:
        raise AudioError(f"{param} is longer than {limit_s:g} s, the most that is heard at once: send it in shorter pieces")
    if not len(wave):
        raise AudioError(f"{param} holds no samples")
    return check_samples(wave, param), rate


def decode_sound(text: str, max_s: float | None, param: str) -> tuple[NDArray[np.float32], int]:
    """The same of a file in base64."""
    return read_sound(from_base64(text, param), max_s, param)


def _read(file: soundfile.SoundFile, limit_s: float) -> NDArray[np.float32] | None:
    """All samples, or None for more than `limit_s`."""
    blocks, length, most = [np.zeros(0, np.float32)], 0, int(limit_s * file.samplerate)
    size = max(1, _BLOCK // file.channels)
    while len(block := file.read(size, dtype="float32", always_2d=True)):  # [samples, channels]
        length += len(block)
        if length > most:
            return None
        blocks.append(block.mean(axis=1))
    return np.concatenate(blocks)


def check_writable(format: str, param: str) -> None:
    """Raises ProtocolError for a format that answers can't have."""
    if format not in BARE and (format not in _WRITABLE or not soundfile.check_format(*_WRITABLE[format][:2])):
        raise ProtocolError("unsupported_format", f"{param} {format[:50]!r} can't be made here: use {', '.join((BARE[0], *_WRITABLE))}", param=param)


def media_type(format: str) -> str:
    """For a Content-Type."""
    return _WRITABLE[format][2] if format in _WRITABLE else "audio/pcm"


def write_sound(samples: NDArray[np.float32], rate: int, format: str) -> bytes:
    """A sound file of `rate` Hz, mono; of a bare format the samples alone. `format` was checked."""
    pcm = to_s16le(samples)
    if format in BARE:
        return pcm
    container, subtype, _ = _WRITABLE[format]
    buffer = io.BytesIO()
    soundfile.write(buffer, np.frombuffer(pcm, "<i2"), rate, format=container, subtype=subtype)
    return buffer.getvalue()

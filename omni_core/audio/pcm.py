"""Samples in and out: 16-bit PCM bytes, float arrays, sound files.

Inside the project sound is float32, mono, in [-1, 1], shape [samples]. Everything that can't be made so is an AudioError
whose message says what is wrong and what to send instead.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from omni_core.errors import AudioError

_FULL_SCALE = 32768.0  # one int16 step is 1/32768, so bytes -> samples -> bytes gives the same bytes


def from_s16le(data: bytes | bytearray | memoryview) -> NDArray[np.float32]:
    """Little-endian 16-bit PCM bytes -> float32 [len(data) / 2]. Raises AudioError for half a sample."""
    if len(data) % 2:
        raise AudioError(f"{len(data)} bytes of 16-bit PCM end inside a sample: send an even number of bytes")
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)


def to_s16le(samples: NDArray[Any]) -> bytes:
    """Samples in [-1, 1] (louder ones are clipped) -> little-endian 16-bit PCM bytes. Raises AudioError for NaN or infinity."""
    wave = check_samples(samples)
    return np.clip(np.rint(wave * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").tobytes()


def check_samples(samples: Any, what: str = "audio") -> NDArray[np.float32]:
    """`samples` as float32 [samples]; integers of 16 bits are scaled. Raises AudioError for other shapes and for NaN or infinity."""
    try:
        wave = np.asarray(samples)
        wave = wave.astype(np.float32) / np.float32(_FULL_SCALE) if wave.dtype == np.int16 else wave.astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise AudioError(f"{what}: not an array of samples ({error})") from None
    if wave.ndim != 1:
        raise AudioError(f"{what}: expected one channel as an array [samples], got shape {wave.shape}: mix it down to mono first")
    if not np.isfinite(wave).all():
        where = int(np.flatnonzero(~np.isfinite(wave))[0])
        raise AudioError(f"{what}: sample {where} is {wave[where]}: every sample must be a finite number")
    return wave


def read_audio(path: str | os.PathLike[str]) -> tuple[NDArray[np.float32], int]:
    """A sound file (whatever libsndfile reads: WAV, FLAC, OGG, MP3 ...) -> (float32 [samples], rate in Hz); channels are averaged.

    Raises AudioError when it is missing, unreadable, empty, of rate 0, or holds NaN or infinity.
    """
    file = Path(path)
    if not file.is_file():
        raise AudioError(f"{file}: no such sound file")
    if file.stat().st_size == 0:
        raise AudioError(f"{file}: the file is empty")
    try:
        data, rate = soundfile.read(str(file), dtype="float32", always_2d=True)  # [samples, channels]
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise AudioError(f"{file}: not a readable sound file ({error})") from None
    if rate <= 0:
        raise AudioError(f"{file}: its header gives a sample rate of {rate} Hz")
    if not len(data):
        raise AudioError(f"{file}: the file holds no samples")
    return check_samples(data.mean(axis=1), str(file)), int(rate)


def write_wav(path: str | os.PathLike[str], samples: NDArray[Any], rate: int) -> None:
    """Write samples [samples] as a 16-bit mono WAV file of `rate` Hz. Raises AudioError when they or the place can't be used."""
    pcm = np.frombuffer(to_s16le(samples), "<i2")
    try:
        soundfile.write(str(path), pcm, rate, format="WAV", subtype="PCM_16")
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        raise AudioError(f"{path}: can't be written ({error})") from None

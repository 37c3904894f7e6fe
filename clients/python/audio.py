"""Sound files in, sound files out. Everything between is float32 mono at 24 kHz, the wire's rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from clients.errors import ClientError

RATE = 24_000  #: samples per second on the wire
EDGE_DB = -40.0  #: of its peak: where a sound begins and ends

Wave = NDArray[np.float32]  #: [samples], mono, in [-1, 1]


def load_audio(path: str | Path) -> Wave:
    """Read any file that libsndfile knows (WAV, FLAC, OGG, MP3 ...), mixed to mono and resampled to 24 kHz."""
    path = Path(path)
    if not path.is_file():
        raise ClientError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a WAV or FLAC file")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, ValueError, OSError) as error:
        raise ClientError(f"{path}: can't be read as audio ({_reason(error)}); give a WAV or FLAC file") from error
    if not len(samples):
        raise ClientError(f"{path}: holds no samples; record it again")
    if rate <= 0:
        raise ClientError(f"{path}: has a sample rate of {rate}; save it again with the true one")
    if not np.isfinite(samples).all():
        raise ClientError(f"{path}: holds samples that are not numbers; save it again as 16-bit PCM")
    mono = samples.mean(axis=1)
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE)
    return np.clip(mono, -1.0, 1.0).astype(np.float32)


def save_audio(path: str | Path, wave: Wave) -> Path:
    """Write 16-bit audio at 24 kHz; the name's ending chooses the format."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, RATE, subtype="PCM_16")
    except (soundfile.LibsndfileError, ValueError, TypeError, OSError) as error:
        raise ClientError(f"{path}: can't be written ({_reason(error)}); give a name ending in .wav or .flac") from error
    return path


def to_pcm16(wave: Wave) -> bytes:
    """Samples as the wire's little-endian 16-bit integers."""
    return (np.clip(wave, -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes()


def from_pcm16(data: bytes) -> Wave:
    """Samples of the wire's little-endian 16-bit integers."""
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768.0


def speech_end(wave: Wave) -> int:
    """Samples up to the end of what is said: trailing 20 ms windows more than 40 dB under the loudest are silence."""
    window = RATE // 50
    count = len(wave) // window
    if not count:
        return len(wave)
    power = np.square(wave[: count * window].reshape(count, window)).mean(axis=1)
    if not power.max():
        return len(wave)
    loud = np.flatnonzero(power > power.max() * 1e-4)
    return min(len(wave), (int(loud[-1]) + 1) * window)


def edges(wave: Wave) -> tuple[int, int] | None:
    """The first sample above -40 dB of the peak, and the one after the last; None for silence."""
    loud = np.flatnonzero(np.abs(wave) > 10 ** (EDGE_DB / 20) * np.abs(wave).max(initial=0.0))
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else None


def _reason(error: Exception) -> str:
    return str(error).removeprefix("Error opening ").strip().rstrip(".") or type(error).__name__

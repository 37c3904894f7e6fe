"""Between the audio formats of the wire and the one inside: s16le mono at 24 kHz.

G.711 has a third of that rate. Both directions share one short low-pass filter, so that n samples always become 3n (or n/3) at once
and positions in the audio stay exact; a resampler made for files would hold back 20 ms.
"""

from __future__ import annotations

import numpy as np

from server.protocol import g711
from server.protocol.errors import ProtocolError
from server.protocol.media import SAMPLE_BYTES, SAMPLE_RATE, decode_base64
from server.protocol.session_object import AudioFormat, PcmFormat

_RATIO = SAMPLE_RATE // g711.RATE
_PCM = np.dtype("<i2")


def _low_pass(taps: int = 73, cutoff_hz: float = 4_000.0, beta: float = 5.6) -> np.ndarray:
    """A Kaiser-windowed sinc at 24 kHz: telephone speech (to 3.4 kHz) passes, its images (from 4.6 kHz) come out 60 dB lower; delays by 1.5 ms."""
    at = np.arange(taps) - taps // 2
    filter = np.sinc(2 * cutoff_hz / SAMPLE_RATE * at) * np.kaiser(taps, beta)
    return (filter / filter.sum()).astype(np.float32)


_FILTER = _low_pass()


class _Filter:
    """The low-pass over a stream: as many samples come out as go in."""

    def __init__(self) -> None:
        self._before = np.zeros(len(_FILTER) - 1, np.float32)
        self.begun = False

    def push(self, samples: np.ndarray) -> np.ndarray:
        if not len(samples):
            return samples
        self.begun = True
        samples = np.concatenate((self._before, samples))
        self._before = samples[-len(self._before) :]
        return np.convolve(samples, _FILTER, "valid")


class AudioIn:
    """A client's audio stream, in the format that its session says."""

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self._filter = _Filter()

    def push(self, data: bytes, param: str = "audio") -> bytes:
        """The next bytes of the stream as s16le at 24 kHz. Raises ProtocolError naming `param`; the stream goes on without them then."""
        if isinstance(self.format, PcmFormat):
            if len(data) % SAMPLE_BYTES:
                raise ProtocolError("invalid_audio", f"{param} holds {len(data)} bytes: 16-bit PCM has an even number", param=param)
            return data
        spread = np.zeros(len(data) * _RATIO, np.float32)
        spread[::_RATIO] = g711.decode(self.format.type, data)
        return _to_int16(self._filter.push(spread) * _RATIO).astype(_PCM).tobytes()


class AudioOut:
    """One answer's audio stream, in the format that its client expects."""

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self._filter = _Filter()
        self._skip = 0  # samples until the next one that is kept

    def push(self, pcm: bytes) -> bytes:
        """What is ready of the next s16le at 24 kHz."""
        if isinstance(self.format, PcmFormat):
            return pcm
        samples = self._filter.push(np.frombuffer(pcm, _PCM).astype(np.float32))
        kept = samples[self._skip :: _RATIO]
        self._skip = (self._skip - len(samples)) % _RATIO
        return g711.encode(self.format.type, _to_int16(kept))

    def flush(self) -> bytes:
        """The rest of the answer, which the filter still holds: at most 2 ms."""
        return self.push(bytes(SAMPLE_BYTES * (len(_FILTER) // 2))) if self._filter.begun else b""


def decode_audio(text: str, format: AudioFormat, param: str) -> bytes:
    """A whole recording in base64 as s16le at 24 kHz. Raises ProtocolError naming `param`."""
    return AudioIn(format).push(decode_base64(text, param), param)


def _to_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples), -32_768, 32_767).astype(np.int16)

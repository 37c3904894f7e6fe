"""The input audio buffer: uncommitted audio, addressed by sample number since the session began."""

from __future__ import annotations

from server.protocol.errors import ProtocolError
from server.protocol.media import SAMPLE_BYTES, SAMPLE_RATE, pcm_samples


class InputBuffer:
    """Audio between `begin` and `end`; what is taken or dropped is released at once."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._pcm = bytearray()
        self.begin = 0  #: sample number of the first sample held
        self.end = 0  #: sample number after the last one: all audio received in the session

    def append(self, pcm: bytes) -> None:
        """Add s16le audio. Raises ProtocolError when the buffer would outgrow its limit; nothing is added then."""
        samples = pcm_samples(pcm)
        if self.end - self.begin + samples > self._limit_s * SAMPLE_RATE:
            raise ProtocolError(
                "input_audio_buffer_full",
                f"The input audio buffer holds at most {self._limit_s:g} s of uncommitted audio: commit or clear it first; this chunk was dropped",
                param="audio",
            )
        self._pcm += pcm
        self.end += samples

    def read(self, start: int, end: int) -> bytes:
        """The audio of [start, end) as far as it is held."""
        start, end = max(start, self.begin), min(end, self.end)
        return bytes(self._pcm[(start - self.begin) * SAMPLE_BYTES : max(0, end - self.begin) * SAMPLE_BYTES])

    def take(self, start: int, end: int) -> bytes:
        """As `read`; it and everything before it is released."""
        pcm = self.read(start, end)
        self.drop_before(min(end, self.end))
        return pcm

    def drop_before(self, sample: int) -> None:
        """Release the audio before `sample`."""
        sample = min(max(sample, self.begin), self.end)
        del self._pcm[: (sample - self.begin) * SAMPLE_BYTES]
        self.begin = sample

    def clear(self) -> None:
        """Release everything; sample numbers go on."""
        self.drop_before(self.end)

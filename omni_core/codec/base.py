"""What every codec of this project promises (SNAC's three levels at 24 kHz: 7 codes per frame of 2048 samples)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

SAMPLE_RATE = 24000
FRAME_SAMPLES = 2048
FRAME_CODES = 7


class StreamDecoder(Protocol):
    """Decodes one stream of frames as it comes. All pushes and the flush concatenated equal `Codec.decode` of all frames at once."""

    def push(self, frames: torch.Tensor) -> torch.Tensor:
        """Take the next frames [k, 7] int64; return the samples [n] float32 that are final now (n may be 0)."""
        ...

    @staticmethod
    def push_all(streams: Sequence[Any], frames: torch.Tensor) -> list[torch.Tensor]:
        """Push frames [B, k, 7] to B streams of one codec, of any ages, in one pass; return what each one's `push` would.

        Where several are pushed one frame and the pass raises, they are as they were.
        """
        ...

    def flush(self) -> torch.Tensor:
        """End the stream: return the samples [n] float32 not returned so far. Afterwards only `reset` may follow."""
        ...

    def reset(self) -> None:
        """Forget everything: the next push starts a new stream."""
        ...


class StreamEncoder(Protocol):
    """Encodes one stream of samples as it comes, each frame as soon as it is complete and from nothing later."""

    def push(self, wave: torch.Tensor) -> torch.Tensor:
        """Take the next samples [N] float32, any N; return the frames [k, 7] int64 that are complete now."""
        ...

    @classmethod
    def push_all(cls, streams: Sequence[Any], wave: torch.Tensor) -> torch.Tensor:
        """Push whole frames [B, k * 2048] float32 to B streams of one codec in one pass; return what each one's `push` would, [B, k, 7].

        Raises AudioError, and changes nothing, when a part of a frame waits in one of them or the samples are no whole frames.
        """
        ...

    def flush(self) -> torch.Tensor:
        """End the stream: return the last frame [0 or 1, 7], zero-padded, and start anew."""
        ...

    def reset(self) -> None:
        """Forget everything: the next push starts a new stream."""
        ...


class Codec(Protocol):
    """Turns a waveform into frames of 7 codes and back."""

    sample_rate: int  #: 24000
    frame_samples: int  #: 2048
    codes: int  #: entries per codebook; codes are 0 .. codes-1
    first_audio_frames: int  #: frames that a stream needs before its first sample can leave

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """[N] float32 at `sample_rate` -> frames [ceil(N / 2048), 7] int64; the tail is zero-padded to a whole frame."""
        ...

    def code_vectors(self) -> tuple[torch.Tensor, ...]:
        """What each code of levels 1, 2 and 3 stands for: [codes, width] each. Codes that sound alike lie near each other."""
        ...

    def decode(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames [F, 7] int64 -> [F * 2048] float32."""
        ...

    def stream(self) -> StreamDecoder:
        """A decoder for one stream."""
        ...

    def stream_encoder(self) -> StreamEncoder:
        """An encoder for one microphone. A codec that isn't causal gives other codes here than `encode`, which sees what comes next."""
        ...


def encode_as_stream(codec: Codec, wave: torch.Tensor) -> torch.Tensor:
    """[N] float32 -> frames [ceil(N / 2048), 7] int64, as a microphone's stream would be encoded: what a listener is trained and judged on."""
    encoder = codec.stream_encoder()
    return torch.cat([encoder.push(wave), encoder.flush()])

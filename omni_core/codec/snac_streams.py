"""Streams of SNAC: answers decoded and microphones encoded, any number of them in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from snac import SNAC
from torch import Tensor

from omni_core.codec.base import FRAME_CODES, FRAME_SAMPLES
from omni_core.codec.frames import pack_frames, unpack_frames
from omni_core.codec.framing import FrameEncoder
from omni_core.codec.state import joined
from omni_core.codec.streaming import Network

_WINDOW = 4  # frames that a microphone's newest one is encoded with, itself included: the encoder sees about 2.3 to its left
_AT_ONCE = 32  # frames of one stream in a pass: few enough for what lies between layers to stay small
_CPU_WINDOWS = 4  # in a pass of the encoder on a CPU, whose caches hold no more: with 8 it is slower than one by one
_WINDOWS = 256  # on anything else
_OPEN = 1 << 40  # frames of a stream whose end isn't known


class SnacStream:
    """`codec.base.StreamDecoder`: frames in, the samples that no later frame can change out."""

    def __init__(self, quantizer: Any, decoder: Network, device: torch.device) -> None:
        self._quantizer, self._decoder, self._device = quantizer, decoder, device
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next push starts a new stream."""
        self._state: Tensor | None = None  # from the first frame on
        self._frames = 0

    def push(self, frames: Tensor) -> Tensor:
        """Frames [k, 7] int64 -> the samples [n] float32 that are final now: none, or not even a multiple of a frame."""
        return self.push_all([self], frames[None])[0]

    @staticmethod
    @torch.inference_mode()
    def push_all(streams: Sequence[SnacStream], frames: Tensor) -> list[Tensor]:
        """Frames [B, k, 7] int64 to B streams of one codec in one pass: what each one's `push` would give."""
        pieces = [_advance(streams, part, [_OPEN] * len(streams)) for part in frames.split(max(1, _AT_ONCE // len(streams)), 1) if part.shape[1]]
        if not pieces:
            return [torch.zeros(0, device=stream._device) for stream in streams]
        return [torch.cat(parts) for parts in zip(*pieces, strict=True)]

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """The rest [n] float32: now 2048 samples were given for each frame pushed. Afterwards only `reset` may follow."""
        if not self._frames:
            return torch.zeros(0, device=self._device)
        later = -(-self._decoder.delay // FRAME_SAMPLES)  # frames after the end push the last samples out
        return _advance([self], torch.zeros(1, later, FRAME_CODES, dtype=torch.int64), [self._frames])[0]


def _advance(streams: Sequence[SnacStream], frames: Tensor, ends: list[int]) -> list[Tensor]:
    """Run frames [B, k, 7] through the decoder; of its samples those that lie in their stream."""
    quantizer, decoder, device = streams[0]._quantizer, streams[0]._decoder, streams[0]._device
    for stream in streams:
        if stream._state is None:
            stream._state = torch.zeros(decoder.state_size, device=device)
    latents = quantizer.from_codes(list(unpack_frames(frames.to(device))))  # [B, width, 4k]
    first, end = torch.tensor([[stream._frames for stream in streams], ends]).to(device)
    with joined([stream._state for stream in streams if stream._state is not None]) as state:
        samples = decoder(latents.transpose(0, 1), state, first, end)[0]  # [B, k * 2048]
    given = []
    for stream, row, stop in zip(streams, samples, ends, strict=True):
        begin = stream._frames * FRAME_SAMPLES - decoder.delay  # of the row, in the stream's samples
        given.append(row[max(0, -begin) : max(0, stop * FRAME_SAMPLES - begin)])
        stream._frames += frames.shape[1]
    return given


class SnacStreamEncoder(FrameEncoder):
    """`codec.base.StreamEncoder`: each newest frame is encoded at once, in a fixed window that ends with it.

    The network would look 190 ms ahead; waiting for that costs more than the codes' accuracy is worth to a listener (model-facts section 5).
    """

    def __init__(self, network: SNAC, device: torch.device) -> None:
        self._network = network
        super().__init__(device)

    def _restart(self) -> None:
        self._past = torch.zeros((_WINDOW - 1) * FRAME_SAMPLES, device=self._device)

    @classmethod
    def _encode(cls, streams: Sequence[SnacStreamEncoder], wave: Tensor) -> Tensor:
        with joined([stream._past for stream in streams]) as past:
            samples = torch.cat([past, wave], 1)
            past.copy_(samples[:, -past.shape[1] :])
        windows = samples.unfold(1, _WINDOW * FRAME_SAMPLES, FRAME_SAMPLES).flatten(0, 1)  # [B * k, window]
        codes = [pack_frames(*streams[0]._network.encode(part[:, None]))[:, -1] for part in windows.split(_CPU_WINDOWS if wave.is_cpu else _WINDOWS)]
        return torch.cat(codes).unflatten(0, (len(streams), -1))

"""Microphones' samples to whole frames, one stream or many in a pass: what the codecs' stream encoders share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from omni_core.codec.base import FRAME_CODES, FRAME_SAMPLES
from omni_core.errors import AudioError


class FrameEncoder:
    """`codec.base.StreamEncoder` but for the encoding: a codec's own says what it keeps (`_restart`) and how frames become codes (`_encode`)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next push starts a new stream."""
        self._rest = torch.zeros(0, device=self._device)
        self._restart()

    @torch.inference_mode()
    def push(self, wave: Tensor) -> Tensor:
        """[N] float32, any N -> the frames [k, 7] int64 that are complete now; what is left over waits for the next push."""
        wave = torch.cat((self._rest, torch.as_tensor(wave, dtype=torch.float32, device=self._device)))
        whole = len(wave) - len(wave) % FRAME_SAMPLES
        self._rest = wave[whole:]
        if not whole:
            return torch.zeros(0, FRAME_CODES, dtype=torch.int64, device=self._device)
        return self._encode([self], wave[None, :whole])[0]

    @classmethod
    @torch.inference_mode()
    def push_all(cls, streams: Sequence[Any], wave: Tensor) -> Tensor:
        """Whole frames [B, k * 2048] float32 to B streams of one codec in one pass -> [B, k, 7] int64: what each one's `push` would give.

        Raises AudioError, and changes nothing, when a part of a frame waits in one of them or the samples are no whole frames.
        """
        if wave.shape[1] % FRAME_SAMPLES or any(len(stream._rest) for stream in streams):
            raise AudioError(f"streams are encoded together by whole frames of {FRAME_SAMPLES} samples: push other lengths one by one")
        return cls._encode(streams, wave.to(streams[0]._device, torch.float32))

    def flush(self) -> Tensor:
        """The last frame [0 or 1, 7], zero-padded, and a fresh start."""
        frames = self.push(torch.zeros(-len(self._rest) % FRAME_SAMPLES))
        self.reset()
        return frames

    def _restart(self) -> None:
        raise NotImplementedError

    @classmethod
    def _encode(cls, streams: Sequence[Any], wave: Tensor) -> Tensor:
        """[B, k * 2048] -> [B, k, 7], each stream's after what it had before."""
        raise NotImplementedError

"""How a training run hears and sees through frozen encoders: cheap preparation where examples are made, features where the model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from omni_core.datagen import augment
from omni_core.encoders.base import AudioEncoder
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.encoders.mel import LogMel, log_power
from omni_core.encoders.vision import VisionEncoder
from omni_core.training.encoders_clips import pad_mels

_MEL_PER_FEATURE = 4


class Ear(Protocol):
    """Waveforms to features."""

    def prepare(self, wave: NDArray[np.float32], rng: np.random.Generator | None) -> tuple[Tensor, int]:
        """What `features` takes for `wave` [N] at 16 kHz, and L. With `rng` a training clip, sounding like another speaker's."""
        ...

    def features(self, heard: Sequence[Tensor]) -> Tensor:
        """Features [H, L, width] of prepared clips, L the most that one has, on the encoder's device."""
        ...


class ChunkedEar:
    """nano's encoder: log-mels made beside the data, one padded pass a batch."""

    def __init__(self, encoder: ChunkedEncoder) -> None:
        self.encoder, self.mel = encoder, LogMel(encoder.config.mels)

    def prepare(self, wave: NDArray[np.float32], rng: np.random.Generator | None) -> tuple[Tensor, int]:
        power = self.mel.power(torch.from_numpy(wave))
        mel = log_power(power if rng is None else augment.distort_mel(power, rng))  # [T, mels]
        return mel, -(-len(mel) // _MEL_PER_FEATURE)

    @torch.no_grad()
    def features(self, heard: Sequence[Tensor]) -> Tensor:
        device = self.encoder.mel.window.device
        padded, lengths = pad_mels(heard)
        return self.encoder(padded.to(device), lengths.to(device))


class WaveEar:
    """Any other audio encoder, clip by clip."""

    def __init__(self, encoder: AudioEncoder) -> None:
        self.encoder = encoder

    def prepare(self, wave: NDArray[np.float32], rng: np.random.Generator | None) -> tuple[Tensor, int]:
        limit = self.encoder.max_audio_s
        kept = wave if limit is None else wave[: int(limit * self.encoder.sample_rate)]
        return torch.from_numpy(kept), self.encoder.feature_count(len(kept))

    @torch.no_grad()
    def features(self, heard: Sequence[Tensor]) -> Tensor:
        return pad_sequence([self.encoder.encode(wave) for wave in heard], batch_first=True)


def ear_of(encoder: AudioEncoder) -> Ear:
    """The quickest way to hear through `encoder`."""
    return ChunkedEar(encoder) if isinstance(encoder, ChunkedEncoder) else WaveEar(encoder)


class Eye:
    """Pictures to features through a frozen vision encoder."""

    def __init__(self, encoder: VisionEncoder) -> None:
        self.encoder = encoder

    def prepare(self, picture: NDArray[np.uint8]) -> Tensor:
        """What `features` takes for a picture [H, W, 3]: pixels [3, S, S]."""
        return self.encoder.pixels(Image.fromarray(picture))

    @torch.no_grad()
    def features(self, seen: Sequence[Tensor]) -> Tensor:
        """Features [B, 50, width] of prepared pictures, on the encoder's device."""
        return self.encoder(torch.stack(list(seen)).to(next(self.encoder.parameters()).device))

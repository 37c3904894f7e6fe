"""What every audio encoder promises."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch


@runtime_checkable
class AudioEncoder(Protocol):
    """A waveform to features for the language model's audio adapter."""

    sample_rate: int  #: of the waveforms it takes, 16000
    features_per_s: float
    width: int  #: of one feature
    max_audio_s: float | None  #: longest waveform it takes; None: no limit

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """Features [L, width] of `wave` [N], float32 mono at `sample_rate`. Raises AudioError when it is empty, too long or not finite."""
        ...

    def feature_count(self, samples: int) -> int:
        """L for a waveform of `samples` samples."""
        ...

"""The listener's sequences from scenes made on the device: what `listening.ListenerSource` gives, from scenes that never come again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from omni_core.codec.causal import CausalCodec
from omni_core.codec.frames import pack_frames
from omni_core.datagen.interruptions import IRQ, N_IRQ
from omni_core.errors import ConfigError
from omni_core.listener import listener_tokens
from omni_core.tokens import TokenLayout
from omni_core.training.dataset import IGNORE
from omni_core.training.listening import DECISION_WEIGHT, SWAPPED, ListenerBatch
from omni_core.training.resident import sound
from omni_core.training.resident.scenes import Scenes
from omni_core.training.settings import generator_of

_PARTS = (3, 4, 5, 6)  # scenes in a sequence


class ResidentListening:
    """Batches of `rows` sequences of `frames` frames: scenes of one length one after the other, the first of them at times cut."""

    def __init__(self, folder: Path, codec: object, layout: TokenLayout, rows: int, frames: int, seed: int, device: torch.device) -> None:
        """frames: a multiple of 60. Raises ConfigError, and DataError for clips that aren't there."""
        if not isinstance(codec, CausalCodec):
            raise ConfigError("resident: the listener is trained on the device through nano's own codec only")
        if frames % 60:
            raise ConfigError(f"listening.frames: {frames} must be a multiple of 60, so that scenes of several lengths fit")
        self.scenes, self.codec = Scenes(folder, device, seed), codec.to(device)
        self.layout, self.rows, self.frames, self.seed, self.device = layout, rows, frames, seed, device

    @torch.no_grad()
    def batch(self, step: int) -> ListenerBatch:
        """The sequences of step `step`."""
        rng, generator = np.random.default_rng((self.seed, step)), generator_of(self.device, self.seed, step)
        parts = int(rng.choice(_PARTS))
        scenes = self.scenes.draw(self.rows * parts, self.frames // parts, 1.0, rng, generator)
        codes = pack_frames(*self.codec.quantize(self.codec.encoder(scenes.waves))[1]).view(self.rows, self.frames, -1)
        labels, decisions = scenes.labels.view(self.rows, -1), scenes.decisions.view(self.rows, -1)
        targets = torch.full_like(labels, IGNORE)
        targets[labels == N_IRQ], targets[labels == IRQ] = self.layout.n_irq, self.layout.irq
        weights = torch.where(decisions, DECISION_WEIGHT, 1.0)
        shift = int(rng.integers(self.frames // parts))  # where in its first scene a sequence begins
        tokens = listener_tokens(self.layout, self._swapped(codes, generator))
        return ListenerBatch(tokens[:, :, shift:], targets[:, shift:], weights[:, shift:])

    def _swapped(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """`codes` [B, T, 7], some of each sequence taken from anywhere else."""
        flat = codes.flatten(0, 1)
        places = torch.randint(len(flat), codes.shape, generator=generator, device=codes.device)
        others = flat[places, torch.arange(codes.shape[-1], device=codes.device)]
        share = sound.uniform(generator, 0, SWAPPED, len(codes), 1, 1)
        return torch.where(torch.rand(codes.shape, generator=generator, device=codes.device) < share, others, codes)

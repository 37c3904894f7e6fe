"""Many recordings heard at once and many frames in one pass: what evaluation listens with. The engine listens frame by frame, in its own
decode steps, and says the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omni_core.listener.reading import listener_tokens, margins
from omni_core.models import OmniModel
from omni_core.models.kv_cache import band_mask


class BatchListener:
    """B microphones that are heard by one model, in step."""

    def __init__(self, model: OmniModel, band_frames: int, margin: float, streams: int = 1) -> None:
        """band_frames and margin: as in `ListenerConfig`."""
        self._model, self._margin = model, margin
        self._cache = _Band(model, band_frames, streams)

    @torch.inference_mode()
    def push(self, frames: Tensor) -> Tensor:
        """The next frames [B, k, 7] of codes -> statuses [B, k] bool, True for irq."""
        return self.margins(frames) > self._margin

    @torch.inference_mode()
    def margins(self, frames: Tensor) -> Tensor:
        """As `push`: by how much irq's logit passes n-irq's, [B, k] float32."""
        model = self._model
        if not frames.shape[1]:
            return torch.zeros(frames.shape[:2], device=model.device)
        x = model.embed(listener_tokens(model.layout, frames.to(model.device)))  # [B, k, width]
        return margins(model, model.backbone(x, self._cache.positions(frames.shape[1]), self._cache.advance(frames.shape[1])))

    def reset(self, streams: Sequence[int] | None = None) -> None:
        """These streams (None: all) start anew."""
        self._cache.reset(streams)


class _Band:
    """`models.kv_cache.View` of every stream's newest keys and values."""

    def __init__(self, model: OmniModel, band: int, streams: int) -> None:
        config = model.config.backbone
        self._band = band
        self._seen = torch.zeros(streams, dtype=torch.int64, device=model.device)
        empty = torch.zeros(streams, config.kv_heads, band - 1, config.head_size, dtype=model.dtype, device=model.device)
        self._kept = [(empty, empty)] * config.layers  # never written in place
        self._mask = empty

    def reset(self, streams: Sequence[int] | None) -> None:
        self._seen[slice(None) if streams is None else list(streams)] = 0

    def positions(self, steps: int) -> Tensor:
        """Of the next `steps` frames: [B, steps]."""
        return self._seen[:, None] + torch.arange(steps, device=self._seen.device)

    def advance(self, steps: int) -> _Band:
        """Be the view of the next `steps` frames."""
        queries = self.positions(steps)[:, :, None]
        keys = self._seen[:, None, None] + torch.arange(1 - self._band, steps, device=self._seen.device)  # [B, 1, N]
        keys = keys.masked_fill(keys < 0, -self._band)  # before the start there is nothing to see
        self._mask = band_mask(queries, keys, self._band, self._kept[0][0].dtype)
        self._seen += steps
        return self

    def mask(self, groups: int) -> Tensor:
        return self._mask.repeat(1, 1, groups, 1)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = (torch.cat([old, new.transpose(1, 2)], 2) for old, new in zip(self._kept[layer], (k, v), strict=True))
        first = keys.shape[2] - (self._band - 1)
        self._kept[layer] = keys[:, :, first:], values[:, :, first:]
        return keys, values

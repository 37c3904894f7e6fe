"""Streams of frames in, statuses out, for as long as anyone listens: attention keeps the newest frames alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omni_core.models import OmniModel
from omni_core.models.kv_cache import band_mask
from omni_core.tokens import AUDIO_LAYERS, TEXT_STREAM, TokenLayout


def listener_tokens(layout: TokenLayout, frames: Tensor) -> Tensor:
    """Frames [B, k, 7] of codes -> what the model reads, [B, 8, k] global ids: the codes unstaggered, and n-irq in the text row, always.

    The status before is never fed back: that would teach copying, and latch a false irq.
    """
    tokens = frames.new_full((frames.shape[0], TEXT_STREAM + 1, frames.shape[1]), layout.n_irq)
    tokens[:, :TEXT_STREAM] = frames.transpose(1, 2) + frames.new_tensor(layout.offsets[:AUDIO_LAYERS])[:, None]
    return tokens


class ListenerStream:
    """B microphones that are heard by one model, in step."""

    def __init__(self, model: OmniModel, band_frames: int, margin: float, streams: int = 1) -> None:
        """band_frames and margin: as in `ListenerConfig`."""
        self._model, self._margin = model, margin
        self._cache = _Band(model, band_frames, streams)
        layout = model.layout
        self._statuses = torch.tensor([layout.irq, layout.n_irq], device=model.device)

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
        # float64: an hour is position 42,000, where float32 angles are off by 0.004.
        hidden = model.backbone(x, self._cache.positions(frames.shape[1]).double(), self._cache.advance(frames.shape[1]))
        irq, n_irq = (hidden.float() @ model.embedding.weight[self._statuses].float().T).unbind(-1)
        return irq - n_irq

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

"""The whole language model: eight streams in, hidden states, text and audio logits out.

Owns fusion and the heads. Prompts are `tokens`', steps and stopping the engine's, losses the training's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from omni_core.config import ModelConfig
from omni_core.errors import TaskError
from omni_core.models.adapters import audio_adapter, vision_adapter
from omni_core.models.backbone import Backbone
from omni_core.models.fused import can_fuse, fused_step
from omni_core.models.kv_cache import BandView, KVCache, View
from omni_core.models.layers import TiedHead
from omni_core.tokens.layout import AUDIO_LAYERS, STREAMS, TEXT_STREAM, TokenLayout

INIT_STD = 0.02  #: of fresh weights, the embedding's among them


class OmniModel(nn.Module):
    """A backbone over the mean of eight embeddings, with one matrix as embedding and head. Made with random weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.layout = TokenLayout.from_config(config.layout)
        self.embedding = nn.Embedding(self.layout.rows, config.backbone.width)
        self.text_head = TiedHead(self.embedding, 0, self.layout.text_rows)
        self.audio_head = TiedHead(self.embedding, self.layout.text_rows, self.layout.rows)
        self.audio_adapter = audio_adapter(config)
        self.vision_adapter = vision_adapter(config)
        self.backbone = Backbone(config.backbone)
        self._initialise()

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def embed(self, tokens: Tensor, features: Tensor | None = None, feature_mask: Tensor | None = None) -> Tensor:
        """The mean of eight rows' embeddings; where `feature_mask` is set, the adapted feature stands in all seven audio rows.

        tokens: [R, 8, T] int64 global ids. features: [R, T, width]. feature_mask: [R, T] bool. Returns [R, T, width].
        """
        rows = self.embedding(tokens)  # [R, 8, T, width]
        if features is None or feature_mask is None:
            return rows.mean(dim=1)
        audio = rows[:, :TEXT_STREAM].sum(dim=1)  # [R, T, width]
        audio = torch.where(feature_mask[..., None], AUDIO_LAYERS * features.to(rows.dtype), audio)
        return (rows[:, TEXT_STREAM] + audio) / STREAMS

    def adapt_audio(self, features: Tensor) -> Tensor:
        """[..., L, audio_features] -> [..., L, width]."""
        return self.audio_adapter(features)

    def adapt_image(self, features: Tensor) -> Tensor:
        """[..., 50, vision_features] -> [..., 50, width]. TaskError if the model has no vision adapter."""
        if self.vision_adapter is None:
            raise TaskError(f"model {self.config.name} sees no pictures: use a task without an image, or a model with a vision adapter")
        return self.vision_adapter(features)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        cache: KVCache | None = None,
        rows: Tensor | None = None,
        length: int | None = None,
        *,
        band: int | None = None,
    ) -> Tensor:
        """x: [R, T, width] at positions [R, T] -> hidden [R, T, width], after the final norm.

        Without a cache: causal attention over x itself; with `band`, each position sees the newest `band` ones, its own included.
        With one: keys and values go to `rows` (None: 0..R-1) at `positions`, which attend to all positions up to their own.
        length: how many places of the cache to read (`KVCache.view`); None finds out, and waits for an accelerator.
        """
        if cache is not None and rows is not None and can_fuse(self.config.backbone, x):
            return fused_step(self.backbone, x[:, 0], positions[:, 0], cache, rows)[:, None]
        view: View | None = None
        if cache is not None:
            view = cache.view(positions, rows, length)
        elif band is not None:
            view = BandView(x.shape[1], band, x.dtype, x.device)
        return self.backbone(x, positions, view)

    def text_logits(self, hidden: Tensor) -> Tensor:
        """[..., width] -> [..., text_rows]."""
        return self.text_head(hidden)

    def audio_logits(self, hidden: Tensor) -> Tensor:
        """[..., width] -> [..., 7, audio_rows]."""
        return self.audio_head(hidden).unflatten(-1, (AUDIO_LAYERS, -1))

    def _initialise(self) -> None:
        residual = INIT_STD / math.sqrt(2 * self.config.backbone.layers)
        for name, parameter in self.named_parameters():
            if name.endswith("norm.weight"):
                continue
            if name.endswith(".bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=residual if name.endswith(("attention.out.weight", "mlp.down.weight")) else INIT_STD)

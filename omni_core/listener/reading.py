"""How a status is asked for and read: what the model is given of a frame, and which of its logits count."""

from __future__ import annotations

import torch
from torch import Tensor

from omni_core.models import OmniModel
from omni_core.tokens import AUDIO_LAYERS, TEXT_STREAM, TokenLayout


def listener_tokens(layout: TokenLayout, frames: Tensor) -> Tensor:
    """Frames [B, k, 7] of codes -> what the model reads, [B, 8, k] global ids: the codes unstaggered, and n-irq in the text row, always.

    The status before is never fed back: that would teach copying, and latch a false irq.
    """
    tokens = frames.new_full((frames.shape[0], TEXT_STREAM + 1, frames.shape[1]), layout.n_irq)
    offsets = layout.audio_id(0, 0) + layout.audio_rows * torch.arange(AUDIO_LAYERS, device=frames.device)  # made there: no copy to an accelerator
    tokens[:, :TEXT_STREAM] = frames.transpose(1, 2) + offsets[:, None]
    return tokens


def margins(model: OmniModel, hidden: Tensor) -> Tensor:
    """Hidden states [..., width] of frames -> by how much irq's logit passes n-irq's, [...] float32."""
    weight = model.embedding.weight
    heads = torch.stack((weight[model.layout.irq], weight[model.layout.n_irq]))
    irq, n_irq = (hidden.float() @ heads.float().T).unbind(-1)
    return irq - n_irq

"""What the language model is trained to do: delayed-parallel text and audio, and the listener's statuses.

Loss: the sum over steps of -log P(text, audio | earlier, features), each stream's mean over the step's targets (model-facts section 4).
Heads are computed only at positions that take loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni_core.models import OmniModel
from omni_core.tokens import AUDIO_LAYERS, TEXT_STREAM
from omni_core.training.dataset import IGNORE, Batch
from omni_core.training.listening import ListenerBatch, listener_loss
from omni_core.training.senses import Ear, Eye
from omni_core.training.settings import attention

Figures = Mapping[str, Tensor | float]


@dataclass(frozen=True)
class Counts:
    """Targets of all parts of a step."""

    text: int
    audio: int

    @classmethod
    def of(cls, parts: Sequence[Batch]) -> Counts:
        text = sum(int((part.targets[:, TEXT_STREAM] != IGNORE).sum()) for part in parts)
        audio = sum(int((part.targets[:, :TEXT_STREAM] != IGNORE).sum()) for part in parts)
        return cls(max(text, 1), max(audio, 1))


@dataclass(frozen=True, eq=False)
class ListeningPart:
    """The listener's share of a step."""

    batch: ListenerBatch
    band: int
    weight: float


class Objective(nn.Module):
    """The losses of a part of a step as one module, for what wraps modules (DDP). The frozen senses are no submodules: never trained, never saved."""

    def __init__(self, model: OmniModel, ear: Ear, eye: Eye | None, text_weight: float) -> None:
        super().__init__()
        self.model, self.text_weight = model, text_weight
        self._senses = (ear, eye)

    def forward(self, part: Batch | ListeningPart, counts: Counts) -> tuple[Tensor, Figures]:
        """The part's share of the step's loss, and of its figures: both add up over the parts."""
        if isinstance(part, ListeningPart):
            loss, told = listener_loss(self.model, part.batch.to(self.model.device), part.band)
            return part.weight * loss, told
        hidden, targets = self.hidden(part), part.targets.to(self.model.device)
        text_at, audio_at = targets[:, TEXT_STREAM] != IGNORE, targets[:, 0] != IGNORE  # [B, T]
        text_target = targets[:, TEXT_STREAM][text_at]
        text_logits = self.model.text_logits(hidden[text_at]).float()
        text = F.cross_entropy(text_logits, text_target, reduction="sum") / counts.text
        figures: dict[str, Tensor | float] = {"text": text.detach(), "text_right": (text_logits.argmax(-1) == text_target).sum() / counts.text}
        loss = self.text_weight * text
        if bool(audio_at.any()):
            audio_target = targets[:, :TEXT_STREAM].transpose(1, 2)[audio_at]  # [N, 7]
            audio_logits = self.model.audio_logits(hidden[audio_at]).float()
            audio = F.cross_entropy(audio_logits.flatten(0, 1), audio_target.flatten(), reduction="sum") / counts.audio
            figures |= {"audio": audio.detach(), "audio_right": (audio_logits.argmax(-1) == audio_target).sum() / counts.audio}
            loss = loss + audio
        return loss, figures

    def hidden(self, batch: Batch) -> Tensor:
        """The model's last hidden states [B, T, width], teacher-forced."""
        model = self.model
        tokens = batch.tokens.to(model.device)
        with attention(model.device):
            features, mask = self._features(batch, tokens.shape[0], tokens.shape[2])
            x = model.embed(tokens, features, mask)  # [B, T, width]
            return model(x, torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1))

    def whole_texts(self, batch: Batch) -> list[bool]:
        """Whether each row's text would be decoded right: greedy decoding gives the target if and only if every teacher-forced step does."""
        hidden, targets = self.hidden(batch), batch.targets[:, TEXT_STREAM].to(self.model.device)
        said = self.model.text_logits(hidden).argmax(-1)
        return ((said == targets) | (targets == IGNORE)).all(-1).tolist()

    def said_frames(self, batch: Batch) -> Tensor:
        """Codes [F, 7] of the batch's first row as the model would say them, teacher-forced."""
        audio_at = batch.targets[0, 0] != IGNORE
        codes = self.model.audio_logits(self.hidden(batch)[0, audio_at])[..., : self.model.layout.codes].argmax(-1)  # [S, 7], delayed
        layers = [codes[layer + 1 : len(codes) - AUDIO_LAYERS + layer, layer] for layer in range(AUDIO_LAYERS)]
        return torch.stack(layers, dim=1)

    def _features(self, batch: Batch, rows: int, length: int) -> tuple[Tensor | None, Tensor | None]:
        """Adapted features [B, T, width] where they belong, and where that is [B, T]."""
        ear, eye = self._senses
        parts: list[tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]] = []
        if len(batch.heard):
            heard = batch.heard if isinstance(batch.heard, Tensor) else ear.features(batch.heard)
            parts.append((heard, torch.as_tensor(batch.heard_spans), self.model.adapt_audio))
        if len(batch.seen) and eye is not None:
            seen = batch.seen if isinstance(batch.seen, Tensor) else eye.features(batch.seen)
            parts.append((seen, torch.as_tensor(batch.seen_spans), self.model.adapt_image))
        if not parts:
            return None, None
        features = mask = None
        for found, spans, adapt in parts:
            row, start, count = spans.to(found.device)[:, :, None].unbind(1)  # each [H, 1]
            steps = torch.arange(found.shape[1], device=found.device)
            real = steps < count  # [H, L]
            at = (row.expand_as(real)[real], (start + steps)[real])
            adapted = adapt(found[real])
            if features is None or mask is None:
                features = adapted.new_zeros(rows, length, self.model.config.backbone.width)
                mask = torch.zeros(rows, length, dtype=torch.bool, device=found.device)
            features[at] = adapted.to(features.dtype)
            mask[at] = True
        return features, mask

"""Stage 0 of nano's vision encoder: it learns to see by describing pictures. `omni train encoders` runs it for a configuration of `part: vision`.

A small decoder looks at the encoder's features and says the caption word by word; it is thrown away afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.tensorboard.writer import SummaryWriter

from omni_core.checkpoint import formats
from omni_core.checkpoint.load import pick_device
from omni_core.config import VisionConfig
from omni_core.datagen.pictures import Picture, counted
from omni_core.encoders.patches import PatchVision
from omni_core.training.loop import LoopConfig, run_loop
from omni_core.training.parts import read_part, write_part
from omni_core.training.prefetch import batches
from omni_core.training.settings import adamw, attention, autocast, cosine_rate, read_config, set_rate
from omni_core.training.vision_captions import LONGEST, PADDING, Batch, Gallery, Words

FINAL = "final.safetensors"
_SHOWN = 16  # pictures that TensorBoard shows


@dataclass(frozen=True)
class VisionTraining:
    """`configs/vision.yaml`."""

    part: str  #: vision: what `omni train encoders` goes by
    output: str
    seed: int
    device: str
    precision: str  #: bf16 or float32; the loss is float32 always
    workers: int  #: processes that paint batches ahead; 0: in place
    loop: LoopConfig
    warmup_steps: int
    batch: int  #: pictures
    rate: float  #: peak learning rate
    rate_end: float
    weight_decay: float
    clip: float  #: gradient norm
    held_out: int  #: pictures of a validation
    decoder_width: int
    decoder_layers: int
    vision: VisionConfig


class Describer(nn.Module):
    """Says what the features show."""

    def __init__(self, words: int, features: int, width: int, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.positions = nn.Parameter(0.02 * torch.randn(LONGEST, width))
        self.look = nn.Linear(features, width)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, width // 32, 2 * width, 0.0, F.gelu, batch_first=True, norm_first=True) for _ in range(layers)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, words))

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        """Logits [B, U, words] of the word after each of `ids` [B, U], seeing `features` [B, 50, features]."""
        x = self.words(ids) + self.positions[: ids.shape[1]]
        seen = self.look(features)
        earlier = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], device=ids.device)
        for layer in self.layers:
            x = layer(x, seen, tgt_mask=earlier, tgt_is_causal=True)
        return self.head(x)


class VisionLearner:
    """Trains encoder and describer together. Satisfies `loop.Learner`."""

    def __init__(self, config: VisionTraining) -> None:
        self.config, self.device = config, pick_device(config.device)
        torch.manual_seed(config.seed)
        self.words = Words()
        self.gallery = Gallery(self.words, config.vision.resolution, config.batch, config.seed)
        self.encoder = PatchVision(config.vision)
        self.describer = Describer(len(self.words), config.vision.width, config.decoder_width, config.decoder_layers)
        self.model = nn.ModuleDict({"encoder": self.encoder, "describer": self.describer}).to(self.device)
        self.optimizer = adamw(self.model.parameters(), config.rate, config.weight_decay)
        self._batches: Iterator[Batch] | None = None

    def learn(self, step: int) -> dict[str, float]:
        config = self.config
        if self._batches is None:
            self._batches = batches(self.gallery.make, step, config.loop.steps, config.workers)
        batch = next(self._batches).to(self.device)
        set_rate(self.optimizer, cosine_rate(step, config.loop.steps, config.warmup_steps, config.rate, config.rate_end))
        loss = F.cross_entropy(self._describe(batch).flatten(0, 1).float(), batch.after.flatten(), ignore_index=PADDING)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        loss, norm = torch.stack([loss.detach(), norm]).tolist()
        return {"loss": loss, "norm": norm}

    @torch.inference_mode()
    def validate(self, step: int, writer: SummaryWriter) -> dict[str, float]:
        """Shares of the held-out pictures that are described without a mistake: of all, and by what they show."""
        self.model.eval()
        right: dict[str, list[bool]] = defaultdict(list)
        shown = 0
        for batch in self.gallery.held_out(self.config.held_out):
            said = self._describe(batch.to(self.device)).argmax(-1).cpu()  # [B, U], each after the right words before it: so
            fine = ((said == batch.after) | (batch.after == PADDING)).all(-1)  # all of them are right if a caption said freely is right
            for picture, told, is_fine in zip(batch.pictures, said.tolist(), fine.tolist(), strict=True):
                right["all"].append(is_fine)
                right[_kind(picture)].append(is_fine)
                if shown < _SHOWN:
                    writer.add_image(f"{shown}", picture.render(), step, dataformats="HWC")
                    writer.add_text(f"{shown}", f"{picture.caption()} | **{self.words.decode(told)}**", step)
                    shown += 1
        self.model.train()
        return {kind: sum(values) / len(values) for kind, values in sorted(right.items())}

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def finish(self, folder: Path) -> None:
        """Write the encoder alone."""
        write_part(folder / FINAL, self.config.vision, self.encoder.state_dict())

    def _describe(self, batch: Batch) -> Tensor:
        """Logits [B, U, words]."""
        with autocast(self.device, self.config.precision), attention(self.device):
            return self.describer(self.encoder(self.encoder.normalise(batch.images / 255)), batch.before)


def load_vision(path: Path) -> PatchVision:
    """A vision encoder that `omni train encoders` wrote, ready to encode. Raises CheckpointError when the file is missing or something else."""
    config, weights = read_part(VisionConfig, path)
    encoder = PatchVision(config)
    formats.fill(encoder, weights, path)
    return encoder


def run(config_path: Path, *, resume: bool, max_minutes: float | None) -> None:
    """Train by the configuration file; writes FINAL into its output folder at the end. Raises what `run_loop` and `read_config` do."""
    config = read_config(VisionTraining, config_path)
    run_loop("vision", VisionLearner(config), config.loop, Path(config.output), resume=resume, max_minutes=max_minutes)


def _kind(picture: Picture) -> str:
    if picture.sign:
        return "numbers" if picture.sign.isdigit() else "letters"
    return counted(len(picture.things), "thing")

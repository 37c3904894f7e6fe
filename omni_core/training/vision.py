"""Stage 0 of nano's vision encoder: it learns to see by describing pictures.

A small decoder looks at the encoder's features and says the caption word by word; it is thrown away afterwards. Every step draws its pictures anew
from (seed, step), so no picture is stored.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn import functional as F
from torch.utils.tensorboard.writer import SummaryWriter

from omni_core.config import VisionConfig, from_dict
from omni_core.datagen.exchange import Split
from omni_core.datagen.painting import COLOURS, PLACES, SHAPES
from omni_core.datagen.pictures import MOST, SIGNS, Picture, Thing, any_picture, counted
from omni_core.encoders.patches import PatchVision
from omni_core.errors import ConfigError
from omni_core.training.loop import LoopConfig, run_loop

_SHOWN = 16  # pictures that TensorBoard shows
_VALIDATION = 2**31  # in place of a step: what validation is drawn from


@dataclass(frozen=True)
class VisionTraining:
    """`training/configs/vision.yaml`."""

    output: str
    seed: int
    batch: int  #: pictures
    rate: float  #: peak learning rate
    warmup_steps: int
    weight_decay: float
    clip: float  #: largest gradient norm
    bf16: bool
    held_out: int  #: pictures of a validation
    decoder_width: int
    decoder_layers: int
    vision: VisionConfig
    loop: LoopConfig


def read_config(path: Path) -> VisionTraining:
    """Raises ConfigError for a file that can't be read, and unknown, missing or mistyped keys."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: can't be read ({error})") from error
    return from_dict(VisionTraining, data, path.name)


def run(config_path: Path, *, resume: bool, max_minutes: float | None) -> None:
    """Train by the configuration file; writes final.safetensors into its output folder at the end. Raises what `run_loop` and `read_config` do."""
    config = read_config(config_path)
    run_loop("vision", VisionLearner(config), config.loop, Path(config.output), resume=resume, max_minutes=max_minutes)


class Words:
    """The words of captions as ids; END stands before and after a caption."""

    END = 0

    def __init__(self) -> None:
        every = [Picture((Thing(shape, colour, place),), "", 0) for shape in SHAPES for colour in COLOURS for place in PLACES]
        captions = [picture.caption() for picture in every] + list(SIGNS.values()) + [counted(n, "thing") + " ," for n in range(1, MOST + 1)]
        self._words = ["<end>", *sorted({word for caption in captions for word in _split(caption)})]
        self._ids = {word: number for number, word in enumerate(self._words)}

    def __len__(self) -> int:
        return len(self._words)

    def encode(self, caption: str) -> list[int]:
        """Ids, END not among them."""
        return [self._ids[word] for word in _split(caption)]

    def decode(self, ids: Sequence[int]) -> str:
        """The words up to END."""
        ids = list(ids)
        return " ".join(self._words[i] for i in ids[: ids.index(self.END) if self.END in ids else None])


def _split(caption: str) -> list[str]:
    return re.findall(r"\w+|[:,]", caption)


class Describer(nn.Module):
    """Says what the features show."""

    def __init__(self, words: int, features: int, width: int, layers: int, longest: int = 8 * MOST) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.positions = nn.Parameter(0.02 * torch.randn(longest, width))
        self.look = nn.Linear(features, width)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, width // 32, 2 * width, 0.0, F.gelu, batch_first=True, norm_first=True) for _ in range(layers)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, words))

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        """Logits [B, U, words] of the word after each of `ids` [B, U], seeing `features` [B, 50, width]."""
        x = self.words(ids) + self.positions[: ids.shape[1]]
        seen, mask = self.look(features), nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        for layer in self.layers:
            x = layer(x, seen, tgt_mask=mask, tgt_is_causal=True)
        return self.head(x)


class VisionLearner:
    """Trains encoder and describer together. A `training.loop.Learner`."""

    def __init__(self, config: VisionTraining) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.words = Words()
        self.encoder = PatchVision(config.vision)
        self.describer = Describer(len(self.words), config.vision.width, config.decoder_width, config.decoder_layers)
        self.model = nn.ModuleDict({"encoder": self.encoder, "describer": self.describer})
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98), fused=True)

    def learn(self, step: int) -> dict[str, float]:
        """One update on pictures drawn from (seed, step)."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(step)
        pictures = self._draw(step, Split.TRAIN, self.config.batch)
        logits, targets = self._describe(pictures)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1)
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimiser.step()
        return {"loss": loss.item(), "norm": norm.item()}

    @torch.inference_mode()
    def validate(self, step: int, writer: SummaryWriter) -> dict[str, float]:
        """Parts of the held-out pictures that are described without a mistake: all, and by what they show."""
        self.model.eval()
        pictures = self._draw(_VALIDATION, Split.TEST, self.config.held_out)
        right, told = [], []
        for start in range(0, len(pictures), self.config.batch):
            logits, targets = self._describe(pictures[start : start + self.config.batch])
            said = logits.argmax(-1)  # given the right words before: so all right means that a caption said freely is right
            right += ((said == targets) | (targets < 0)).all(-1).tolist()
            told += [self.words.decode(row) for row in said.tolist()]
        self.model.train()
        for number, picture in enumerate(pictures[:_SHOWN] if step else []):
            writer.add_image(f"{number}", picture.render(), step, dataformats="HWC")
            writer.add_text(f"{number}", f"{picture.caption()} | {told[number]}", step)
        kinds: dict[str, list[bool]] = defaultdict(list)
        for picture, fine in zip(pictures, right, strict=True):
            kinds["all"].append(fine)
            kinds[("digits" if picture.sign.isdigit() else "letters") if picture.sign else counted(len(picture.things), "thing")].append(fine)
        return {kind: sum(values) / len(values) for kind, values in sorted(kinds.items())}

    def state(self) -> dict[str, Any]:
        """Weights and the optimiser's memory."""
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])

    def finish(self, folder: Path) -> None:
        """Write the encoder alone: final.safetensors, its configuration in the metadata."""
        part = folder / "final.part"
        state = {name: tensor.detach().contiguous() for name, tensor in self.encoder.state_dict().items()}
        save_file(state, part, metadata={"config": json.dumps(asdict(self.config.vision))})
        part.chmod(0o644)  # save_file makes it private to its owner
        os.replace(part, folder / "final.safetensors")

    def _rate(self, step: int) -> float:
        """Learning rate: linear warm-up, then a cosine to 1 % of the peak."""
        config = self.config
        if step < config.warmup_steps:
            return config.rate * (step + 1) / config.warmup_steps
        progress = (step - config.warmup_steps) / max(1, config.loop.steps - config.warmup_steps)
        return config.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)

    def _draw(self, step: int, split: Split, count: int) -> list[Picture]:
        rng = np.random.default_rng((self.config.seed, step))
        return [any_picture(rng, split) for _ in range(count)]

    def _describe(self, pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        """Logits [B, U, words], and what they should say [B, U]; -1 after a caption's end."""
        seen = (Image.fromarray(picture.render(self.config.vision.resolution)) for picture in pictures)
        pixels = torch.stack([self.encoder.pixels(picture) for picture in seen])
        captions = [torch.tensor(self.words.encode(picture.caption())) for picture in pictures]
        said = nn.utils.rnn.pad_sequence([F.pad(ids, (1, 0), value=Words.END) for ids in captions], batch_first=True)
        targets = nn.utils.rnn.pad_sequence([F.pad(ids, (0, 1), value=Words.END) for ids in captions], batch_first=True, padding_value=-1)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16), sdpa_kernel(SDPBackend.MATH):  # the fused one is slow to train on a CPU
            return self.describer(self.encoder(pixels), said), targets

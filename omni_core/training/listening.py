"""Learning to stop: coded interruption scenes as sequences of the listener, and its loss.

Owns codes and labels of scenes, the sequences drawn from them and the loss. The scenes themselves are `datagen.scenes`'. The mask, the n-irq text
row and the codes are those of serving (`listener.stream`); a sequence is longer than three bands (model-facts section 5).

Scenes end soon after their command, so a sequence is scenes one after the other: the microphone of one, then of another, with n-irq anew.
That gives each sequence a command or two, and never shows the model its own past status.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from omni_core.codec.base import Codec, encode_as_stream
from omni_core.datagen.interruptions import IRQ, N_IRQ, SAMPLE_RATE, frame_labels
from omni_core.datagen.shards import ShardSet, read_manifest
from omni_core.errors import DataError
from omni_core.listener import listener_tokens
from omni_core.models import OmniModel
from omni_core.tokens import TokenLayout
from omni_core.training.dataset import IGNORE

DECISION_WEIGHT = 4.0  #: of frames around the end of a command or a near miss, to that of others
SWAPPED = 0.15  #: at most, of a sequence's codes, from anywhere else: a voice that is new sounds like the known ones but for some codes
BEFORE, AFTER = 8, 8  #: frames around an end that are decisions


@dataclass(frozen=True, eq=False)
class CodedScenes:
    """Scenes one after the other; scene s is `starts[s]` to `starts[s + 1]`."""

    codes: np.ndarray  #: uint16 [N, 7]
    labels: np.ndarray  #: int8 [N]: `datagen.interruptions` N_IRQ, IRQ, EITHER
    decisions: np.ndarray  #: bool [N]: around the end of a command or a near miss
    starts: np.ndarray  #: int64 [S + 1]

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True, eq=False)
class ListenerBatch:
    """Sequences of the listener."""

    tokens: Tensor  #: [B, 8, T] int64 global ids
    targets: Tensor  #: [B, T] int64: the layout's n_irq or irq, IGNORE where either may be said
    weights: Tensor  #: [B, T] float32

    def to(self, device: torch.device) -> ListenerBatch:
        """The same on `device`."""
        return ListenerBatch(self.tokens.to(device), self.targets.to(device), self.weights.to(device))


class ListenerSource:
    """Batches of one kind: what step n holds depends on the seed and n alone."""

    def __init__(self, scenes: CodedScenes, layout: TokenLayout, batch: int, frames: int, seed: int) -> None:
        """batch: sequences in a step. frames: T, at least three bands."""
        self.scenes, self.layout, self.size, self.frames, self.seed = scenes, layout, batch, frames, seed

    def batch(self, step: int) -> ListenerBatch:
        """The batch of step `step`."""
        rng = np.random.default_rng((self.seed, step))
        at = np.stack([self._sequence(rng) for _ in range(self.size)])  # [B, T]
        labels = torch.from_numpy(self.scenes.labels[at])
        targets = torch.full(labels.shape, IGNORE)
        targets[labels == N_IRQ], targets[labels == IRQ] = self.layout.n_irq, self.layout.irq
        weights = torch.where(torch.from_numpy(self.scenes.decisions[at]), DECISION_WEIGHT, 1.0)
        return ListenerBatch(listener_tokens(self.layout, torch.from_numpy(self._heard(at, rng))), targets, weights)

    def _heard(self, at: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Codes of the frames `at` [B, T], some of each sequence swapped: [B, T, 7] int64."""
        codes = self.scenes.codes[at]
        others = self.scenes.codes[rng.integers(len(self.scenes.codes), size=codes.shape), np.arange(codes.shape[-1])]
        swapped = rng.random(codes.shape) < rng.uniform(0, SWAPPED, (len(at), 1, 1))
        return np.where(swapped, others, codes).astype(np.int64)

    def _sequence(self, rng: np.random.Generator) -> np.ndarray:
        """Where the frames of one sequence lie, [T]: the later part of one scene, then whole ones."""
        parts, length = [], 0
        while length < self.frames:
            scene = int(rng.integers(len(self.scenes)))
            start, stop = self.scenes.starts[scene], self.scenes.starts[scene + 1]
            if not parts:
                start = rng.integers(start, stop)
            parts.append(np.arange(start, stop))
            length += len(parts[-1])
        return np.concatenate(parts)[: self.frames]


def listener_loss(model: OmniModel, batch: ListenerBatch, band: int) -> tuple[Tensor, dict[str, float]]:
    """Weighted cross-entropy over {n-irq, irq}, and the shares of irq and of n-irq frames that are told right."""
    layout = model.layout
    x = model.embed(batch.tokens)  # [B, T, width]
    hidden = model(x, torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1), band=band)
    logits = F.linear(hidden, model.embedding.weight[torch.tensor([layout.n_irq, layout.irq], device=x.device)]).float()  # [B, T, 2]
    known, wanted = batch.targets != IGNORE, batch.targets == layout.irq
    losses = F.cross_entropy(logits[known], wanted[known].long(), reduction="none")
    weights = batch.weights[known]
    loss = (losses * weights).sum() / weights.sum().clamp(min=1)
    said = logits.detach()[..., 1] > logits.detach()[..., 0]
    silent = known & ~wanted
    return loss, {
        "irq": float((said & wanted).sum() / wanted.sum().clamp(min=1)),
        "n_irq": float((~said & silent).sum() / silent.sum().clamp(min=1)),
    }


def code_scenes(scenes: ShardSet, codec: Codec, path: Path) -> CodedScenes:
    """Every scene through the codec as a microphone's stream would go, one on each core; kept in `path` (.npz) for the same scenes and codec.

    Some 400 times real time on one of them. DataError when there are no scenes.
    """
    if not len(scenes):
        raise DataError(f"{scenes.folder}: no scenes {scenes.name!r}: make them with `omni data scenes`")
    print_ = _fingerprint(scenes, codec)
    if path.exists():
        with np.load(path) as kept:
            if str(kept["made_of"]) == print_:
                return CodedScenes(kept["codes"], kept["labels"], kept["decisions"], kept["starts"])
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        made = pool.map(lambda number: code_scene(scenes.wave(number), scenes.rows[number], codec), range(len(scenes)))
        coded = join(list(tqdm(made, total=len(scenes), desc=f"codes of {scenes.name}", unit="scene")))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.npz")
    np.savez(partial, made_of=print_, codes=coded.codes, labels=coded.labels, decisions=coded.decisions, starts=coded.starts)
    os.replace(partial, path)
    return coded


def code_scene(wave: np.ndarray, row: Mapping, codec: Codec) -> CodedScenes:
    """One scene: wave [N] at 24 kHz; row: `irq_at` (s or None) and `near_misses`, each [text, end in s]."""
    codes = encode_as_stream(codec, torch.from_numpy(wave)).cpu().numpy().astype(np.uint16)
    decisions = around_ends(row, len(codes), codec.frame_samples)
    return CodedScenes(codes, frame_labels(row["irq_at"], len(codes), codec.frame_samples), decisions, np.array([0, len(codes)]))


def around_ends(row: Mapping, frames: int, frame_samples: int) -> np.ndarray:
    """Which of a scene's frames lie around the end of its command or of a near miss, bool [frames]."""
    decisions = np.zeros(frames, bool)
    for end in (*(end for _, end in row["near_misses"]), row["irq_at"]):
        if end is not None:
            at = int(end * SAMPLE_RATE) // frame_samples
            decisions[max(0, at - BEFORE) : at + AFTER + 1] = True
    return decisions


def join(scenes: list[CodedScenes]) -> CodedScenes:
    """All of them as one."""
    lengths = [scene.starts[1:] - scene.starts[:-1] for scene in scenes]
    return CodedScenes(
        np.concatenate([scene.codes for scene in scenes]),
        np.concatenate([scene.labels for scene in scenes]),
        np.concatenate([scene.decisions for scene in scenes]),
        np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
    )


def _fingerprint(scenes: ShardSet, codec: Codec) -> str:
    found = hashlib.blake2b(f"{read_manifest(scenes.folder, scenes.name)}".encode(), digest_size=16)
    if isinstance(codec, nn.Module):
        for tensor in codec.state_dict().values():
            found.update(tensor.cpu().numpy().tobytes())
    return found.hexdigest()

"""Learning when a turn has ended: a linear head on what the frozen language model makes of a question, whole or cut between two words.

Owns the cuts, the features and the fit. The head reads the position where the answer begins, which serving computes anyway
(`models.ending`); a cut question sounds to it as one that the speaker has not finished.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from omni_core.checkpoint import Bundle, load_bundle, save_bundle
from omni_core.models import EndOfTurn
from omni_core.tokens import TEXT_STREAM, Task
from omni_core.training.dataset import IGNORE, Example, split_by_length
from omni_core.training.objective import Objective
from omni_core.training.settings import read_config
from omni_core.training.source import SkillSource
from omni_core.training.supply import DataConfig, senses_of

_RATE = 16_000  # Hz of the clips
_WINDOW = _RATE // 100  # samples: loudness is looked at in steps of 10 ms
_NEAR = 12  # windows around the place that is drawn, in which the quietest is cut at: words meet there
_CUT_FROM, _CUT_TO = 0.25, 0.85  # of the speech
_QUIET = 0.02  # of the loudest window's RMS: less is silence around the speech
_BATCH, _PASSES = 32, 3


@dataclass(frozen=True)
class EndingConfig:
    """The YAML file."""

    seed: int
    output: str  #: the model directory that is written
    start: str  #: the model that gets a head
    data: DataConfig
    examples: int  #: half of them cut
    held_out: float  #: share of them that only judges
    steps: int  #: of the fit
    weight_decay: float
    storage: str  #: of the model's floating-point tensors on disk: float16 | bfloat16 | float32
    threads: int = 0


def run(config_path: Path) -> dict[str, float]:
    """Fit the head and write the model with it. Gives the figures that are printed. Raises ConfigError, DataError, CheckpointError."""
    config = read_config(EndingConfig, config_path)
    if config.threads:
        torch.set_num_threads(config.threads)
    bundle = load_bundle(config.start)
    hidden, ended = features(bundle, config)
    held_out = torch.arange(len(hidden)) >= len(hidden) * (1 - config.held_out)
    head = fit(hidden[~held_out], ended[~held_out], config.steps, config.weight_decay)
    found = judged(head, hidden[held_out], ended[held_out])
    save_bundle(dataclasses.replace(bundle, end_of_turn=head), Path(config.output), storage=getattr(torch, config.storage))
    print("  ".join(f"{name} {value:.3f}" for name, value in found.items()))
    return found


@torch.no_grad()
def features(bundle: Bundle, config: EndingConfig) -> tuple[Tensor, Tensor]:
    """What the model makes of `config.examples` questions, [N, width], and whether each was whole, [N] bool."""
    senses = senses_of(bundle, bundle.model.device)
    tasks, skills = {Task.A1T2.value: 1.0}, config.data.skills or {}
    source = SkillSource(Path(config.data.folder), senses, {}, tasks, skills, config.seed, memory_turns=bundle.memory_turns)
    model, objective = bundle.model.eval(), Objective(bundle.model, senses.ear, senses.eye, 1.0)
    found, ended = [], []
    for step in tqdm(range(-(-config.examples // _BATCH)), desc="questions heard", unit="batch"):
        rng = np.random.default_rng((config.seed, step))
        whole = rng.random(_BATCH) < 0.5
        examples = [dataclasses.replace(_question(source, rng, bool(each)), skill=str(number)) for number, each in enumerate(whole)]
        for batch in split_by_length(model.layout, examples, _PASSES, image_overwrites_input=model.config.image_overwrites_input):
            last = (batch.targets[:, TEXT_STREAM] != IGNORE).int().argmax(1)  # [B], where the answer begins
            found.append(objective.hidden(batch)[torch.arange(len(last)), last].float().cpu())
            ended += [bool(whole[int(number)]) for number in batch.skills]
    return torch.cat(found), torch.tensor(ended)


def fit(hidden: Tensor, ended: Tensor, steps: int, weight_decay: float) -> EndOfTurn:
    """The head that tells `hidden` [N, width] of whole turns from those of cut ones; `ended` [N] bool."""
    mean, scale = hidden.mean(0), hidden.std(0).clamp(min=1e-6)
    head = EndOfTurn(hidden.shape[1])
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-2, weight_decay=weight_decay)
    standardised, wanted = (hidden - mean) / scale, ended.float()
    for _ in range(steps):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(head(standardised), wanted).backward()
        optimiser.step()
    with torch.no_grad():  # the standardisation goes into the weights
        head.head.weight.div_(scale)
        head.head.bias.sub_(head.head.weight[0] @ mean)
    return head.requires_grad_(False)


def judged(head: EndOfTurn, hidden: Tensor, ended: Tensor) -> dict[str, float]:
    """Shares of whole and of cut turns that are told right, at 0.5, and how often of two a whole one looks more so than a cut one (AUC)."""
    probability = head.probability(hidden)
    whole, cut = probability[ended], probability[~ended]
    return {
        "whole": float((whole >= 0.5).float().mean()),
        "cut": float((cut < 0.5).float().mean()),
        "auc": float((whole[:, None] > cut[None]).float().mean()),
    }


def cut_between_words(wave: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The beginning of speech `wave` [N] at 16 kHz, up to a quiet moment in it."""
    windows = len(wave) // _WINDOW
    loudness = np.sqrt(np.square(wave[: windows * _WINDOW].reshape(windows, _WINDOW)).mean(1))
    spoken = np.flatnonzero(loudness > _QUIET * loudness.max(initial=0.0))
    if not len(spoken):
        return wave
    place = int(spoken[0] + rng.uniform(_CUT_FROM, _CUT_TO) * (spoken[-1] - spoken[0]))
    first = max(0, place - _NEAR)
    return wave[: (first + int(loudness[first : place + _NEAR].argmin())) * _WINDOW]


def _question(source: SkillSource, rng: np.random.Generator, whole: bool) -> Example:
    example = source.example(Task.A1T2, rng, None if whole else cut_between_words)
    return dataclasses.replace(example, answer_ids=())

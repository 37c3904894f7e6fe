"""How well the audio encoder reads held-out voices: greedy CTC against what was said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from omni_core.audio import resample
from omni_core.datagen.manifest import read_manifest
from omni_core.datagen.sentences import spoken_form
from omni_core.datagen.speech import OPEN, TALK
from omni_core.encoders.chunked import CTC_PER_FEATURE, FEATURE_SAMPLES, ChunkedEncoder
from omni_core.encoders.ctc import greedy_text
from omni_core.errors import DataError
from omni_core.metrics import edits, total
from omni_core.training.encoders_clips import pad_mels

_BATCH = 32


@dataclass(frozen=True)
class Spoken:
    """A held-out clip."""

    text: str  #: in spoken form
    mel: Tensor  #: [T, mels]


def read_held_out(manifest: Path, encoder: ChunkedEncoder, most: int) -> dict[str, list[Spoken]]:
    """The first `most` spoken sentences and questions of each group of the test manifest, by "skill group condition".

    Raises DataError naming the line that can't be used.
    """
    groups: dict[str, list[Spoken]] = defaultdict(list)
    for item in read_manifest(manifest):
        if item.skill not in (OPEN, TALK) or item.audio is None:
            continue
        group = groups[f"{item.skill} {item.group} {item.condition}"]
        if len(group) < most:
            wave = torch.from_numpy(resample(*item.wave(), encoder.sample_rate))
            group.append(Spoken(spoken_form(item.transcript), encoder.mel(F.pad(wave, (0, -len(wave) % FEATURE_SAMPLES)))))
    if not groups:
        raise DataError(f"{manifest}: holds no spoken clips of {OPEN} or {TALK}: make the test material again")
    return groups


@torch.inference_mode()
def read(encoder: ChunkedEncoder, clips: Sequence[Spoken]) -> list[str]:
    """What the encoder reads in each clip, in their order."""
    device = encoder.norm.weight.device
    heard = [""] * len(clips)
    order = sorted(range(len(clips)), key=lambda index: len(clips[index].mel))
    for start in range(0, len(order), _BATCH):
        group = order[start : start + _BATCH]
        mel, lengths = pad_mels([clips[index].mel for index in group])
        logits = encoder.ctc_logits(encoder(mel.to(device), lengths.to(device))).float().cpu()
        for row, index in enumerate(group):
            heard[index] = greedy_text(logits[row, : int(lengths[row]) * CTC_PER_FEATURE])
    return heard


def error_rates(clips: Sequence[Spoken], heard: Sequence[str]) -> tuple[float, float]:
    """Character and word error rate."""
    pairs = [(clip.text, text) for clip, text in zip(clips, heard, strict=True)]
    return total([edits(wanted, text) for wanted, text in pairs]).rate, total([edits(wanted.split(), text.split()) for wanted, text in pairs]).rate

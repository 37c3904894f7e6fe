"""Dialogues as training examples: prompts, delay-shifted targets and batches.

Owns the shape of what the language model is trained on. Audio features are made outside (`training.features`), codes by the codec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.tokens import Task, TokenLayout, apply_delay, build_prompt

IGNORE = -100  #: target that takes no loss (PyTorch's convention)


@dataclass(frozen=True, eq=False)
class Example:
    """One prompt with the answer to be learned."""

    task: Task
    answer_ids: Sequence[int]  #: text of the answer, without eot
    answer_frames: NDArray[np.int64] | None = None  #: [F, 7] codes; None for a text answer
    features: Tensor | None = None  #: [L, audio_features], from the audio encoder
    question_ids: Sequence[int] = ()


@dataclass(frozen=True, eq=False)
class Sequence8:
    """An example laid out as the model reads it: `n` prompt positions, then all answer columns but the last."""

    tokens: NDArray[np.int64]  #: [8, T] global ids
    targets: NDArray[np.int64]  #: [8, T] local audio ids and text ids, IGNORE where no loss is taken
    features_at: int | None  #: first position of the features


@dataclass(frozen=True, eq=False)
class Batch:
    """Right-padded sequences (causal attention needs no mask for padding on the right)."""

    tokens: Tensor  #: [B, 8, T] int64 global
    targets: Tensor  #: [B, 8, T] int64
    features: Tensor  #: [B, T, audio_features] zeros where there are none
    feature_mask: Tensor  #: [B, T] bool


def answer_columns(layout: TokenLayout, example: Example) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The generated columns of an answer and what is learned of them, both [8, S] local ids.

    Text: the answer, eot, then pad_t without loss (it is fed, never predicted: model-facts section 3). Audio: delayed frames with eoa;
    a text answer holds pad_a there and takes no loss on them (section 4).
    """
    text = [*example.answer_ids, layout.eot]
    if example.answer_frames is None:
        columns = np.full((8, len(text)), layout.pad_a, np.int64)
        learned = np.full_like(columns, IGNORE)
    else:
        audio = apply_delay(example.answer_frames, layout)  # [7, S]
        columns = np.full((8, max(audio.shape[1], len(text))), layout.pad_a, np.int64)
        columns[:7, : audio.shape[1]] = audio
        learned = columns.copy()
    columns[7] = layout.pad_t
    columns[7, : len(text)] = text
    learned[7] = IGNORE
    learned[7, : len(text)] = text
    return columns, learned


def lay_out(layout: TokenLayout, example: Example) -> Sequence8:
    """Prompt and answer as one teacher-forced sequence."""
    frames = 0 if example.features is None else len(example.features)
    prompt = build_prompt(layout, example.task, audio_frames=frames, text_ids=example.question_ids)
    columns, learned = answer_columns(layout, example)
    fed = columns[:, :-1].copy()
    fed[:7] += layout.text_rows + layout.audio_rows * np.arange(7)[:, None]
    n = prompt.tokens.shape[1]
    targets = np.full((8, n + fed.shape[1]), IGNORE, np.int64)
    targets[:, n - 1 :] = learned
    return Sequence8(np.concatenate([prompt.tokens, fed], axis=1), targets, prompt.audio_at)


def collate(layout: TokenLayout, examples: Sequence[Example], feature_width: int) -> Batch:
    """Lay out and pad `examples`."""
    sequences = [lay_out(layout, example) for example in examples]
    length = max(s.tokens.shape[1] for s in sequences)
    tokens = torch.full((len(sequences), 8, length), layout.pad_t)
    targets = torch.full((len(sequences), 8, length), IGNORE)
    features = torch.zeros(len(sequences), length, feature_width)
    mask = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, (example, sequence) in enumerate(zip(examples, sequences, strict=True)):
        t = sequence.tokens.shape[1]
        tokens[row, :, :t] = torch.from_numpy(sequence.tokens)
        targets[row, :, :t] = torch.from_numpy(sequence.targets)
        if example.features is not None and sequence.features_at is not None:
            at = slice(sequence.features_at, sequence.features_at + len(example.features))
            features[row, at] = example.features
            mask[row, at] = True
    return Batch(tokens, targets, features, mask)

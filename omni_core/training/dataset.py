"""Examples as the model reads them: prompts, delay-shifted targets, padded batches.

Owns the shape of what the language model is trained on, not which examples there are (`source`). Masking follows model-facts section 4: a text answer
holds pad_a in its audio rows and takes no loss there; after eot the text row is fed pad_t, without loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.tokens import Task, TokenLayout, apply_delay, build_prompt
from omni_core.tokens.prompts import IMAGE_FRAMES

IGNORE = -100  #: target that takes no loss (PyTorch's convention)

Ids = Sequence[int]


@dataclass(frozen=True, eq=False)
class Example:
    """One prompt with the answer to be learned."""

    task: Task
    answer_ids: Ids  #: text of the answer, without eot
    answer_frames: NDArray[np.integer] | None = None  #: [F, 7] codes; None for a text answer
    question_ids: Ids = ()  #: the written question
    history: Sequence[tuple[Ids, Ids]] = ()  #: earlier turns, oldest first
    heard: Tensor | None = None  #: what the audio encoder takes (`senses.Ear.prepare`)
    frames: int = 0  #: features that the encoder makes of it
    seen: Tensor | None = None  #: what the vision encoder takes (`senses.Eye.prepare`)
    skill: str = ""


@dataclass(frozen=True, eq=False)
class LaidOut:
    """An example as one teacher-forced sequence: the prompt, then all answer columns but the last."""

    tokens: NDArray[np.int64]  #: [8, T] global ids
    targets: NDArray[np.int64]  #: [8, T] local audio ids and text ids, IGNORE where no loss is taken
    audio_at: int | None  #: first position of the audio features
    image_at: int | None  #: first of the IMAGE_FRAMES positions


@dataclass(frozen=True, eq=False)
class Batch:
    """Right-padded sequences (causal attention needs no mask for padding on the right). Features are made where the model is."""

    tokens: Tensor  #: [B, 8, T] int64 global
    targets: Tensor  #: [B, 8, T] int64
    heard: list[Tensor] | Tensor  #: of the rows that hear: what the audio encoder takes, or the features that it has made [H, L, width]
    heard_spans: list[tuple[int, int, int]] | Tensor  #: (row, first position, features) of each: int64 [H, 3] as a tensor
    seen: list[Tensor] | Tensor  #: of the rows that see, likewise
    seen_spans: list[tuple[int, int, int]] | Tensor
    skills: list[str]  #: of each row

    def __len__(self) -> int:
        return len(self.tokens)


def answer_columns(layout: TokenLayout, example: Example) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The generated columns of an answer and what is learned of them, both [8, S] local ids."""
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


def lay_out(layout: TokenLayout, example: Example, *, image_overwrites_input: bool = False) -> LaidOut:
    """Prompt and answer as one sequence."""
    prompt = build_prompt(
        layout,
        example.task,
        audio_frames=example.frames,
        text_ids=example.question_ids,
        history=example.history,
        image_overwrites_input=image_overwrites_input,
    )
    columns, learned = answer_columns(layout, example)
    n, fed = prompt.tokens.shape[1], layout.to_global(columns[:, :-1])
    targets = np.full((8, n + fed.shape[1]), IGNORE, np.int64)
    targets[:, n - 1 :] = learned
    return LaidOut(np.concatenate([prompt.tokens, fed], axis=1), targets, prompt.audio_at, prompt.image_at)


def collate(layout: TokenLayout, examples: Sequence[Example], *, image_overwrites_input: bool = False) -> Batch:
    """Lay out and pad `examples`."""
    laid = [lay_out(layout, example, image_overwrites_input=image_overwrites_input) for example in examples]
    length = max(item.tokens.shape[1] for item in laid)
    tokens = torch.full((len(laid), 8, length), layout.pad_t)
    targets = torch.full((len(laid), 8, length), IGNORE)
    heard, heard_spans, seen, seen_spans = [], [], [], []
    for row, (example, item) in enumerate(zip(examples, laid, strict=True)):
        end = item.tokens.shape[1]
        tokens[row, :, :end] = torch.from_numpy(item.tokens)
        targets[row, :, :end] = torch.from_numpy(item.targets)
        if example.heard is not None and item.audio_at is not None:
            heard.append(example.heard)
            heard_spans.append((row, item.audio_at, example.frames))
        if example.seen is not None and item.image_at is not None:
            seen.append(example.seen)
            seen_spans.append((row, item.image_at, IMAGE_FRAMES))
    return Batch(tokens, targets, heard, heard_spans, seen, seen_spans, [example.skill for example in examples])


def split_by_length(layout: TokenLayout, examples: Sequence[Example], parts: int, *, image_overwrites_input: bool = False) -> list[Batch]:
    """`examples` in at most `parts` batches of about equal work, long sequences apart from short ones, so that little is padding."""
    lengths = [_length(example) for example in examples]
    order = sorted(range(len(examples)), key=lengths.__getitem__)
    share = sum(lengths) / parts
    groups: list[list[Example]] = [[] for _ in range(parts)]
    done = 0.0
    for index in order:
        groups[min(int(done / share), parts - 1)].append(examples[index])
        done += lengths[index]
    return [collate(layout, group, image_overwrites_input=image_overwrites_input) for group in groups if group]


def _length(example: Example) -> int:
    answer = max(len(example.answer_ids), 0 if example.answer_frames is None else len(example.answer_frames) + 8)
    history = sum(len(question) + len(reply) + 4 for question, reply in example.history)
    return example.frames + len(example.question_ids) + answer + history + (IMAGE_FRAMES if example.seen is not None else 0) + 4

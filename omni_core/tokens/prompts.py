"""What the model is asked: the prompt of every task, in eight streams.

Sources: Mini-Omni2's reference code for the released tasks; Figure 3(b) of its paper for image with text, which was never released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from omni_core.errors import AudioError, TaskError, TextError
from omni_core.tokens.layout import STREAMS, TEXT_STREAM, TokenLayout

IMAGE_FRAMES = 50  #: CLIP ViT-B/32's class token and 49 patches


class Task(StrEnum):
    """Input and output: A1 speech, T1 text, V image; A2 speech with its text, T2 text, T1 as output the transcription."""

    A1A2 = "A1A2"
    A1T2 = "A1T2"
    A1T1 = "A1T1"
    T1A2 = "T1A2"
    T1T2 = "T1T2"
    VA1A2 = "VA1A2"
    VA1T2 = "VA1T2"
    VT1A2 = "VT1A2"
    VT1T2 = "VT1T2"

    @property
    def needs_audio(self) -> bool:
        """It takes a spoken input."""
        return "A1" in self.value

    @property
    def needs_image(self) -> bool:
        """It takes a picture."""
        return self.value.startswith("V")

    @property
    def needs_text(self) -> bool:
        """It takes a written input."""
        return self.value.startswith(("T1", "VT1"))

    @property
    def speaks(self) -> bool:
        """It answers in speech."""
        return self.value.endswith("A2")


@dataclass(frozen=True, eq=False)
class Prompt:
    """Token ids of a prompt and where encoder features replace the audio streams' embeddings."""

    tokens: NDArray[np.int64]  #: [8, n] global ids
    audio_at: int | None  #: first position of the audio features; None: the task takes none
    audio_frames: int  #: how many there are
    image_at: int | None  #: first of IMAGE_FRAMES positions; None: the task takes no image


def build_prompt(
    layout: TokenLayout,
    task: Task,
    *,
    audio_frames: int = 0,
    text_ids: Sequence[int] = (),
    history: Sequence[tuple[Sequence[int], Sequence[int]]] = (),
    image_overwrites_input: bool = False,
) -> Prompt:
    """The prompt of `task`.

    audio_frames: feature frames of the spoken input. text_ids: ids of the written input, specials not included.
    history: earlier turns as (question, answer) ids, oldest first, for models trained with them (`tokens.history`); they stand before everything
    else, as text alone. The ids of a question that is not known are empty.
    image_overwrites_input: in VA tasks, put the audio features where the released weights expect them: over `input_a`, so that one pad_a
    stays behind the last of them.
    Raises AudioError, TextError (an input that is missing or empty, an id that is no text token) or TaskError (an input the task has no place for).
    """
    _check_inputs(layout, task, audio_frames, text_ids)
    columns: list[tuple[int, int]] = []  # (local id in all audio streams, text id)
    for question, answer in history:
        _check_ids(layout, (*question, *answer))
        columns += [(layout.pad_a, text) for text in (layout.input_t, *question, layout.eot, layout.answer_t, *answer, layout.eot)]
    image_at = audio_at = None
    if task.needs_image:
        image_at = len(columns) + 1
        columns += [(layout.image, layout.pad_t), *[(layout.pad_a, layout.pad_t)] * IMAGE_FRAMES, (layout.eoimage, layout.pad_t)]
    last_audio = layout.answer_a if task.speaks else layout.pad_a
    if task.needs_audio:
        # With an image the text stream of the spoken part is padding too: the reference marks no input_t and no eot there.
        begin, end = (layout.pad_t, layout.pad_t) if task.needs_image else (layout.input_t, layout.eot)
        audio_at = len(columns) + (0 if task.needs_image and image_overwrites_input else 1)
        columns += [(layout.input_a, begin), *[(layout.pad_a, layout.pad_t)] * audio_frames, (layout.eoa, end)]
    else:
        columns += [(layout.pad_a, text) for text in (layout.input_t, *text_ids, layout.eot)]
    columns.append((last_audio, layout.asr if task is Task.A1T1 else layout.answer_t))
    audio, text = np.array(columns, np.int64).T
    local = np.repeat(audio[None], STREAMS, axis=0)  # [8, n]
    local[TEXT_STREAM] = text
    return Prompt(layout.to_global(local), audio_at, audio_frames, image_at)


def _check_inputs(layout: TokenLayout, task: Task, audio_frames: int, text_ids: Sequence[int]) -> None:
    if task.needs_audio and audio_frames < 1:
        raise AudioError(f"{task} needs a spoken input: give at least one frame of audio features")
    if not task.needs_audio and audio_frames:
        raise TaskError(f"{task} takes no spoken input: leave it out, or use an A1 task")
    if task.needs_text and not len(text_ids):
        raise TextError(f"{task} needs a written input: the text is empty")
    if not task.needs_text and len(text_ids):
        raise TaskError(f"{task} takes no written input: leave it out, or use a T1 task")
    _check_ids(layout, text_ids)


def _check_ids(layout: TokenLayout, text_ids: Sequence[int]) -> None:
    for token in text_ids:
        if not 0 <= token < layout.text_tokens:
            raise TextError(f"text id {token} is not one of the {layout.text_tokens} text tokens: does the tokenizer belong to this model?")

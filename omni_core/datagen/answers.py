"""What nano says: every answer that training may speak, in its own voice.

Owns which texts these are. Their codes depend on the codec: see `omni_core.training`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from omni_core.datagen.shards import Clip, ShardSet, ShardWriter, split_jobs, write_all
from omni_core.datagen.skills import SKILLS
from omni_core.datagen.skills.repeat import SENTENCES
from omni_core.datagen.synthesis import SAMPLE_RATE, speak
from omni_core.datagen.voices import ANSWER_VOICE
from omni_core.errors import DataError

ANSWER_RATE = 24_000
OPEN = "open"  #: the group of open sentences: what `repeat` says, and what text-to-speech learns from
_NAME = "answers"
_SHARD_CLIPS = 500


class AnswerSet:
    """The answers in a folder. `texts`, `wave(text)` -> float32 [N] at 24 kHz, `group(text)`: the skill it belongs to, or OPEN."""

    def __init__(self, folder: str | Path) -> None:
        self._clips = ShardSet(folder, _NAME)
        self._index = {row["text"]: index for index, row in enumerate(self._clips.rows)}
        self.texts: Sequence[str] = tuple(self._index)
        if not self.texts:
            raise DataError(f"{folder}: no answers there: make them with `omni data answers`")

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, text: str) -> bool:
        return text in self._index

    def wave(self, text: str) -> NDArray[np.float32]:
        """Samples [N] at 24 kHz; KeyError for a text that is none of `texts`, DataError for a damaged clip."""
        return self._clips.wave(self._index[text])

    def group(self, text: str) -> str:
        return self._clips.rows[self._index[text]]["group"]


def answer_texts(sentences: int = SENTENCES) -> dict[str, str]:
    """Every text with its group; of the open sentences the first `sentences`."""
    return {text: group for group, texts in _groups(sentences) for text in texts}


def make_answers(folder: Path, sentences: int = SENTENCES) -> None:
    """Speak all of `answer_texts` that `folder` doesn't hold yet. Raises SynthesisError and DataError."""
    jobs = list(answer_texts(sentences).items())
    write_all([ShardWriter(folder, _NAME, ANSWER_RATE, split_jobs(jobs, _SHARD_CLIPS), _speak)])


def _groups(sentences: int) -> Iterator[tuple[str, Sequence[str]]]:
    yield OPEN, SKILLS["repeat"].answers()[:sentences]
    for name in reversed(SKILLS):  # a text of two skills belongs to the first
        if name != "repeat":
            yield name, SKILLS[name].answers()


def _speak(job: tuple[str, str]) -> Clip:
    text, group = job
    return Clip(soxr.resample(speak(text, ANSWER_VOICE), SAMPLE_RATE, ANSWER_RATE), {"text": text, "group": group})

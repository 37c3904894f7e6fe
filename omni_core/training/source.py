"""Which examples a step of the language model sees: tasks and skills mixed by weights, spoken clips distorted anew each time.

The examples of a step depend on the seed and the step alone. Encoders and codec are frozen; answers' codes are made once (`codes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omni_core.datagen import augment
from omni_core.datagen.exchange import Exchange, Skill, Split
from omni_core.datagen.skills import SKILLS
from omni_core.datagen.speech import OPEN, SpeechSet
from omni_core.errors import ConfigError, DataError
from omni_core.tokens import Task, Tokenizer, history_ids
from omni_core.training.dataset import Example
from omni_core.training.senses import Ear, Eye

Change = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]  #: of a wave [N] at 16 kHz

PICTURES = "pictures"
_TRIES = 50  # draws for an exchange whose answer has been spoken
_UNKNOWN_QUESTION = 0.15  # share of earlier turns whose question is not known: never transcribed, or too late
_TRANSCRIBE_OPEN = 0.7  # share of open sentences among what is transcribed
_TALKERS = 64  # clips that babble is made of


class Source(Protocol):
    """Where examples come from."""

    def examples(self, size: int, step: int) -> list[Example]:
        """The `size` examples of step `step`."""
        ...


@dataclass(frozen=True)
class Senses:
    """What turns words, sound and pictures into what the model reads."""

    tokenizer: Tokenizer
    ear: Ear
    eye: Eye | None


class SkillSource:
    """nano's skills (`datagen.skills`), spoken and written.

    tasks, skills: name -> share. written: the skills' shares of T1T2, None: the same. frames: codes [F, 7] of every answer that may be spoken,
    by its text. Picture tasks draw from the skill "pictures" whatever its share. Raises ConfigError for unknown names and DataError when
    speech is missing.
    """

    def __init__(
        self,
        data: Path,
        senses: Senses,
        frames: Mapping[str, NDArray[np.integer]],
        tasks: Mapping[str, float],
        skills: Mapping[str, float],
        seed: int,
        *,
        written: Mapping[str, float] | None = None,
        memory_turns: int,
    ) -> None:
        self.senses, self.frames, self.seed, self.memory_turns = senses, frames, seed, memory_turns
        self.tasks, self._task_shares = [Task(name) for name in tasks], _shares(tasks)
        written = skills if written is None else written
        if unknown := (skills.keys() | written.keys()) - SKILLS.keys():
            raise ConfigError(f"skills: unknown {', '.join(sorted(unknown))}; there are {', '.join(SKILLS)}")
        self._skills, self._written = (list(skills), _shares(skills)), (list(written), _shares(written))
        if any(task.needs_image for task in self.tasks) and senses.eye is None:
            raise ConfigError("tasks: a task with an image needs a model with a vision encoder")
        self.clips: dict[str, SpeechSet] = {}
        if any(task.needs_audio for task in self.tasks):
            self.clips = {name: SpeechSet(data / "speech", name) for name in (OPEN, *SKILLS)}
            missing = [name for name in sorted({OPEN} | self._drawn(skills)) if not len(self.clips[name])]
            if missing:
                raise DataError(f"{data / 'speech'}: no clips of {', '.join(missing)}: make them with `omni data speech`")
            self._clip_shares = {name: _cumulated(SKILLS[name], self.clips[name]) for name in self._drawn(skills)}
            self._transcribed = [name for name in skills if any(row["text"] for row in self.clips[name].rows[:100])]
            talkers = [self.clips[OPEN].wave(index) for index in range(min(_TALKERS, len(self.clips[OPEN])))]
            self.noises = augment.noise_bank(talkers, np.random.default_rng(seed))

    def _drawn(self, skills: Mapping[str, float]) -> set[str]:
        """Skills whose clips may be asked."""
        return {*skills, *([PICTURES] if any(task.needs_image for task in self.tasks) else [])}

    def examples(self, size: int, step: int) -> list[Example]:
        """The `size` examples of step `step`."""
        rng = np.random.default_rng((self.seed, step))
        return [self.example(self.tasks[rng.choice(len(self.tasks), p=self._task_shares)], rng) for _ in range(size)]

    def example(self, task: Task, rng: np.random.Generator, change: Change | None = None) -> Example:
        """One example of `task`; `change` is done to the clip that is heard, before it is distorted."""
        if task is Task.A1T1:
            return self._transcription(rng)
        for _ in range(_TRIES):
            names, shares = self._written if task is Task.T1T2 else self._skills
            name = PICTURES if task.needs_image else names[rng.choice(len(names), p=shares)]
            if name == PICTURES and not task.needs_image:
                continue
            skill, index = SKILLS[name], None
            question = None
            if task.needs_audio:
                index = int(np.searchsorted(self._clip_shares[name], rng.random()))
                question = self.clips[name].rows[index]["text"]
            exchange = skill.draw(rng, Split.TRAIN, question)
            if not task.speaks or exchange.answer in self.frames:
                return self._example(task, exchange, index, rng, change)
        raise DataError(f"{task}: none of {_TRIES} drawn answers has been spoken: make them with `omni data answers`")

    def _transcription(self, rng: np.random.Generator) -> Example:
        name = OPEN if rng.random() < _TRANSCRIBE_OPEN else self._transcribed[rng.integers(len(self._transcribed))]
        index = int(rng.integers(len(self.clips[name])))
        heard, frames = self.heard(name, index, rng)
        text = self.clips[name].rows[index]["text"]
        return Example(Task.A1T1, self.senses.tokenizer.encode(text), heard=heard, frames=frames, skill=name)

    def _example(self, task: Task, exchange: Exchange, index: int | None, rng: np.random.Generator, change: Change | None) -> Example:
        heard, frames = (None, 0) if index is None else self.heard(exchange.skill, index, rng, change)
        seen = None
        if task.needs_image and exchange.picture is not None and self.senses.eye is not None:
            seen = self.senses.eye.prepare(exchange.picture.render())
        encode = self.senses.tokenizer.encode
        known = [("" if rng.random() < _UNKNOWN_QUESTION else turn.question, turn.answer) for turn in exchange.history]
        return Example(
            task,
            encode(exchange.answer),
            self.frames[exchange.answer] if task.speaks else None,
            question_ids=encode(exchange.question) if task.needs_text else (),
            history=history_ids(self.senses.tokenizer, known, self.memory_turns),
            heard=heard,
            frames=frames,
            seen=seen,
            skill=exchange.skill,
        )

    def heard(self, name: str, index: int, rng: np.random.Generator, change: Change | None = None) -> tuple[Tensor, int]:
        """Clip `index` of the set `name`, distorted: what the audio encoder takes, and the features it makes of it."""
        wave = self.clips[name].wave(index)
        return self.senses.ear.prepare(augment.distort_wave(change(wave, rng) if change else wave, self.noises, rng), rng)


def _cumulated(skill: Skill, clips: SpeechSet) -> NDArray[np.float64]:
    """Where in 0..1 each clip ends, so that a skill's `weight` says how often it is drawn."""
    weight = getattr(skill, "weight", None)
    weights = np.array([1.0 if weight is None else weight(row["text"]) for row in clips.rows])
    ends = np.cumsum(weights / weights.sum())
    ends[-1] = 1.0
    return ends


def _shares(weights: Mapping[str, float]) -> NDArray[np.float64]:
    values = np.array(list(weights.values()), np.float64)
    if not len(values) or values.min() < 0 or not values.sum():
        raise ConfigError(f"shares must be positive numbers, got {dict(weights)}")
    return values / values.sum()

"""Trying a stage's configuration before any data or weights are there: made-up examples, random weights of the right shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from omni_core.checkpoint import Bundle, load_bundle
from omni_core.checkpoint.hub import is_hub_name
from omni_core.checkpoint.random import PREFIX
from omni_core.tokens import AUDIO_LAYERS, Task
from omni_core.training.dataset import Example
from omni_core.training.source import Senses
from omni_core.training.starts import NewModel, PublicModel, open_start

_SAMPLE_RATE = 16_000


def open_dry(start: str | None, new: NewModel | None, public: PublicModel | None, seed: int) -> Bundle:
    """What `open_start` would open; where that is not there yet, or would be downloaded, random weights of the released size."""
    here = start is not None and (start == "nano" or start.startswith(PREFIX) or Path(start).is_dir())
    parts = [] if public is None else [public.language_model, public.whisper, public.clip, public.snac]
    local = bool(parts) and all(part is not None and Path(part).exists() for part in parts)
    if here or new is not None or local:
        return open_start(start, new, public, seed)
    stood_in = start or (public.language_model if public else "nothing")
    print(f"{stood_in} is {'a hub name' if is_hub_name(stood_in) else 'not there'}: random weights of the released size stand in for it")
    return load_bundle(f"{PREFIX}full", "cpu")


class MadeUpSource:
    """One example after the other of every task, of noise and random ids. Satisfies `source.Source`."""

    def __init__(self, senses: Senses, tasks: Mapping[str, float], seed: int, codes: int | None) -> None:
        self.senses, self.tasks, self.seed, self.codes = senses, [Task(name) for name in tasks], seed, codes

    def examples(self, size: int, step: int) -> list[Example]:
        rng = np.random.default_rng((self.seed, step))
        return [self._example(self.tasks[index % len(self.tasks)], rng) for index in range(max(size, len(self.tasks)))]

    def _example(self, task: Task, rng: np.random.Generator) -> Example:
        heard, frames, seen, words = None, 0, None, self.senses.tokenizer.encode("a made-up sentence")
        if task.needs_audio:
            heard, frames = self.senses.ear.prepare(rng.standard_normal(_SAMPLE_RATE).astype(np.float32) * 0.1, rng)
        if task.needs_image and self.senses.eye is not None:
            seen = self.senses.eye.prepare(rng.integers(0, 256, (224, 224, 3)).astype(np.uint8))
        codes = rng.integers(0, self.codes or 1, (12, AUDIO_LAYERS)) if task.speaks else None
        return Example(task, words, codes, question_ids=words if task.needs_text else (), heard=heard, frames=frames, seen=seen, skill="made up")

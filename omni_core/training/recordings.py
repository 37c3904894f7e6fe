"""People's own recordings as a stream of examples.

Files are read a group at a time, shuffled by seed and epoch: example n depends on the seed and n alone.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from omni_core.codec import Codec
from omni_core.datagen.readers import Reading, Recording, RecordingFile, open_recordings
from omni_core.errors import DataError
from omni_core.tokens import Task
from omni_core.training.dataset import Example
from omni_core.training.source import Senses

_GROUPS_KEPT = 4


class RecordingSource:
    """Satisfies `source.Source`. A recording becomes one of the tasks it has the parts for, by the tasks' shares.

    Raises DataError for a file or entry that can't be used, and for a recording that fits no task; with `skip_bad` such entries are
    left out and counted in `reading`.
    """

    def __init__(
        self, files: Sequence[Path], senses: Senses, codec: Codec | None, tasks: Mapping[str, float], seed: int, *, skip_bad: bool = False
    ) -> None:
        self.senses, self.codec, self.seed = senses, codec, seed
        self.tasks = {Task(name): share for name, share in tasks.items()}
        self.reading = Reading() if skip_bad else None
        self.files: list[RecordingFile] = [open_recordings(path) for path in files]
        self._groups = [(file, group) for file in self.files for group in range(len(file.groups))]
        self._sizes = np.array([file.groups[group] for file, group in self._groups], np.int64)
        if not self._sizes.sum():
            raise DataError(f"{', '.join(map(str, files))}: no recordings there")
        self._read = lru_cache(_GROUPS_KEPT)(self._read_group)

    def examples(self, size: int, step: int) -> list[Example]:
        """The `size` examples of step `step`."""
        return [self.example(step * size + number) for number in range(size)]

    def example(self, number: int) -> Example:
        """Example `number` of the endless shuffled stream."""
        epoch, place = divmod(number, int(self._sizes.sum()))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self._groups))
        ends = np.cumsum(self._sizes[order])
        slot = int(np.searchsorted(ends, place, side="right"))
        group = int(order[slot])
        recordings = self._read(group)
        if not recordings:  # all of it was left out
            return self.example(number + int(ends[slot]) - place)
        within = np.random.default_rng((self.seed, epoch, group)).permutation(len(recordings))
        rng = np.random.default_rng((self.seed, number))
        return self._example(recordings[within[(place - int(ends[slot])) % len(recordings)]], rng)

    def _read_group(self, index: int) -> list[Recording]:
        file, group = self._groups[index]
        kept = []
        for recording in file.read(group, self.reading):
            if self._fitting(recording):
                kept.append(recording)
                continue
            error = DataError(f"{recording.where}: has the parts of none of the tasks {', '.join(self.tasks)}: choose others, or skip_bad")
            if self.reading is None:
                raise error
            self.reading.skip(error)
        return kept

    def _fitting(self, recording: Recording) -> list[Task]:
        speech = recording.answer_wave is not None or recording.answer_frames is not None

        def fits(task: Task) -> bool:
            answer = recording.question if task is Task.A1T1 else recording.answer
            return bool(
                answer
                and not (task.needs_audio and recording.question_wave is None)
                and not (task.needs_text and not recording.question)
                and task.needs_image == (recording.image is not None and task is not Task.A1T1)
                and not (task.speaks and not speech)
            )

        return [task for task in self.tasks if fits(task)]

    def _example(self, recording: Recording, rng: np.random.Generator) -> Example:
        fitting = self._fitting(recording)
        shares = np.array([self.tasks[task] for task in fitting])
        task = fitting[rng.choice(len(fitting), p=shares / shares.sum())]
        encode = self.senses.tokenizer.encode
        heard, frames = None, 0
        if task.needs_audio and recording.question_wave is not None:
            heard, frames = self.senses.ear.prepare(recording.question_wave, None)
        seen = None
        if task.needs_image and recording.image is not None and self.senses.eye is not None:
            seen = self.senses.eye.prepare(np.asarray(Image.open(io.BytesIO(recording.image)).convert("RGB")))
        answer = recording.question if task is Task.A1T1 else recording.answer
        return Example(
            task,
            encode(answer or ""),
            self._frames(recording) if task.speaks else None,
            question_ids=encode(recording.question or "") if task.needs_text else (),
            heard=heard,
            frames=frames,
            seen=seen,
            skill="recordings",
        )

    def _frames(self, recording: Recording) -> NDArray[np.integer]:
        if recording.answer_frames is not None:
            return recording.answer_frames
        if self.codec is None or recording.answer_wave is None:
            raise DataError(f"{recording.where}: a spoken answer needs a codec")
        return self.codec.encode(torch.from_numpy(recording.answer_wave)).cpu().numpy()

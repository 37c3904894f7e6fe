"""Puts many questions to one model at once: as many as the engine has slots, unpaced, each answer given out when it is done."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from omni_core.checkpoint import Bundle
from omni_core.config import EngineConfig
from omni_core.datagen.manifest import Item
from omni_core.engine.engine import Engine
from omni_core.engine.request import AudioChunk, Failed, Finished, GenerateRequest, TextDelta
from omni_core.errors import InputError, TaskError
from omni_core.metrics import close_words, same_words
from omni_core.tokens import Task

T = TypeVar("T")
Track = Callable[[Iterable[T], int, str], Iterable[T]]  #: shows how far a loop over so many has come, under a name

SLOTS = 16

Output = Literal["T1", "T2", "A2"]  #: transcription, text, or speech with its text


@dataclass(frozen=True, eq=False)
class Reply:
    """What the model made of one item."""

    item: Item
    text: str
    audio: NDArray[np.float32] | None  #: [samples] at the codec's rate; None: not asked for
    error: str | None = None  #: why there is no answer

    @property
    def right(self) -> bool:
        """The same words as expected."""
        return self.error is None and same_words(self.text, self.item.expect)

    @property
    def close(self) -> bool:
        """Right, or nearly so (see `metrics.close_words`)."""
        return self.error is None and close_words(self.item.expect, self.text)


class Asker:
    """One model with its own engine."""

    def __init__(self, bundle: Bundle, slots: int = SLOTS) -> None:
        self.bundle = bundle
        self._engine = Engine(bundle, EngineConfig(slots=slots, queue=1))
        self._slots = slots
        self._ids = itertools.count()

    @property
    def sample_rate(self) -> int:
        """Of the answers, Hz."""
        return self._engine.info.sample_rate

    def tasks(self) -> tuple[Task, ...]:
        """What the model can do."""
        return self._engine.info.tasks

    def ask(self, items: Sequence[Item], output: Output, track: Track, name: str) -> list[Reply]:
        """The replies to `items`, in their order; one that the engine refuses or fails at is a reply with an error.

        Raises TaskError when the model can't do what is asked at all, DataError for a file that can't be read.
        """
        if impossible := {task_of(item, output) for item in items} - set(self.tasks()):
            raise TaskError(f"model {self._engine.info.model} can't do {', '.join(sorted(impossible))}: it does {', '.join(self.tasks())}")
        replies: list[Reply | None] = [None] * len(items)
        for index, reply in track(self._run(items, output), len(items), name):
            replies[index] = reply
        return [reply for reply in replies if reply is not None]

    def _run(self, items: Sequence[Item], output: Output) -> Iterator[tuple[int, Reply]]:
        waiting = iter(enumerate(items))
        running: dict[str, tuple[int, list[str], list[NDArray[np.float32]]]] = {}
        try:
            while True:
                while len(running) < self._slots and (following := next(waiting, None)):
                    index, item = following
                    request = self._request(item, output)
                    try:
                        self._engine.submit(request)
                    except InputError as error:
                        yield index, Reply(item, "", None, str(error))
                    else:
                        running[request.id] = (index, [], [])
                if not running:
                    return
                for id, event in self._engine.step(time.monotonic()):
                    index, words, sound = running[id]
                    match event:
                        case TextDelta():
                            words.append(event.text)
                        case AudioChunk():
                            sound.append(event.pcm)
                        case Failed():
                            del running[id]
                            yield index, Reply(items[index], "", None, str(event.error))
                        case Finished():
                            del running[id]
                            audio = np.concatenate([np.zeros(0, np.float32), *sound]) if output == "A2" else None
                            yield index, Reply(items[index], "".join(words).strip(), audio)
        finally:
            for id in running:
                self._engine.cancel(id)

    def _request(self, item: Item, output: Output) -> GenerateRequest:
        wave, rate = item.wave() if item.audio else (None, self.sample_rate)
        return GenerateRequest(
            id=f"question-{next(self._ids)}",
            task=task_of(item, output),
            audio=wave,
            sample_rate=rate,
            image=item.image.read_bytes() if item.image and output != "T1" else None,
            text=None if wave is not None else item.text,
            history=item.history,
        )


def silent(loop: Iterable[T], count: int, name: str) -> Iterable[T]:
    """A Track that shows nothing."""
    return loop


def task_of(item: Item, output: Output) -> Task:
    """The task that answers `item` with `output`; a transcription looks at no picture."""
    return Task(f"{'V' if item.image and output != 'T1' else ''}{'A1' if item.audio else 'T1'}{output}")

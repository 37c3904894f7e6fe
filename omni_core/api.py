"""The Python face: load a model, ask it, listen to the answer.

    import omni_core
    omni = omni_core.load("nano")
    answer = omni.generate("A1A2", audio="question.wav")
    print(answer.text, len(answer.audio) / answer.sample_rate)

One answer at a time and no event loop: for many at once see `engine.client`.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omni_core.audio import check_samples, read_audio
from omni_core.checkpoint import Bundle, load_bundle
from omni_core.config import EngineConfig, SamplingParams
from omni_core.engine.engine import Engine
from omni_core.engine.features import Features, decode_features
from omni_core.engine.request import AudioChunk, EngineEvent, EngineInfo, Failed, Finished, FinishReason, GenerateRequest, TextDelta, Timings, Usage
from omni_core.engine.response import Response
from omni_core.errors import ConfigError, EngineBusy, ImageError, TaskError
from omni_core.tokens import AUDIO_LAYERS, STREAMS, Task

History = Sequence[tuple[str, str]]  #: earlier turns, oldest first: question ("" where it is not known), answer
AudioInput = str | os.PathLike[str] | tuple[NDArray[Any], int] | NDArray[Any]

_SAMPLE_RATE = 24_000


@dataclass(frozen=True, eq=False)
class Answer:
    """A whole answer."""

    text: str
    audio: NDArray[np.float32] | None  #: [samples]; None: the task does not speak
    sample_rate: int  #: of `audio`, Hz
    tokens: NDArray[np.int64]  #: [8, steps] as fed back, audio local to its layer; the step that ends the answer included
    reason: FinishReason
    usage: Usage
    timings: Timings


def load(source: str | os.PathLike[str], device: str = "auto", dtype: torch.dtype | str | None = None) -> Omni:
    """Load "nano" (bundled), a model directory, or a hub name, for `device` ("auto", "cpu", "cuda").

    Raises CheckpointError when it can't be read, ConfigError for an unusable configuration.
    """
    return Omni(load_bundle(source, device, _dtype(dtype)))


class Omni:
    """A loaded model. It makes one answer at a time: a second one begun meanwhile is refused with EngineBusy."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._engine = Engine(bundle, EngineConfig(slots=1, queue=0))
        self._lock = threading.Lock()
        self._requests = 0

    @property
    def info(self) -> EngineInfo:
        """The model's name, its tasks and limits."""
        return self._engine.info

    @property
    def first_audio_steps(self) -> int | None:
        """Decode steps before the first sample can leave; None: it can't speak."""
        return self._engine.first_audio_steps

    def first_audio_arithmetic(self) -> str:
        """The same as a sum, for people: what stands between the end of the question and the first sound."""
        codec, steps = self.bundle.codec, self.first_audio_steps
        if codec is None or steps is None:
            return "no codec, no sound"
        later = codec.first_audio_frames - 1
        context = f" + {later} of the codec's right context" if later else ""
        return f"prefill + {steps} steps = {AUDIO_LAYERS} of the delay between the layers + 1 frame{context}"

    def generate(
        self,
        task: Task | str,
        *,
        audio: AudioInput | None = None,
        image: Any = None,
        text: str | None = None,
        history: History = (),
        sample_rate: int | None = None,
        sampling: SamplingParams | None = None,
        max_steps: int = 1024,
    ) -> Answer:
        """Answer once. `audio`: a path, (samples, rate), or samples at `sample_rate` (24 kHz if not given); `image`: a path, bytes or a PIL image.
        `history`: earlier turns of the conversation; a model takes in the newest `info.memory_turns` of them, one without memory none.

        Raises an InputError naming what is wrong with an input, TaskError for a task that the model can't do, EngineError when it fails.
        """
        request = self._request(task, audio, image, text, history, sample_rate, sampling, max_steps)
        with self._alone():
            response = self._engine.submit(request)
            events = list(self._run(request.id))
        finished = events[-1]
        assert isinstance(finished, Finished)
        heard = [event.pcm for event in events if isinstance(event, AudioChunk)]
        return Answer(
            text="".join(event.text for event in events if isinstance(event, TextDelta)),
            audio=np.concatenate([np.zeros(0, np.float32), *heard]) if request.task.speaks else None,
            sample_rate=self.info.sample_rate,
            tokens=_stack(response),
            reason=finished.reason,
            usage=finished.usage,
            timings=finished.timings,
        )

    def stream(
        self,
        task: Task | str,
        *,
        audio: AudioInput | None = None,
        image: Any = None,
        text: str | None = None,
        history: History = (),
        sample_rate: int | None = None,
        sampling: SamplingParams | None = None,
        max_steps: int = 1024,
    ) -> Iterator[EngineEvent]:
        """Answer as it is made: text, audio, and `Finished` at last; errors as in `generate`. Closing the iterator ends the answer."""
        request = self._request(task, audio, image, text, history, sample_rate, sampling, max_steps)
        with self._alone():
            self._engine.submit(request)
            try:
                yield from self._run(request.id)
            finally:
                self._engine.cancel(request.id)
                self._engine.step(time.monotonic())  # nobody wants the report of what was cancelled

    def decode_features(
        self,
        task: Task | str,
        *,
        audio_features: Features | None = None,
        image_features: Features | None = None,
        text_ids: Sequence[int] | None = None,
        max_steps: int = 1024,
    ) -> NDArray[np.int64]:
        """Raw token streams [8, steps] from encoder features: see `engine.features.decode_features`. Needs the model alone."""
        return decode_features(
            self.bundle.model,
            parse_task(task),
            audio_features=audio_features,
            image_features=image_features,
            text_ids=text_ids,
            max_steps=max_steps,
        )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise EngineBusy("another answer is being made: finish or close it first, or use engine.client for many at once")
        try:
            yield
        finally:
            self._lock.release()

    def _run(self, id: str) -> Iterator[EngineEvent]:
        while True:
            for found, event in self._engine.step(time.monotonic()):
                if found != id:
                    continue
                if isinstance(event, Failed):
                    raise event.error
                yield event
                if isinstance(event, Finished):
                    return

    def _request(
        self,
        task: Task | str,
        audio: AudioInput | None,
        image: Any,
        text: str | None,
        history: History,
        sample_rate: int | None,
        sampling: SamplingParams | None,
        max_steps: int,
    ) -> GenerateRequest:
        wave, rate = (None, _SAMPLE_RATE) if audio is None else read_input(audio, sample_rate)
        self._requests += 1
        return GenerateRequest(
            id=f"answer-{self._requests}",
            task=parse_task(task),
            audio=wave,
            sample_rate=rate,
            image=None if image is None else read_image(image),
            text=text,
            history=tuple(history),
            sampling=sampling or SamplingParams(),
            max_steps=max_steps,
        )


def read_input(audio: AudioInput, sample_rate: int | None = None) -> tuple[NDArray[np.float32], int]:
    """A path, (samples, rate), or samples -> (float32 [samples], rate in Hz). Raises AudioError."""
    if isinstance(audio, str | os.PathLike):
        return read_audio(audio)
    if isinstance(audio, tuple):
        samples, sample_rate = audio
    else:
        samples = audio
    return check_samples(samples), _SAMPLE_RATE if sample_rate is None else int(sample_rate)


def read_image(image: Any) -> bytes:
    """A path, the bytes of a picture file, or a PIL image -> bytes. Raises ImageError."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise ImageError(f"{os.fspath(image)}: can't be read ({error.strerror})") from None
    if hasattr(image, "save") and hasattr(image, "convert"):
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format="PNG")
        return buffer.getvalue()
    raise ImageError(f"a picture must be a path, bytes or a PIL image, not {type(image).__name__}")


def parse_task(task: Task | str) -> Task:
    """TaskError for a name that is no task."""
    try:
        return Task(task)
    except ValueError:
        raise TaskError(f"unknown task {task!r}: use one of {', '.join(Task)}") from None


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if not isinstance(dtype, str):
        return dtype
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype):
        raise ConfigError(f"unknown dtype {dtype!r}: use float32 or bfloat16")
    return found


def _stack(response: Response) -> NDArray[np.int64]:
    return np.stack(response.columns, axis=1) if response.columns else np.zeros((STREAMS, 0), np.int64)

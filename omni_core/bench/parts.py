"""What each part costs alone: encoders, prefill, and the codec frame by frame; and a cold answer of the whole engine."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from omni_core.checkpoint import Bundle
from omni_core.codec import FRAME_SAMPLES, SAMPLE_RATE
from omni_core.config import EngineConfig, SamplingParams
from omni_core.engine.engine import Engine
from omni_core.engine.request import AudioChunk, Failed, GenerateRequest
from omni_core.engine.runner import Inputs, Runner
from omni_core.tokens import Task, build_prompt

_TRIES = 5
_FRAMES = 12  # of a stream, after the first few, which are cheaper
_FIRST = 4


@dataclass(frozen=True)
class PartFigures:
    """Medians in ms; None for what the model has not."""

    question_s: float  #: of what is encoded and prefilled
    encode_ms: float | None  #: the audio encoder, all of it at once
    see_ms: float | None  #: the vision encoder, one picture
    prefill_ms: float  #: the prompt, encoded already
    codec_decode_ms: float | None  #: one frame of one answer
    codec_encode_ms: float | None  #: one frame of one microphone
    first_audio_ms: float | None  #: from the request to its first samples, cold: encoder, prefill, decode steps and codec


def measure_parts(bundle: Bundle, question_s: float) -> PartFigures:
    """Measure them one after the other."""
    device, ear, eye = bundle.model.device, bundle.audio_encoder, bundle.vision_encoder
    wave = None if ear is None else torch.from_numpy(noise(question_s, ear.sample_rate)).to(device)
    return PartFigures(
        question_s=question_s,
        encode_ms=None if ear is None or wave is None else _median_ms(lambda: ear.encode(wave), device),
        see_ms=None if eye is None else _median_ms(lambda: eye.encode(_picture()), device),
        prefill_ms=_prefill_ms(bundle, question_s),
        codec_decode_ms=_codec_decode_ms(bundle),
        codec_encode_ms=_codec_encode_ms(bundle),
        first_audio_ms=_first_audio_ms(bundle, question_s),
    )


def noise(seconds: float, rate: int) -> np.ndarray:
    """[n] float32: takes as long to encode as speech."""
    return 0.05 * np.random.default_rng(0).standard_normal(round(seconds * rate)).astype(np.float32)


def prompt_inputs(bundle: Bundle, question_s: float) -> Inputs:
    """A spoken question of features made up, for a model that hears; a typed one of as many ids otherwise."""
    layout, features = bundle.model.layout, bundle.model.config.audio_features
    ear = bundle.audio_encoder
    frames = max(1, round(question_s * (50 if ear is None else ear.features_per_s)))
    if features is None:
        return Inputs(Task.T1A2, build_prompt(layout, Task.T1A2, text_ids=[n % layout.text_tokens for n in range(frames)]))
    audio = torch.randn(frames, features, generator=torch.Generator().manual_seed(0))
    return Inputs(Task.A1A2, build_prompt(layout, Task.A1A2, audio_frames=frames), audio)


def spoken_request(bundle: Bundle, engine: Engine, id: str, question_s: float, *, paced: bool = False) -> GenerateRequest:
    """A question of noise where the model hears, a typed one otherwise."""
    if Task.A1A2 in engine.info.tasks:
        return GenerateRequest(id, Task.A1A2, audio=noise(question_s, SAMPLE_RATE), paced=paced)
    return GenerateRequest(id, Task.T1A2, text="What can you do?", paced=paced)


def _prefill_ms(bundle: Bundle, question_s: float) -> float:
    runner, inputs = Runner(bundle.model, 1), prompt_inputs(bundle, question_s)
    return _median_ms(lambda: runner.prefill(0, inputs, SamplingParams()), bundle.model.device)


def _codec_decode_ms(bundle: Bundle) -> float | None:
    if bundle.codec is None:
        return None
    stream, frame = bundle.codec.stream(), torch.zeros(1, 7, dtype=torch.int64, device=bundle.model.device)
    return _median_ms(lambda: stream.push(frame), bundle.model.device, _FIRST + _FRAMES, _FIRST)


def _codec_encode_ms(bundle: Bundle) -> float | None:
    if bundle.codec is None:
        return None
    encoder, samples = bundle.codec.stream_encoder(), torch.zeros(FRAME_SAMPLES)
    return _median_ms(lambda: encoder.push(samples), bundle.model.device, _FIRST + _FRAMES, _FIRST)


def _first_audio_ms(bundle: Bundle, question_s: float) -> float | None:
    if bundle.codec is None or bundle.tokenizer is None:
        return None
    engine, times = Engine(bundle, EngineConfig(slots=1, queue=1)), []
    engine.warm_up()
    for number in range(_TRIES):
        begin = time.perf_counter()
        engine.submit(spoken_request(bundle, engine, str(number), question_s))
        while not any(isinstance(event, AudioChunk) for event in _events(engine)):
            pass
        times.append(time.perf_counter() - begin)
        engine.cancel(str(number))
        engine.step(time.monotonic())
    return 1e3 * float(np.median(times))


def _events(engine: Engine) -> list[object]:
    events: list[object] = [event for _, event in engine.step(time.monotonic())]
    for event in events:
        if isinstance(event, Failed):
            raise event.error
    return events


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (224, 224), "red").save(file, "PNG")
    return file.getvalue()


@torch.inference_mode()
def _median_ms(work: Callable[[], Tensor | object], device: torch.device, tries: int = _TRIES, skip: int = 1) -> float:
    times = []
    for _ in range(skip + tries):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times[skip:]))

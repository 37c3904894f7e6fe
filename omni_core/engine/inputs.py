"""From what a caller sent to what the model reads: resampling, encoders, tokenizer, prompt. One request at a time, nothing kept here."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

from omni_core.audio import resample
from omni_core.codec.base import FRAME_SAMPLES
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.engine.request import SAMPLE_RATE, EngineInfo, GenerateRequest
from omni_core.engine.runner import Inputs
from omni_core.engine.turns import Turn
from omni_core.errors import TaskError
from omni_core.tokens import Task, build_prompt, history_ids

if TYPE_CHECKING:
    from omni_core.checkpoint import Bundle

T = TypeVar("T")


def info_of(bundle: Bundle) -> EngineInfo:
    """What a model with these parts can do: a task needs a tokenizer, the encoders of its inputs, and a codec if it speaks."""

    def can(task: Task) -> bool:
        return (
            bundle.tokenizer is not None
            and not (task.needs_audio and bundle.audio_encoder is None)
            and not (task.needs_image and bundle.vision_encoder is None)
            and not (task.speaks and bundle.codec is None)
        )

    return EngineInfo(
        model=bundle.name,
        sample_rate=SAMPLE_RATE if bundle.codec is None else bundle.codec.sample_rate,
        frame_samples=FRAME_SAMPLES,
        tasks=tuple(task for task in Task if can(task)),
        max_audio_s=None if bundle.audio_encoder is None else bundle.audio_encoder.max_audio_s,
        listener=bundle.listener is not None and bundle.codec is not None,
        letters=isinstance(bundle.audio_encoder, ChunkedEncoder) and bundle.audio_encoder.ctc is not None,
        memory_turns=bundle.memory_turns,
        read_aloud=bundle.read_aloud,
    )


@torch.inference_mode()
def prepare(bundle: Bundle, request: GenerateRequest, turn: Turn | None) -> Inputs:
    """Encode the inputs of a checked request and build its prompt, with as much of its history as the model takes in. turn: the one it names.

    Raises AudioError, ImageError or TextError when an encoder or the tokenizer can't use them, TaskError when a part is missing.
    """
    audio = image = None
    text_ids: list[int] = []
    history: list[tuple[list[int], list[int]]] = []
    if request.audio is not None:
        encoder = _part(bundle.audio_encoder, request.task, "audio encoder")
        wave = resample(request.audio, request.sample_rate, encoder.sample_rate)
        audio = encoder.encode(torch.from_numpy(wave).to(bundle.model.device))  # [frames, audio_features]
    if turn is not None and request.turn is not None:
        audio = turn.features(request.turn[1])
    if request.image is not None:
        image = _part(bundle.vision_encoder, request.task, "vision encoder").encode(request.image)  # [50, vision_features]
    if request.text is not None:
        text_ids = _part(bundle.tokenizer, request.task, "tokenizer").encode(request.text)
    if request.history:
        history = history_ids(_part(bundle.tokenizer, request.task, "tokenizer"), request.history, bundle.memory_turns)
    prompt = build_prompt(
        bundle.model.layout,
        request.task,
        audio_frames=0 if audio is None else len(audio),
        text_ids=text_ids,
        history=history,
        image_overwrites_input=bundle.model.config.image_overwrites_input,
    )
    return Inputs(request.task, prompt, audio, image)


def _part(part: T | None, task: Task, name: str) -> T:
    if part is None:
        raise TaskError(f"{task} needs the {name}, which this model was loaded without")
    return part

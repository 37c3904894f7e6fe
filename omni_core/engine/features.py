"""Token streams from ready-made encoder features: needs the model alone, forces nothing, stops as the reference stops.

This is what parity with the reference is tested by. Serving goes through `Engine`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.config import SamplingParams
from omni_core.engine.runner import Inputs, Runner
from omni_core.errors import AudioError, ImageError, InputError
from omni_core.models import OmniModel
from omni_core.tokens import IMAGE_FRAMES, STREAMS, TEXT_STREAM, Task, build_prompt

Features = NDArray[np.floating] | Tensor


def decode_features(
    model: OmniModel,
    task: Task,
    *,
    audio_features: Features | None = None,
    image_features: Features | None = None,
    text_ids: Sequence[int] | None = None,
    max_steps: int = 1024,
    sampling: SamplingParams | None = None,
) -> NDArray[np.int64]:
    """Generate from features [L, width] or [1, L, width] and written token ids. Returns [8, steps] ids, audio local to its layer.

    As the reference does it: no layer is held back before its delay has passed; the text stream shows pad_t after eot; a step that ends the answer
    (layer 7's eoa; eot in a text-only task) is not in the result, and the first step never ends it. Audio streams of a text-only task hold pad_a.
    Raises AudioError, ImageError, TextError or TaskError for inputs the task has no use for, lacks, or of the wrong shape.
    """
    if max_steps < 1:
        raise InputError(f"max_steps is {max_steps}: allow at least one step")
    if not task.needs_image and image_features is not None:
        raise ImageError(f"{task} takes no image features: leave them out, or use a V task")
    audio = None if audio_features is None else _matrix(audio_features, model.config.audio_features, "audio_features", AudioError)
    image = None
    if task.needs_image:
        if image_features is None:
            raise ImageError(f"{task} needs image_features: give [{IMAGE_FRAMES}, width]")
        image = _matrix(image_features, model.config.vision_features, "image_features", ImageError)
        if len(image) != IMAGE_FRAMES:
            raise ImageError(f"image_features holds {len(image)} frames: a picture has {IMAGE_FRAMES}")
    prompt = build_prompt(
        model.layout,
        task,
        audio_frames=0 if audio is None else len(audio),
        text_ids=[int(token) for token in text_ids] if text_ids is not None else (),
        image_overwrites_input=model.config.image_overwrites_input,
    )
    positions = min(model.config.backbone.max_positions, prompt.tokens.shape[1] + max_steps)
    runner = Runner(model, 1, max_positions=positions, force_delay=False)
    room = runner.prefill(0, Inputs(task, prompt, audio, image), sampling or SamplingParams())
    stream, end = (TEXT_STREAM - 1, model.layout.eoa) if task.speaks else (TEXT_STREAM, model.layout.eot)
    columns: list[NDArray[np.int64]] = []
    while len(columns) < min(max_steps, room):
        column = runner.step([0])[0]
        if columns and column[stream] == end:
            break
        columns.append(column)
    return np.stack(columns, axis=1).reshape(STREAMS, -1)


def _matrix(features: Features, width: int | None, name: str, error: type[InputError]) -> Tensor:
    """[1, L, width] or [L, width], of any library -> tensor [L, width]."""
    try:
        tensor = torch.as_tensor(features)
    except (TypeError, ValueError, RuntimeError) as cause:
        raise error(f"{name} is no array of numbers ({cause})") from None
    if tensor.ndim == 3 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 2 or tensor.shape[1] != width or not tensor.is_floating_point():
        raise error(f"{name} must be floating-point [frames, {width}] for this model, got {tensor.dtype} {list(tensor.shape)}")
    return tensor.detach()

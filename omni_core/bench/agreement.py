"""Does a model that calculates with fewer bits still say the same? Token by token, against float32, each step with float32's own tokens before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from omni_core.checkpoint import Bundle
from omni_core.config import EngineConfig
from omni_core.engine.engine import Engine
from omni_core.engine.request import GenerateRequest
from omni_core.models import OmniModel
from omni_core.tokens import TEXT_STREAM, Task, TokenLayout, build_prompt


@dataclass(frozen=True)
class Agreement:
    """Shares of the greedy choices that are the same."""

    answers: int
    steps: int
    text: float
    audio: float  #: of the codes of all seven layers


def measure_agreement(exact: Bundle, other: OmniModel, questions: Sequence[str]) -> Agreement:
    """Let `exact` answer typed questions in speech, and see what `other` would have said at every step of it."""
    engine = Engine(exact, EngineConfig(slots=1, queue=1))
    text, audio, steps = [], [], 0
    for number, question in enumerate(questions):
        response = engine.submit(GenerateRequest(str(number), Task.T1A2, text=question))
        while engine.wait_s(0.0) is not None:
            engine.step(0.0)
        assert exact.tokenizer is not None
        prompt = build_prompt(other.layout, Task.T1A2, text_ids=exact.tokenizer.encode(question))
        columns = np.stack(response.columns[:-1], axis=1)
        tokens = torch.from_numpy(np.concatenate([prompt.tokens, _global(columns, other.layout)], axis=1))
        texts, audios = (ours == theirs for ours, theirs in zip(*(_choices(model, tokens) for model in (exact.model, other)), strict=True))
        chosen = torch.from_numpy(columns.T)  # [n, 8]: what was fed back, which is not everything that was chosen
        text.append(texts[-len(chosen) - 1 : -1][chosen[:, TEXT_STREAM] != other.layout.pad_t])
        audio.append(audios[-len(chosen) - 1 : -1][chosen[:, :TEXT_STREAM] < other.layout.codes])
        steps += len(chosen)
    return Agreement(len(questions), steps, float(torch.cat(text).float().mean()), float(torch.cat(audio).float().mean()))


def _global(columns: NDArray[np.int64], layout: TokenLayout) -> NDArray[np.int64]:
    """Columns [8, n] as a model reads them."""
    ids = columns.copy()
    ids[:TEXT_STREAM] += np.array(layout.offsets)[:TEXT_STREAM, None]
    return ids


@torch.inference_mode()
def _choices(model: OmniModel, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest text ids [T] and codes [T, 7] after each position of tokens [8, T]."""
    tokens = tokens.to(model.device)
    hidden = model(model.embed(tokens[None]), torch.arange(tokens.shape[1], device=model.device)[None])[0]
    codes = model.audio_logits(hidden)[..., : model.layout.codes]
    return model.text_logits(hidden).argmax(-1).cpu(), codes.argmax(-1).cpu()

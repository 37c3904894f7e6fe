"""What the golden files don't cover: eot and eoa inside an answer. One row of a head is edited so that it wins at a step of our choice."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from omni_core.engine.features import decode_features
from omni_core.models import OmniModel
from omni_core.tokens import TEXT_STREAM, Task
from tests.parity.reference import TASKS, TEXT_IDS
from tests.parity.test_model import Run, decode

STEPS = 40


def winning_row(hidden: Tensor, best: Tensor, step: int) -> tuple[Tensor, int]:
    """A head row [width] along the hidden state of `step`, long enough to beat `best` [steps] there, and the first step where it wins.

    hidden: [steps, width], what the answer was drawn from.
    """
    scores = hidden @ hidden[step]  # [steps]
    scale = 1.01 * best[step] / scores[step]
    won = int((scale * scores > best).nonzero()[0])
    assert won > 0
    return scale * hidden[step], won


def with_text_head(model: OmniModel, token: int, row: Tensor) -> OmniModel:
    """A copy whose text head reads `row` for `token`; the embedding, and so the prompt, stays as it is."""
    edited, plain_logits = copy.copy(model), model.text_logits
    edited.text_logits = lambda hidden: plain_logits(hidden).index_copy(-1, torch.tensor([token]), (hidden @ row)[..., None])
    return edited


def with_audio_head(model: OmniModel, layer: int, token: int, row: Tensor) -> OmniModel:
    """The same for one audio layer."""

    def logits(hidden: Tensor) -> Tensor:
        result = plain_logits(hidden).clone()
        result[..., layer, token] = hidden @ row
        return result

    edited, plain_logits = copy.copy(model), model.audio_logits
    edited.audio_logits = logits
    return edited


def plain(model: OmniModel, name: str) -> tuple[Run, Tensor, Tensor]:
    """The unedited answer, and the hidden states of its audio and text rows [steps, width]."""
    run = decode(model, Task(name), TASKS[name][1], STEPS)
    answer = run.hidden[:, run.prompt - 1 : run.prompt - 1 + len(run.columns)]
    return run, answer[0], answer[-1]


def both(model: OmniModel, name: str) -> np.ndarray:
    """Tokens [8, steps] from the engine, once the plain loop gives the same."""
    tokens = decode_features(model, Task(name), **TASKS[name][1], max_steps=STEPS)
    np.testing.assert_array_equal(tokens, decode(model, Task(name), TASKS[name][1], STEPS).tokens)
    return tokens


@pytest.mark.parametrize("name", ["A1A2", "VA1A2", "T1A2"])
def test_text_is_padding_after_eot(tiny_model: OmniModel, name: str) -> None:
    layout = tiny_model.layout
    run, _, hidden = plain(tiny_model, name)
    row, won = winning_row(hidden, tiny_model.text_logits(hidden).amax(-1), 12)
    tokens = both(with_text_head(tiny_model, layout.eot, row), name)
    np.testing.assert_array_equal(tokens[:, :won], run.tokens[:, :won])
    assert tokens[TEXT_STREAM, won] == layout.eot
    assert set(tokens[TEXT_STREAM, won + 1 :]) == {layout.pad_t}
    assert tokens.shape[1] > won + 1, "audio goes on when the text has ended"


@pytest.mark.parametrize("name", ["A1T2", "A1T1"])
def test_eot_ends_a_written_answer(tiny_model: OmniModel, name: str) -> None:
    run, _, hidden = plain(tiny_model, name)
    row, won = winning_row(hidden, tiny_model.text_logits(hidden).amax(-1), 12)
    tokens = both(with_text_head(tiny_model, tiny_model.layout.eot, row), name)
    np.testing.assert_array_equal(tokens, run.tokens[:, :won])


@pytest.mark.parametrize("name", ["A1A2", "VA1A2", "T1A2"])
def test_eoa_of_the_last_layer_ends_a_spoken_answer(tiny_model: OmniModel, name: str) -> None:
    run, hidden, _ = plain(tiny_model, name)
    row, won = winning_row(hidden, tiny_model.audio_logits(hidden)[:, 6].amax(-1), 12)
    tokens = both(with_audio_head(tiny_model, 6, tiny_model.layout.eoa, row), name)
    np.testing.assert_array_equal(tokens, run.tokens[:, :won])


@torch.inference_mode()
def test_written_answer_to_a_written_question(tiny_model: OmniModel) -> None:
    """T1T2 has no golden result: the engine and the plain loop agree, and its prompt is T1A2's but for the last position."""
    tokens = decode_features(tiny_model, Task.T1T2, text_ids=TEXT_IDS, max_steps=20)
    np.testing.assert_array_equal(tokens, decode(tiny_model, Task.T1T2, {"text_ids": TEXT_IDS}, 20).tokens)
    assert set(tokens[:TEXT_STREAM].flatten()) == {tiny_model.layout.pad_a}

"""Padded steps, as an accelerator replays them: the same tokens and margins as steps of just the rows that are due, in every size."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch

from omni_core.config import SamplingParams
from omni_core.engine.graphs import bucket_sizes
from omni_core.engine.runner import Runner
from omni_core.models import EndOfTurn
from omni_core.tokens import AUDIO_LAYERS
from tests.engine.parts import CONFIG, LAYOUT
from tests.engine.test_runner import TASKS, make_inputs

BAND = 5
SLOTS = 18


def test_sizes_are_close_together_and_end_with_all_slots() -> None:
    assert bucket_sizes(1) == [1]
    assert bucket_sizes(18) == [1, 2, 4, 8, 16, 18]
    assert bucket_sizes(1000)[:12] == [1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64, 96]
    sizes = bucket_sizes(1000)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 1000
    assert all(b <= 1.5 * a for a, b in itertools.pairwise(sizes) if a > 8)


def make_pair(model, *, chance: bool) -> tuple[Runner, Runner]:
    """One that steps exactly, one that pads, both with every slot and listener begun: all kinds of tasks, and where `chance` has a say, it has in
    every third.
    """
    head = EndOfTurn(CONFIG.backbone.width)
    runners = [Runner(model, SLOTS, band=BAND, end_of_turn=head) for _ in range(2)]
    runners[1].record()
    for runner in runners:
        for slot in range(SLOTS):
            sampling = SamplingParams(1.0, top_p=0.9, seed=slot) if chance and slot % 3 == 0 else SamplingParams()
            runner.prefill(slot, make_inputs(TASKS[slot % len(TASKS)], slot), sampling)
            runner.listen(slot)
    return runners[0], runners[1]


@pytest.mark.parametrize("chance", [False, True], ids=["greedy", "drawn"])
def test_padding_changes_nobody_s_tokens_in_any_size(random_model, chance: bool) -> None:
    """Random sets of slots and listeners, of every number there can be; who is left out stays where it is."""
    random_ = random.Random(0)
    exact, padded = make_pair(random_model, chance=chance)
    counts = [*range(1, SLOTS + 1)] * 2
    random_.shuffle(counts)
    for count in counts:
        slots = random_.sample(range(SLOTS), count)
        frames = {
            listener: torch.tensor(random_.choices(range(LAYOUT.codes), k=AUDIO_LAYERS))
            for listener in random_.sample(range(SLOTS), random_.choice([0, 0, 1, count, SLOTS]))
        }
        expected, margins = exact.step_listening(slots, frames)
        columns, padded_margins = padded.step_listening(slots, frames)
        np.testing.assert_array_equal(columns, expected)
        assert padded_margins == pytest.approx(margins, abs=1e-4)
        assert padded.turn_ended == pytest.approx(exact.turn_ended, abs=1e-5)


def test_listeners_alone(random_model) -> None:
    exact, padded = make_pair(random_model, chance=False)
    for step in range(2 * BAND):
        frames = {listener: torch.full((AUDIO_LAYERS,), (listener + step) % LAYOUT.codes) for listener in range(step % 4 + 1)}
        margins, padded_margins = (runner.step_listening([], frames)[1] for runner in (exact, padded))
        assert padded_margins == pytest.approx(margins, abs=1e-4)


def test_padding_fills_no_cache(random_model) -> None:
    """More padded steps than a row has places: the scratch row is never full."""
    runner = Runner(random_model, 3, max_positions=40)
    runner.record()
    for _ in range(3):
        for slot in range(3):
            runner.prefill(slot, make_inputs(TASKS[slot], slot), SamplingParams())
        for _ in range(20):
            runner.step([0, 1, 2])
            runner.step([1])
            if runner._lengths.max() > 37:
                break
    assert runner._step.positions[-1] == 0

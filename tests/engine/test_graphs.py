"""Padded steps, as an accelerator replays them: the same tokens and margins as steps of just the rows that are due, in every size."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import random

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from omni_core.config import SamplingParams
from omni_core.engine.decode import Batch, DecodeStep
from omni_core.engine.graphs import bucket_sizes
from omni_core.engine.runner import Runner
from omni_core.models import EndOfTurn, KVCache, OmniModel
from omni_core.models.fused import can_fuse
from omni_core.tokens import AUDIO_LAYERS
from tests.engine.parts import CONFIG, LAYOUT, make_model
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


def make_runner(model: OmniModel, *, record: bool, chance: bool = False) -> Runner:
    """With every slot and listener begun: all kinds of tasks, and where `chance` has a say, it has in every third."""
    torch.manual_seed(0)
    runner = Runner(model, SLOTS, band=BAND, end_of_turn=EndOfTurn(CONFIG.backbone.width).to(model.device))
    if record:
        runner.record()
    for slot in range(SLOTS):
        sampling = SamplingParams(1.0, top_p=0.9, seed=slot) if chance and slot % 3 == 0 else SamplingParams()
        runner.prefill(slot, make_inputs(TASKS[slot % len(TASKS)], slot), sampling)
        runner.listen(slot)
    return runner


def compare(exact: Runner, padded: Runner) -> None:
    """Random sets of slots and listeners, of every number there can be, give the same; who is left out stays where it is."""
    random_ = random.Random(0)
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
        assert padded_margins == pytest.approx(margins, abs=1e-3)
        assert padded.turn_ended == pytest.approx(exact.turn_ended, abs=1e-4)


@pytest.mark.parametrize("chance", [False, True], ids=["greedy", "drawn"])
def test_padding_changes_nobody_s_tokens_in_any_size(random_model, chance: bool) -> None:
    compare(make_runner(random_model, record=False, chance=chance), make_runner(random_model, record=True, chance=chance))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: recordings and compiled kernels can't run")
def test_recorded_steps_on_a_gpu_give_the_cpu_s_tokens() -> None:
    """In float32, with the kernels that served models take."""
    wide = dataclasses.replace(CONFIG, backbone=dataclasses.replace(CONFIG.backbone, head_size=32))
    model = make_model(wide)
    assert can_fuse(wide.backbone, torch.zeros(1, 1, 32, device="cuda"))
    compare(make_runner(model, record=False), make_runner(copy.deepcopy(model).cuda(), record=True))


def test_listeners_alone(random_model) -> None:
    exact, padded = make_runner(random_model, record=False), make_runner(random_model, record=True)
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


class _Origins(TorchDispatchMode):
    """Notes tensors that operations take though they are neither state nor another operation's: made from numbers of the host, by a copy."""

    def __init__(self, state: list[torch.Tensor]) -> None:
        super().__init__()
        self._known = list(state)  # all of them, or a freed one's id is another's
        self._ids = {id(each) for each in state}
        self.foreign: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        taken = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        result = function(*args, **(kwargs or {}))
        if not all(id(each) in self._ids and each.device.type == "meta" for each in taken):
            self.foreign.append(str(function))
        given = [each for each in tree_leaves(result) if isinstance(each, torch.Tensor)]
        self._known += given
        self._ids |= {id(each) for each in given}
        return result


@pytest.mark.parametrize("candidates", [-1, 0, 50], ids=["greedy", "drawn", "drawn within limits"])
def test_a_step_can_be_recorded(candidates: int) -> None:
    """It depends on no value, or a device that holds none would fail, and needs nothing from the host while it runs."""
    with torch.device("meta"):
        model, head = OmniModel(CONFIG), EndOfTurn(CONFIG.backbone.width)
        indices = {name: torch.zeros(3, dtype=torch.int64) for name in ("slots", "text_at", "audio_at", "speaker")}
        rows, codes, slot_at = (torch.zeros(shape, dtype=torch.int64) for shape in ((8,), (2, AUDIO_LAYERS), (6,)))
    cache = KVCache(CONFIG.backbone, 9, 160, device="meta", rings=2, band=BAND)
    step = DecodeStep(model, cache, 3, end_of_turn=head)
    batch = Batch(rows, codes, slot_at=slot_at, candidates=candidates, length=160, **indices)
    parts = [vars(each).values() for each in (step, step.sampling, cache, batch)] + [model.parameters(), head.parameters()]
    state = [each for part in parts for each in part if isinstance(each, torch.Tensor)]
    with torch.no_grad(), _Origins(state) as origins:
        outcome = step(batch)
    assert origins.foreign == []
    assert (outcome.columns.shape, outcome.margins.shape, outcome.turn_ended.shape) == ((3, 8), (2,), (3,))

"""Parity through the engine: the same tokens from `omni.decode_features`, and from a runner that serves others in the same steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from omni_core.api import Omni
from omni_core.config import SamplingParams
from omni_core.engine.runner import Inputs, Runner
from omni_core.models import OmniModel
from omni_core.tokens import TEXT_STREAM, Task, build_prompt
from tests.parity.reference import TASKS, golden

GREEDY = SamplingParams()


def expected_columns(size: str, name: str) -> np.ndarray:
    """[8, steps], or [1, steps] of text."""
    return np.atleast_2d(golden(size)[TASKS[name][0]])


def compare(name: str, tokens: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(tokens if len(expected) == 8 else tokens[TEXT_STREAM:], expected, err_msg=name)


@pytest.mark.parametrize("name", TASKS)
def test_tiny(tiny: Omni, name: str) -> None:
    expected = expected_columns("tiny", name)
    spare = 10 if name == "T1A2" else 0  # it stops by itself
    compare(name, tiny.decode_features(name, **TASKS[name][1], max_steps=expected.shape[1] + spare), expected)


class Served:
    """Requests in the slots of one runner, a fixed number of steps each."""

    def __init__(self, model: OmniModel, slots: int) -> None:
        self.runner = Runner(model, slots, max_positions=180, force_delay=False)
        self.model = model
        self.running: dict[int, tuple[str, list[np.ndarray]]] = {}

    def start(self, slot: int, name: str) -> None:
        inputs, task = TASKS[name][1], Task(name)
        audio, image = (torch.from_numpy(inputs[key]) if key in inputs else None for key in ("audio_features", "image_features"))
        prompt = build_prompt(
            self.model.layout, task, audio_frames=0 if audio is None else len(audio), text_ids=inputs.get("text_ids", ()), image_overwrites_input=True
        )
        self.runner.prefill(slot, Inputs(task, prompt, audio, image), GREEDY)
        self.running[slot] = (name, [])

    def cancel(self, slot: int) -> None:
        self.runner.release(slot)
        del self.running[slot]

    def step(self, slots: list[int]) -> Iterator[str]:
        """One step of `slots`; names what ended with it, once its tokens are the reference's."""
        for slot, column in zip(slots, self.runner.step(slots), strict=True):
            name, columns = self.running[slot]
            columns.append(column)
            expected = expected_columns("tiny", name)
            if len(columns) == expected.shape[1]:
                compare(name, np.stack(columns, axis=1), expected)
                self.cancel(slot)
                yield name


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_among_others(tiny_model: OmniModel, seed: int) -> None:
    """All tasks at once, joining late, some steps left out, slots reused after another's cancellation: nobody's tokens change."""
    random = np.random.default_rng(seed)
    served, waiting, done = Served(tiny_model, 4), [str(name) for name in random.permutation(list(TASKS))], []
    for slot in (0, 2):  # left behind in the middle of an answer
        served.start(slot, str(random.choice(list(TASKS))))
    for _ in range(9):
        list(served.step([2, 0]))
    for slot in (0, 2):
        served.cancel(slot)
    while waiting or served.running:
        free = [slot for slot in range(4) if slot not in served.running]
        if waiting and free and random.random() < 0.2:
            served.start(int(random.choice(free)), waiting.pop())
        stepped = [slot for slot in random.permutation(list(served.running)).astype(int).tolist() if random.random() < 0.8]
        if stepped:
            done += served.step(stepped)
    assert sorted(done) == sorted(TASKS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TASKS)
def test_full(full: Omni, name: str) -> None:
    expected = expected_columns("full", name)
    compare(name, full.decode_features(name, **TASKS[name][1], max_steps=expected.shape[1]), expected)

"""What is fed to which row, and that batching changes nobody's greedy tokens."""

import random

import numpy as np
import pytest
import torch

from omni_core.config import SamplingParams
from omni_core.engine.runner import Inputs, Runner
from omni_core.errors import InputError
from omni_core.tokens import AUDIO_LAYERS, TEXT_STREAM, Task, build_prompt
from tests.engine.parts import AFTER_EOT, LAYOUT, ScriptedModel, make_frames, make_tokenizer, script

GREEDY = SamplingParams()
OK = make_tokenizer().encode("ok")
PADS = [LAYOUT.pad_a] * AUDIO_LAYERS


def make_inputs(task: Task, seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    frames = 4 + seed % 5
    prompt = build_prompt(LAYOUT, task, audio_frames=frames if task.needs_audio else 0, text_ids=[5 + seed, 9] if task.needs_text else ())
    audio = torch.randn(frames, 6, generator=generator) * 3 if task.needs_audio else None
    return Inputs(task, prompt, audio, torch.randn(50, 5, generator=generator) if task.needs_image else None)


def _scripted(task: Task, steps: int, force_delay: bool = True) -> tuple[list[tuple[int, int, list[int]]], np.ndarray]:
    """What each step fed as (row, position, column), and what it returned, [8, steps]."""
    model = ScriptedModel(script("ok", make_frames(4)))
    runner = Runner(model, 1, force_delay=force_delay)  # type: ignore[arg-type]
    runner.prefill(0, make_inputs(task), GREEDY)
    columns = np.stack([runner.step([0])[0] for _ in range(steps)], axis=1)
    return model.fed, columns


def test_parallel_rows_share_the_text_and_the_text_row_hears_only_padding():
    fed, columns = _scripted(Task.A1A2, 6)
    audio_row, text_row = [f for f in fed if f[0] == 0], [f for f in fed if f[0] == 1]
    length = build_prompt(LAYOUT, Task.A1A2, audio_frames=4).tokens.shape[1]
    assert [position for _, position, _ in audio_row] == [position for _, position, _ in text_row] == list(range(length - 1, length + 5))
    assert audio_row[0][2] == [LAYOUT.answer_a] * 7 + [LAYOUT.answer_t]
    assert text_row[0][2] == [*PADS, LAYOUT.answer_t]
    for step in range(5):
        assert audio_row[step + 1][2] == columns[:, step].tolist()
        assert text_row[step + 1][2] == [*PADS, columns[TEXT_STREAM, step]]


def test_after_eot_the_text_stream_is_padding():
    _, columns = _scripted(Task.A1A2, 6)
    assert columns[TEXT_STREAM].tolist() == [*OK, LAYOUT.eot, LAYOUT.pad_t, LAYOUT.pad_t, LAYOUT.pad_t]


def test_one_row_is_fed_back_its_own_audio_and_text():
    fed, columns = _scripted(Task.T1A2, 5)
    assert {row for row, _, _ in fed} == {0}
    assert [column for _, _, column in fed[1:]] == columns.T[:4].tolist()


def test_a_text_only_task_is_fed_padding_for_audio():
    fed, columns = _scripted(Task.A1T2, 3)
    assert [column for _, _, column in fed[1:]] == [[*PADS, OK[0]], [*PADS, OK[1]]]
    assert (columns[:TEXT_STREAM] == LAYOUT.pad_a).all()


def test_layers_are_held_back_until_their_delay_has_passed_unless_told_not_to():
    eager = script("", make_frames(9))
    eager[:TEXT_STREAM, :9] = 3  # a model that speaks in every layer at once
    for force_delay, expected in ((True, np.arange(9)[None] > np.arange(7)[:, None]), (False, np.ones((7, 9), bool))):
        runner = Runner(ScriptedModel(eager), 1, force_delay=force_delay)  # type: ignore[arg-type]
        runner.prefill(0, make_inputs(Task.T1A2), GREEDY)
        columns = np.stack([runner.step([0])[0] for _ in range(9)], axis=1)
        assert ((columns[:TEXT_STREAM] == 3) == expected).all()


def test_the_reference_takes_no_eot_in_the_first_step_for_the_end():
    model = ScriptedModel(script("", make_frames(2)))
    unforced = Runner(model, 1, force_delay=False)  # type: ignore[arg-type]
    unforced.prefill(0, make_inputs(Task.A1A2), GREEDY)
    assert [unforced.step([0])[0, TEXT_STREAM] for _ in range(2)] == [LAYOUT.eot, AFTER_EOT]
    forced = Runner(model, 1)  # type: ignore[arg-type]
    forced.prefill(0, make_inputs(Task.A1A2), GREEDY)
    assert [forced.step([0])[0, TEXT_STREAM] for _ in range(2)] == [LAYOUT.eot, LAYOUT.pad_t]


def test_a_prompt_that_leaves_no_position_is_refused(random_model):
    runner = Runner(random_model, 1, max_positions=7)
    with pytest.raises(InputError, match="positions"):
        runner.prefill(0, make_inputs(Task.A1A2, seed=4), GREEDY)


@pytest.mark.parametrize("piece", [1, 3, 50])
@pytest.mark.parametrize("task", [Task.A1A2, Task.VT1A2, Task.A1T2])
def test_a_prompt_that_is_read_in_pieces_beside_another_s_steps_gives_the_same(random_model, task, piece):
    whole, pieces = Runner(random_model, 2), Runner(random_model, 2)
    for runner in (whole, pieces):
        runner.prefill(0, make_inputs(Task.T1A2, 7), GREEDY)
    room = whole.prefill(1, make_inputs(task), GREEDY)
    assert pieces.begin(1, make_inputs(task), GREEDY) == room
    beside = 0
    while not pieces.advance(1, piece):
        beside += 1
        assert (pieces.step([0]) == whole.step([0])).all()
    assert beside == (make_inputs(task).prompt.tokens.shape[1] - 2) // piece
    for _ in range(12):
        assert (pieces.step([1, 0]) == whole.step([1, 0])).all()


def test_a_prompt_that_was_given_up_leaves_nothing_behind(random_model, alone):
    runner = Runner(random_model, 1)
    runner.begin(0, make_inputs(Task.VA1A2, 5), GREEDY)
    assert not runner.advance(0, 9)
    runner.release(0)
    runner.prefill(0, make_inputs(TASKS[1], 1), GREEDY)
    assert (np.stack([runner.step([0])[0] for _ in range(STEPS)], axis=1) == alone[1]).all()


TASKS = [Task.A1A2, Task.T1A2, Task.A1T2, Task.VA1A2, Task.T1T2, Task.A1A2, Task.VT1A2, Task.A1T1]
STEPS = 20


@pytest.fixture(scope="module")
def alone(random_model):
    """Each task's tokens when nobody else is there."""
    results = []
    for seed, task in enumerate(TASKS):
        runner = Runner(random_model, 1)
        runner.prefill(0, make_inputs(task, seed), GREEDY)
        results.append(np.stack([runner.step([0])[0] for _ in range(STEPS)], axis=1))
    return results


@pytest.mark.parametrize("seed", range(3))
def test_greedy_tokens_do_not_depend_on_the_batch(random_model, alone, seed):
    """Random arrivals, pauses and cancellations over 3 slots: every response that runs to its end gives the tokens it gives alone."""
    random_ = random.Random(seed)
    runner, running, done = Runner(random_model, 3), {}, 0
    waiting = random_.choices(range(len(TASKS)), k=24)
    while waiting or running:
        for slot in {0, 1, 2} - running.keys():
            if waiting and random_.random() < 0.5:
                request = waiting.pop()
                runner.prefill(slot, make_inputs(TASKS[request], request), GREEDY)
                running[slot] = (request, [])
        chosen = [slot for slot in running if random_.random() < 0.8]
        random_.shuffle(chosen)
        if not chosen:
            continue
        for slot, column in zip(chosen, runner.step(chosen), strict=True):
            request, columns = running[slot]
            columns.append(column)
            if len(columns) == STEPS:
                assert (np.stack(columns, axis=1) == alone[request]).all(), f"{TASKS[request]} in slot {slot}"
                done += 1
            if len(columns) == STEPS or random_.random() < 0.02:
                runner.release(slot)
                del running[slot]
    assert done > 8


def test_numbers_that_are_none_stay_with_whom_they_came_from(random_model, alone):
    """NaN in one response's cache neither reaches its neighbour, nor who has its row next: 0 * NaN is no 0."""
    runner = Runner(random_model, 2, band=4)
    broken = make_inputs(Task.A1A2, 3)
    assert broken.audio is not None
    broken.audio[1:] = float("nan")
    runner.prefill(0, make_inputs(TASKS[0], 0), GREEDY)
    runner.prefill(1, broken, GREEDY)
    columns = [runner.step([0, 1])[0] for _ in range(STEPS)]
    runner.release(1)
    runner.prefill(1, make_inputs(TASKS[1], 1), GREEDY)
    after = [runner.step([0, 1])[1] for _ in range(STEPS)]
    assert (np.stack(columns, axis=1) == alone[0]).all()
    assert (np.stack(after, axis=1) == alone[1]).all()


def test_random_sampling_is_the_request_s_own(random_model):
    params = SamplingParams(temperature=1.0, top_k=8, seed=11)

    def run(neighbours: int) -> np.ndarray:
        runner = Runner(random_model, 1 + neighbours)
        for slot in range(1, 1 + neighbours):
            runner.prefill(slot, make_inputs(Task.A1A2, slot), SamplingParams(temperature=1.0, seed=slot))
        runner.prefill(0, make_inputs(Task.A1A2), params)
        return np.stack([runner.step(range(1 + neighbours))[0] for _ in range(12)])

    alone = run(0)
    assert (alone == run(2)).all()
    greedy = Runner(random_model, 1)
    greedy.prefill(0, make_inputs(Task.A1A2), GREEDY)
    assert (alone != np.stack([greedy.step([0])[0] for _ in range(12)])).any()

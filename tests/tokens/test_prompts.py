"""Prompts beyond the golden ones (tests/parity): image with text, and inputs that don't fit the task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from omni_core.config import LayoutConfig
from omni_core.errors import AudioError, TaskError, TextError
from omni_core.tokens import HISTORY_TOKENS, IMAGE_FRAMES, TEXT_STREAM, Prompt, Task, TokenLayout, build_prompt, history_ids
from tests.tokens.test_text import BYTES

LAYOUT = TokenLayout.from_config(LayoutConfig(100, 110, 64, 80))
TEXT = (5, 6, 7)


HISTORY = (((1, 2), (3,)), ((), (4, 8)))  #: the second question is not known


def make(task: Task, **options: Any) -> Prompt:
    return build_prompt(LAYOUT, task, audio_frames=4 if task.needs_audio else 0, text_ids=TEXT if task.needs_text else (), **options)


@pytest.mark.parametrize("task", Task)
def test_needs_follow_from_the_name(task: Task) -> None:
    assert task.needs_image == ("V" in task)
    assert task.needs_audio != task.needs_text
    assert task.speaks == task.endswith("A2")


@pytest.mark.parametrize("task", Task)
def test_every_task_ends_in_its_mark(task: Task) -> None:
    last = LAYOUT.to_local(make(task).tokens)[:, -1]
    assert set(last[:TEXT_STREAM]) == {LAYOUT.answer_a if task.speaks else LAYOUT.pad_a}
    assert last[TEXT_STREAM] == (LAYOUT.asr if task is Task.A1T1 else LAYOUT.answer_t)


@pytest.mark.parametrize(("spoken", "written"), [("A1A2", "A1T2"), ("VA1A2", "VA1T2"), ("T1A2", "T1T2"), ("VT1A2", "VT1T2")])
@pytest.mark.parametrize("history", [(), HISTORY])
def test_speech_and_text_differ_in_the_last_position_only(spoken: str, written: str, history: Any) -> None:
    spoken_tokens, written_tokens = (make(Task(name), history=history).tokens for name in (spoken, written))
    np.testing.assert_array_equal(spoken_tokens[:, :-1], written_tokens[:, :-1])
    assert (spoken_tokens[:, -1] != written_tokens[:, -1]).any()


@pytest.mark.parametrize("task", Task)
def test_earlier_turns_stand_before_everything_else_as_text(task: Task) -> None:
    prompt, alone = make(task, history=HISTORY), make(task)
    local, marks = LAYOUT.to_local(prompt.tokens), (LAYOUT.input_t, LAYOUT.eot, LAYOUT.answer_t)
    begin, end, answer = marks
    turns = [begin, 1, 2, end, answer, 3, end, begin, end, answer, 4, 8, end]
    assert local[TEXT_STREAM, : len(turns)].tolist() == turns
    assert set(local[:TEXT_STREAM, : len(turns)].flat) == {LAYOUT.pad_a}
    np.testing.assert_array_equal(prompt.tokens[:, len(turns) :], alone.tokens)
    for at, at_alone in ((prompt.audio_at, alone.audio_at), (prompt.image_at, alone.image_at)):
        assert at == (None if at_alone is None else at_alone + len(turns))


def test_of_a_conversation_the_newest_turns_are_kept_and_of_long_ones_a_part() -> None:
    talk = [("first", "1"), ("", "2"), ("q" * 5000 + "end", "beginning" + "a" * 5000)]
    *_, unknown, long = history_ids(BYTES, talk, turns=2)
    assert unknown == ([], BYTES.encode("2"))
    assert [len(ids) for ids in long] == [HISTORY_TOKENS] * 2
    assert (BYTES.decode(long[0])[-4:], BYTES.decode(long[1])[:10]) == ("qend", "beginninga")
    assert [len(history_ids(BYTES, talk, turns)) for turns in (0, 1, 3, 9)] == [0, 1, 3, 3]


def test_image_with_text_is_the_image_block_then_the_text() -> None:
    prompt = make(Task.VT1A2)
    local = LAYOUT.to_local(prompt.tokens)
    block = IMAGE_FRAMES + 2
    assert local[0, :block].tolist() == [LAYOUT.image, *[LAYOUT.pad_a] * IMAGE_FRAMES, LAYOUT.eoimage]
    assert set(local[TEXT_STREAM, :block]) == {LAYOUT.pad_t}
    np.testing.assert_array_equal(prompt.tokens[:, block:], make(Task.T1A2).tokens)
    assert (prompt.image_at, prompt.audio_at) == (1, None)


def test_image_with_speech_in_both_conventions() -> None:
    ours, released = make(Task.VA1A2), make(Task.VA1A2, image_overwrites_input=True)
    np.testing.assert_array_equal(ours.tokens, released.tokens)
    local = LAYOUT.to_local(ours.tokens)
    assert ours.audio_at is not None
    assert released.audio_at == ours.audio_at - 1
    assert local[0, ours.audio_at - 1] == LAYOUT.input_a
    assert local[0, ours.audio_at + 4] == LAYOUT.eoa


@pytest.mark.parametrize(
    ("task", "inputs", "error"),
    [
        (Task.A1A2, {}, AudioError),
        (Task.T1A2, {"text_ids": ()}, TextError),
        (Task.T1A2, {"text_ids": (1,), "audio_frames": 3}, TaskError),
        (Task.A1T2, {"text_ids": (1,), "audio_frames": 3}, TaskError),
        (Task.T1T2, {"text_ids": (LAYOUT.eot,)}, TextError),
        (Task.T1T2, {"text_ids": (-1,)}, TextError),
        (Task.T1T2, {"text_ids": (1,), "history": [((LAYOUT.eot,), (1,))]}, TextError),
        (Task.T1T2, {"text_ids": (1,), "history": [((), (100,))]}, TextError),
    ],
)
def test_inputs_that_do_not_fit(task: Task, inputs: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        build_prompt(LAYOUT, task, **inputs)

"""Which examples a step of the language model sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from omni_core.checkpoint import load_bundle
from omni_core.datagen.sentences import load_dialogues
from omni_core.errors import ConfigError, DataError
from omni_core.training.source import Senses, SkillSource

ANSWERS = {dialogue.answer: np.zeros((4, 7), np.uint16) for dialogue in load_dialogues()}


def written_only(tasks: dict[str, float], skills: dict[str, float], written: dict[str, float] | None = None) -> SkillSource:
    """What is written needs no speech on the disk."""
    senses = Senses(cast(Any, load_bundle("nano", "cpu").tokenizer), cast(Any, None), None)
    return SkillSource(Path("nowhere"), senses, ANSWERS, tasks, skills, seed=1, written=written, memory_turns=2)


def test_the_examples_of_a_step_follow_from_seed_and_step() -> None:
    source, again = (written_only({"T1T2": 1.0, "T1A2": 1.0}, {"talk": 1.0}) for _ in range(2))

    def asked(source: SkillSource, step: int) -> list[Any]:
        return [(example.task, example.question_ids) for example in source.examples(8, step)]

    assert asked(source, 5) == asked(again, 5)
    assert asked(source, 5) != asked(source, 6)


def test_what_is_written_on_both_sides_may_have_shares_of_its_own() -> None:
    source = written_only({"T1T2": 1.0, "T1A2": 1.0}, {"talk": 1.0}, {"sums": 1.0})
    assert {(example.task.value, example.skill) for example in source.examples(40, 0)} == {("T1T2", "sums"), ("T1A2", "talk")}


def test_an_answer_that_nobody_has_spoken_is_not_asked_for() -> None:
    source = written_only({"T1A2": 1.0}, {"sums": 0.9, "talk": 0.1})
    assert {example.skill for example in source.examples(20, 0)} == {"talk"}
    with pytest.raises(DataError, match="omni data answers"):
        written_only({"T1A2": 1.0}, {"sums": 1.0}).examples(1, 0)


def test_unknown_skills_are_named() -> None:
    with pytest.raises(ConfigError, match="juggling; there are talk, sums"):
        written_only({"T1T2": 1.0}, {"talk": 1.0}, {"juggling": 1.0})

"""Replies become figures, tables and plots."""

from pathlib import Path

import pytest
import torch

from omni_core.datagen.manifest import Item
from omni_core.evaluation.asking import Reply
from omni_core.evaluation.breakdown import accuracy, by_voice, heatmap, key_of, mistakes, pick
from omni_core.evaluation.codec import code_usage
from omni_core.evaluation.results import Figure
from omni_core.evaluation.targets import GOALS, Unit, Verdict
from omni_core.evaluation.vision import kind_of


def _reply(skill, expect, text, group="espeak", condition="clean", error=None):
    item = Item("", expect, audio=Path("a.wav"), question="q", skill=skill, group=group, condition=condition, voice=group)
    return Reply(item, text, None, error)


REPLIES = [
    _reply("sums", "It is five.", "it is 5"),
    _reply("sums", "It is five.", "It is nine."),
    _reply("sums", "It is five.", "It is nine.", condition="10 dB"),
    _reply("talk", "I am Omni, a small assistant.", "I am Omni, a small assistent.", "flite"),
    _reply("talk", "Good night.", "", "flite", error="the audio is empty"),
]


def _skill(item):
    return item.skill


def test_accuracy_by_kind_voice_and_condition():
    figures, table, bars = accuracy("qa", REPLIES, _skill, "skill")
    assert {figure.key: (figure.value, figure.count) for figure in figures} == {
        "qa.sums.espeak.clean": (0.5, 2),
        "qa.sums.espeak.10_db": (0.0, 1),
        "qa.talk.flite.clean": (0.0, 2),
    }
    assert table.written()[2] == ["talk", "flite", "clean", "2", "0.0 %", "50.0 %", "1"]
    assert table.to_json()[0]["right"] == 0.5
    assert bars.series == ("espeak, clean", "espeak, 10 dB", "flite, clean")
    assert bars.rows == (("sums", (0.5, 0.0, None)), ("talk", (None, None, 0.0)))


def test_replies_without_any_breakdown_are_one_row():
    reply = Reply(Item("", "Two.", text="One and one?"), "two", None)
    figures, table, _ = accuracy("qa", [reply], _skill, "skill")
    assert [figure.key for figure in figures] == ["qa.all.typed"]
    assert table.written()[0][:3] == ["–", "typed", "–"]
    assert by_voice([reply]).rows == ()


def test_mistakes_and_what_was_taken_for_what():
    rows = mistakes(REPLIES).rows
    assert rows[0] == ("q", "It is five.", "It is nine.", 2)
    assert ("q", "Good night.", "the audio is empty", 1) in rows
    plot = heatmap([("five", "nine")] * 2 + [("nine", "five")], "Words", "expected", "answered")
    assert plot is not None
    assert plot.counts[plot.labels.index("five")][plot.labels.index("nine")] == 2
    assert heatmap([], "Words", "expected", "answered") is None


def test_samples_show_every_kind_and_mistakes():
    shown = pick(REPLIES, _skill, 3, seed=1)
    assert {reply.item.skill for reply in shown} == {"sums", "talk"}
    assert len(pick(REPLIES, _skill, 99, seed=1)) == len(REPLIES)


def test_a_figure_stands_beside_its_goal():
    assert Figure(key_of("qa", "talk", "espeak", "10 dB"), 0.85, 100).verdict is Verdict.LEAST
    assert Figure("codec.pesq", 2.3, 60, unit=Unit.NUMBER).verdict is Verdict.MET
    assert Figure("irq.false_alarms_per_hour", 1.2, 8, unit=Unit.PER_HOUR).verdict is Verdict.SHORT
    assert Figure("irq.misses.clean", 0.02, 100).verdict is Verdict.MET
    assert Figure("asr.espeak.clean.wer", 0.2, 100).to_json()["verdict"] == "short"
    assert Figure("qa.all", 0.2, 100).verdict is None
    assert all(goal.aim >= goal.least if goal.rising else goal.aim <= goal.least for goal in GOALS.values())


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [(Unit.SHARE, 0.9731, "97.3 %"), (Unit.MS, 140.4, "140 ms"), (Unit.TIMES, 1.5, "1.50 x"), (Unit.NUMBER, 60, "60"), (Unit.NUMBER, 0.956, "0.96"),
     (Unit.MS, None, "–")],
)  # fmt: skip
def test_units(unit, value, text):
    assert unit.write(value) == text


def test_codes_used_level_by_level():
    frames = torch.zeros(4, 7, dtype=torch.int64)
    frames[:, 1] = torch.arange(4)
    first, second, third = code_usage(frames, 16)
    assert (first.used, first.of, first.perplexity) == (1, 16, pytest.approx(1))
    assert second.used == 4
    assert 1 < second.perplexity < 4
    assert third.used == 1


def test_kinds_of_questions_about_pictures():
    assert kind_of(Item("", "x", question="How is the weather?")) == "other"

"""The suites on the bundled model and a few questions: the whole path from a manifest to figures."""

import dataclasses
import json
from pathlib import Path

import pytest

from clients import cli
from clients.commands.demo import QUESTIONS
from omni_core.checkpoint import load_bundle
from omni_core.datagen.manifest import Item, read_manifest
from omni_core.errors import DataError, TaskError
from omni_core.evaluation.asking import Asker, silent
from omni_core.evaluation.suites import SUITES, Setting, evaluate


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("nano", "cpu")


@pytest.fixture(scope="module")
def asker(bundle):
    return Asker(bundle, slots=2)


def test_questions_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where no test material is
    assert cli.main(["eval", "qa", "--limit", "4", "--device", "cpu", "--json", "--report", "report"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["suites"]["qa"]["figures"]["qa.all"]["count"] == 4
    assert data["suites"]["qa"]["figures"]["qa.all"]["value"] >= 0.5
    assert data["command"] == "omni eval qa --device cpu --limit 4 --seed 1 --report report"
    assert "data:audio/mpeg" in Path("report/index.html").read_text()


@pytest.mark.parametrize("suite", ["asr", "vision"])
def test_without_test_material_the_command_that_makes_it_is_named(suite, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["eval", suite, "--device", "cpu"]) == 2
    assert "make the test material with `omni data test`" in capsys.readouterr().err


def test_what_can_t_be_run_is_said_and_the_rest_is_done(bundle, tmp_path):
    setting = Setting(bundle, data=tmp_path, questions=QUESTIONS / "manifest.jsonl", limit=2)
    suites, not_run = evaluate(["qa", "asr", "codec"], setting, keep_going=True)
    assert [suite.name for suite in suites] == ["qa"]
    assert set(not_run) == {"asr", "codec"}
    assert "omni data codec" in not_run["codec"]
    with pytest.raises(DataError):
        evaluate(["asr"], setting)


def test_own_recordings_are_transcribed_against_their_words(bundle):
    suite = SUITES["asr"](Setting(bundle, manifest=QUESTIONS / "manifest.jsonl", limit=2))
    figures = {figure.key: figure for figure in suite.figures}
    assert figures["asr.wer"].count > 4
    assert 0 <= figures["asr.cer"].value < 1


def test_many_answers_at_once_are_those_of_one_at_a_time(asker):
    items = read_manifest(QUESTIONS / "manifest.jsonl")[:3]
    together = asker.ask(items, "T2", silent, "")
    alone = [asker.ask([item], "T2", silent, "")[0] for item in items]
    assert [reply.item for reply in together] == items
    assert [reply.text for reply in together] == [reply.text for reply in alone]


def test_what_the_model_can_t_answer_is_a_reply_with_an_error(asker):
    good, bad = asker.ask([Item("", "x", text="Who are you?"), Item("", "x", text=" ")], "T2", silent, "")
    assert good.text
    assert good.error is None
    assert bad.error is not None
    assert not bad.right


def test_a_kind_of_question_that_no_part_of_the_model_serves(bundle):
    blind = Asker(dataclasses.replace(bundle, vision_encoder=None), slots=1)
    with pytest.raises(TaskError, match="can't do VT1T2"):
        blind.ask([Item("", "x", text="What is it?", image=Path("a.png"))], "T2", silent, "")

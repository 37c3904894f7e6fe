"""The command line: help everywhere, errors as one line with the exit status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clients import cli
from clients.commands import COMMANDS


def _names() -> list[str]:
    parser = cli.build_parser()
    return list(next(action.choices for action in parser._actions if action.dest == "command"))


@pytest.mark.parametrize("name", _names())
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  omni " + name in text


def test_each_command_is_declared_once() -> None:
    assert len(set(_names())) == len(COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    program = "import sys, clients.cli as c; c.build_parser(); print(sorted({'torch', 'numpy', 'fastapi', 'omni_core', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_missing_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["talk", "absent.wav"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("omni talk: absent.wav: no such file")


def test_no_server_and_a_wrong_address(wav: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["talk", str(wav), "--url", "ws://127.0.0.1:9/v1/realtime"]) == 2
    assert "no server answers there" in capsys.readouterr().err
    assert cli.main(["talk", str(wav), "--url", "not an address"]) == 2
    assert "is no Realtime address" in capsys.readouterr().err


def test_options_that_exclude_each_other(wav: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["talk", str(wav), "--manual", "--barge-in", f"{wav}@1"]) == 2
    assert "drop one of them" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["stop.wav", "stop.wav@", "@1", "stop.wav@-1", "stop.wav@nan", "stop.wav@soon"])
def test_barge_in_wants_a_file_and_a_time(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["talk", "a.wav", "--barge-in", value])
    assert left.value.code == 2
    assert "is not FILE@SECONDS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["train", "codec", "--config", "absent.yaml"], "absent.yaml: no such file"),
        (["train", "codec", "--config", "pyproject.toml", "--dry-run"], "--dry-run is for lm, stage1"),
        (["train", "encoders", "--config", "pyproject.toml"], "can't be read as YAML"),
        (["infer", "--task", "A9", "--text", "x"], "unknown task 'A9'"),
        (["check", "no/such/model/anywhere"], "no such model"),
        (["eval", "qa", "--manifest", "absent.jsonl"], "absent.jsonl: no such file"),
        (["bench", "--model", "random:huge"], "use random:nano, random:full"),
    ],
)
def test_what_can_t_be_done_is_one_line(command: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"omni {command[0]}: ")
    assert says in error

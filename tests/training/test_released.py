"""The released size: every stage builds on random weights, steps once, and saves a model that answers. Takes minutes and 12 GB."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from clients.cli import main
from tests.training.conftest import CONFIGS


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["stage1", "stage2", "stage3"])
def test_a_stage_of_the_released_size_runs_dry(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = yaml.safe_load((CONFIGS / "released" / f"{name}.yaml").read_text(encoding="utf-8"))
    config = tmp_path / f"{name}.yaml"
    config.write_text(yaml.safe_dump(values | {"output": str(tmp_path / name)}))
    assert main(["train", name, "--config", str(config), "--dry-run"]) == 0
    capsys.readouterr()
    assert main(["infer", "--model", str(tmp_path / f"{name}-dry-run/model"), "--task", "T1T2", "--text", "hi", "--max-steps", "4", "--json"]) == 0
    assert "text" in json.loads(capsys.readouterr().out)

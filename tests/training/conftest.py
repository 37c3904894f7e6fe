"""Small data and configurations, so that every learner trains in a second or two."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml

import omni_core.training
from omni_core.training.loop import Learner, run_loop

CONFIGS = Path(omni_core.training.__file__).parent / "configs"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def write_config() -> Callable[[Path, str, dict[str, Any]], Path]:
    """write_config(folder, "codec.yaml", changes) -> a copy of that configuration in the folder; changes of loop, codec and encoder are merged."""

    def write(folder: Path, name: str, changes: dict[str, Any]) -> Path:
        values = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
        _merge(values, changes)
        path = folder / name
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    return write


class Interrupted:
    """A learner whose run gets a Ctrl-C in the middle of step `at`."""

    def __init__(self, learner: Any, at: int) -> None:
        self.learner, self.at = learner, at

    def learn(self, step: int) -> Any:
        if step == self.at:
            signal.raise_signal(signal.SIGINT)
        return self.learner.learn(step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.learner, name)


@pytest.fixture(scope="session")
def run_until() -> Callable[[Any, int], None]:
    """run_until(learner, step): train and stop after that step; what an earlier call left is gone on from."""

    def run(learner: Any, at: int) -> None:
        with pytest.raises(KeyboardInterrupt):
            run_loop("test", cast(Learner, Interrupted(learner, at)), learner.config.loop, Path(learner.config.output), resume=True)

    return run


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if key in ("loop", "codec", "encoder"):
            _merge(values[key], value)
        else:
            values[key] = value

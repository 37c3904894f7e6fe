"""The loop around every run: killed and resumed, stopped, and what goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.tensorboard.writer import SummaryWriter

from omni_core.errors import CheckpointError, ConfigError, TrainingError
from omni_core.training import loop
from omni_core.training.loop import LoopConfig, RunLength, run_loop
from omni_core.training.settings import generator_of

STEPS = 60
CONFIG = LoopConfig(steps=STEPS, validate_steps=STEPS, save_minutes=1e-6)  # a save after every step


class Line(nn.Module):
    """Learns a line through noisy points. Satisfies `loop.Learner`."""

    def __init__(self, pause_s: float = 0.0, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.pause_s, self.poison = nn.Linear(width, 1), pause_s, -1
        self.optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)

    def learn(self, step: int) -> dict[str, float]:
        time.sleep(self.pause_s)
        points = torch.randn(16, self.linear.in_features, generator=generator_of(torch.device("cpu"), 1, step))
        loss = (self.linear(points) - points.sum(-1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": float("nan") if step == self.poison else loss.item()}

    def validate(self, step: int, writer: SummaryWriter) -> dict[str, float]:
        return {"error": (self.linear.weight - 1).abs().max().item()}

    def state(self) -> dict[str, Any]:
        return {"model": self.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def finish(self, folder: Path) -> None:
        torch.save(self.state_dict(), folder / "final.pt")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "final.pt")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_that_is_killed_and_resumed_gives_the_weights_of_an_unbroken_one(tmp_path: Path, repository: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run_loop("line", Line(), CONFIG, whole)
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, __file__, str(broken)], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (broken / loop.STATE).exists():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)  # anywhere, in the middle of a save as well
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (broken / "final.pt").exists()
    assert 0 < torch.load(broken / loop.STATE)["step"] < STEPS
    assert run_loop("line", Line(), CONFIG, broken, resume=True)
    assert same(weights(whole), weights(broken))
    steps = [line for line in (broken / loop.LOG).read_text().splitlines() if '"step": 60' in line]
    assert len(steps) == 2  # the last figures and the validation


def test_a_run_stops_when_its_minutes_are_up_and_goes_on(tmp_path: Path) -> None:
    assert not run_loop("line", Line(pause_s=0.02), CONFIG, tmp_path, max_minutes=0.005)
    with pytest.raises(TrainingError, match="--resume"):
        run_loop("line", Line(), CONFIG, tmp_path)
    assert run_loop("line", Line(), CONFIG, tmp_path, resume=True)


def test_a_run_of_so_many_minutes_ends_by_the_clock_and_stays_ended(tmp_path: Path) -> None:
    config = LoopConfig(steps=100_000, validate_steps=100_000, minutes=0.005)
    with pytest.raises(ConfigError, match=r"loop\.minutes"):
        run_loop("line", Line(pause_s=0.02), config, tmp_path)  # what its rates follow is not known
    timed = Line(pause_s=0.02)
    timed.length = RunLength(config)
    assert run_loop("line", timed, config, tmp_path)
    ended = torch.load(tmp_path / loop.STATE)["step"]
    assert 1 < ended <= 15
    assert abs(timed.length(ended - 1) - ended) <= 2  # it saw the end coming
    assert run_loop("line", timed, config, tmp_path, resume=True)
    assert torch.load(tmp_path / loop.STATE)["step"] == ended


def test_the_length_of_a_run_follows_its_pace() -> None:
    length = RunLength(LoopConfig(steps=1000, validate_steps=1, minutes=2.0))
    assert length(0) == 1000
    length.seconds = 10.0
    assert length(5) == 60  # 5 steps in 10 s, so 60 in 2 minutes
    length.seconds = 119.5
    assert length(200) == 201
    assert RunLength(LoopConfig(steps=7, validate_steps=1))(3) == 7


def test_a_loss_that_is_not_finite_ends_the_run_and_says_which_step_is_safe(tmp_path: Path) -> None:
    learner = Line()
    learner.poison = 30
    with pytest.raises(TrainingError, match=r"loss nan at step 30.*holds step 30"):
        run_loop("line", learner, CONFIG, tmp_path)
    assert run_loop("line", Line(), CONFIG, tmp_path, resume=True)


def test_a_state_of_another_shape_is_refused(tmp_path: Path) -> None:
    run_loop("line", Line(), CONFIG, tmp_path)
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        run_loop("line", Line(width=5), CONFIG, tmp_path, resume=True)


def test_a_full_disk_leaves_the_state_before_it_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_loop("line", Line(pause_s=0.02), CONFIG, tmp_path, max_minutes=0.005)

    def no_room(state: object, path: Path) -> None:
        path.write_bytes(b"half a")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(torch, "save", no_room)
        with pytest.raises(TrainingError, match="make room"):
            run_loop("line", Line(), CONFIG, tmp_path, resume=True)
    assert run_loop("line", Line(), CONFIG, tmp_path, resume=True)


if __name__ == "__main__":  # the run that is killed
    run_loop("line", Line(pause_s=0.05), CONFIG, Path(sys.argv[1]))

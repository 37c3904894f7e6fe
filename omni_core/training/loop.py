"""The loop around every training run: progress, figures, saving, resuming, stopping.

Owns nothing of what is learned: a `Learner` does one update a step and keeps its own state. Everything random in a learner is drawn from
(seed, step), so that a run that was killed and resumed gives the same weights as one that was not (bit for bit on a CPU in float32).
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.tensorboard.writer import SummaryWriter
from tqdm import tqdm

from omni_core.errors import CheckpointError, ConfigError, TrainingError

STATE = "state.pt"
LOG = "log.jsonl"
_FIGURES_EVERY = 20  # steps between lines of the log
_CPU = torch.device("cpu")


class Learner(Protocol):
    """What a run trains."""

    def learn(self, step: int) -> Mapping[str, float]:
        """Do update number `step` (from 0). The figures to show; `loss` must be among them."""
        ...

    def validate(self, step: int, writer: SummaryWriter) -> Mapping[str, float]:
        """Figures on held-out data; samples (audio, spectrograms, pictures) go to `writer`."""
        ...

    def state(self) -> dict[str, Any]:
        """All that `restore` needs: tensors, numbers and plain containers."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave. Raises RuntimeError or ValueError when it does not fit."""
        ...

    def finish(self, folder: Path) -> None:
        """Write what the run was for."""
        ...


@dataclass(frozen=True)
class LoopConfig:
    """How long a run is and how often it looks up. Part of every training configuration, as `loop`."""

    steps: int
    validate_steps: int  #: between validations; the last step is always validated
    save_minutes: float = 3.0  #: between saves; a kill loses at most this
    minutes: float | None = None  #: of learning, validations left out: the run ends then if it has not before, its learning rates with it


class RunLength:
    """How many steps a run will have: the configuration's, or as many as its minutes will do at the pace so far.

    A learner whose rates go by it keeps one as `length`; `run_loop` tells it the time, also that of before a resume.
    """

    def __init__(self, config: LoopConfig) -> None:
        self.config = config
        self.seconds = 0.0  #: that learning has taken until now

    def __call__(self, step: int) -> int:
        """As far as can be told at `step`."""
        if self.config.minutes is None or not self.seconds:
            return self.config.steps
        return min(self.config.steps, max(step + 1, round(step * 60 * self.config.minutes / self.seconds)))


@dataclass(frozen=True)
class Team:
    """The processes that train together; alone by default."""

    main: bool = True  #: this one shows, saves and writes
    any: Callable[[bool], bool] = field(default=lambda wanted: wanted)  #: whether any process says yes


def run_loop(
    name: str, learner: Learner, config: LoopConfig, folder: Path, *, resume: bool = False, max_minutes: float | None = None, team: Team | None = None
) -> bool:
    """Train to `config.steps`, or until `max_minutes` have passed. Whether the run reached its end.

    A state is saved at the end and on Ctrl-C or SIGTERM, which wait for the end of the step and come out as KeyboardInterrupt.
    resume: go on from the state in `folder` (from the start when there is none yet). Without it an old state is an error: nothing is lost by a slip.
    Raises TrainingError (a figure that is not finite, a full disk), CheckpointError (a state of another shape) and ConfigError (minutes for a
    learner without a `RunLength`), with the step and the remedy.
    """
    team = team or Team()
    length = getattr(learner, "length", None)
    if config.minutes is not None and not isinstance(length, RunLength):
        raise ConfigError(f"{name}: loop.minutes: what this run does follows its steps, not a clock: leave it out")
    state = folder / STATE
    if state.exists() and not resume:
        raise TrainingError(f"{state} is there already: go on with --resume, or move the folder away to train anew")
    folder.mkdir(parents=True, exist_ok=True)
    step, seconds = _restore(state, learner)
    saved_step = step
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step) if team.main else _Silence(str(folder))
    bar = tqdm(total=config.steps, initial=step, desc=name, unit="step", dynamic_ncols=True, mininterval=2.0, disable=not team.main)

    def save() -> None:
        nonlocal saved_step, saved_at
        if team.main and saved_step != step:
            save_state(state, learner, step, seconds)
        saved_step, saved_at = step, time.monotonic()

    started = last = saved_at = time.monotonic()

    def ended() -> bool:
        return step >= config.steps or team.any(config.minutes is not None and seconds >= 60 * config.minutes)

    interrupts, over = _Interrupts(), ended()
    try:
        while not over and not team.any(interrupts.wanted):
            if isinstance(length, RunLength):
                length.seconds = seconds
            figures = learner.learn(step)
            bad = {key: value for key, value in figures.items() if not math.isfinite(value)}  # a bad gradient: the next loss would tell too late
            if team.any(bool(bad)):
                raise TrainingError(f"{name}: {_told(bad)} at step {step}: lower the rate, or look for bad data; {state} holds step {saved_step}")
            step += 1
            now = time.monotonic()
            seconds, last = seconds + now - last, now
            over = ended()
            bar.update()
            if step % _FIGURES_EVERY == 0 or over:
                bar.set_postfix_str(_told(figures), refresh=False)
                if team.main:
                    _write_figures(folder / LOG, writer, "train", step, seconds, figures)
            if step % config.validate_steps == 0 or over:
                found = learner.validate(step, writer)
                if team.main:
                    _write_figures(folder / LOG, writer, "validation", step, seconds, found)
                    bar.write(f"{time.strftime('%H:%M:%S')} {name} step {step}: {_told(found)}")
                last = time.monotonic()
            if team.any(max_minutes is not None and now - started > 60 * max_minutes):
                break
            if now - saved_at > 60 * config.save_minutes:
                save()
        save()
        if over and team.main:
            learner.finish(folder)
    finally:
        interrupts.restore()
        bar.close()
        writer.close()
    if interrupts.wanted:
        raise KeyboardInterrupt
    return over


class _Interrupts:
    """Ctrl-C and SIGTERM wait, so that what is saved is the state between two steps; a second signal does not wait."""

    def __init__(self) -> None:
        self.wanted = False
        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        self._before = {number: signal.signal(number, self._note) for number in numbers}

    def restore(self) -> None:
        """Put the handlers back that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


def save_state(path: Path, learner: Learner, step: int, seconds: float) -> None:
    """Write the learner's state atomically: the old one stays whole if this is killed or fails. Raises TrainingError when it can't be written."""
    part = path.with_suffix(".part")
    try:
        torch.save({"step": step, "seconds": seconds, "learner": learner.state()}, part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        part.unlink(missing_ok=True)
        raise TrainingError(f"{path}: step {step} can't be saved ({error}): make room and resume; the state before it is whole") from error


def _restore(path: Path, learner: Learner) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    try:
        saved = torch.load(path, map_location=_CPU, weights_only=True)
        learner.restore(saved["learner"])
    except Exception as error:
        remedy = "train anew in another folder, or put the old configuration back"
        raise CheckpointError(f"{path}: does not fit this configuration ({error}): {remedy}") from error
    return saved["step"], saved["seconds"]


def _told(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _write_figures(log: Path, writer: SummaryWriter, kind: str, step: int, seconds: float, figures: Mapping[str, float]) -> None:
    line = {"kind": kind, "step": step, "seconds": round(seconds, 1), **{name: round(float(value), 6) for name, value in figures.items()}}
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    for name, value in figures.items():
        writer.add_scalar(f"{kind}/{name}", value, step)


class _Silence(SummaryWriter):
    """A writer that writes nothing: what the other processes hold."""

    def __init__(self, folder: str) -> None:
        pass

    def __getattribute__(self, name: str) -> Any:
        return lambda *args, **kwargs: None

"""What an evaluation found, as plain values: figures, tables, plots and samples. Knows nothing of how they are shown, but for their units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni_core.evaluation.targets import GOALS, Goal, Unit, Verdict

Cell = str | float | int | None


@dataclass(frozen=True)
class Figure:
    """One number."""

    key: str  #: stable, such as "qa.talk.espeak.clean": see `key_of`
    value: float
    count: int  #: of how many
    of: str = "questions"  #: how many what
    unit: Unit = Unit.SHARE

    @property
    def goal(self) -> Goal | None:
        """What it should be, if that is settled."""
        return GOALS.get(self.key)

    @property
    def verdict(self) -> Verdict | None:
        """How it stands to its goal."""
        return self.goal.verdict(self.value) if self.goal else None

    def to_json(self) -> dict[str, Any]:
        """The figure and its goal."""
        goal = {"least": self.goal.least, "aim": self.goal.aim, "verdict": self.verdict} if self.goal else {}
        return {"value": self.value, "count": self.count, "of": self.of, "unit": self.unit.value} | goal


@dataclass(frozen=True)
class Table:
    """Rows of a kind."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    units: tuple[Unit | None, ...] = ()  #: of the columns; None: words
    note: str = ""

    def written(self) -> list[list[str]]:
        """The cells for people."""
        units = self.units or (None,) * len(self.columns)
        return [[_write(cell, unit) for cell, unit in zip(row, units, strict=True)] for row in self.rows]

    def to_json(self) -> list[dict[str, Cell]]:
        """A row as an object by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Bars:
    """Groups of bars, one bar for each series."""

    title: str
    series: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]  #: label and value of each series; None: not measured
    unit: Unit = Unit.SHARE
    top: float = 1.0  #: where the axis ends


@dataclass(frozen=True)
class Histogram:
    """How often a value fell where."""

    title: str
    values: tuple[float, ...]
    step: float
    unit: Unit
    marks: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Heatmap:
    """Counts by row and column."""

    title: str
    across: str  #: what the columns are
    down: str
    labels: tuple[str, ...]  #: of rows and columns alike
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Channels:
    """Sounds over the same time, one above the other, and what happened when."""

    title: str
    names: tuple[str, ...]
    waves: tuple[NDArray[np.float32], ...]  #: [N] each
    sample_rate: int  #: Hz
    marks: tuple[tuple[str, float], ...] = ()  #: s


Plot = Bars | Histogram | Heatmap | Channels


@dataclass(frozen=True, eq=False)
class Clip:
    """Something to listen to."""

    label: str
    wave: NDArray[np.float32]  #: [N], or [N, 2]: left and right
    sample_rate: int  #: Hz


@dataclass(frozen=True, eq=False)
class Sample:
    """One question with its answer, to be looked at and listened to."""

    title: str
    asked: str
    expected: str
    answered: str
    right: bool
    earlier: tuple[tuple[str, str], ...] = ()  #: turns before it, oldest first
    clips: tuple[Clip, ...] = ()
    image: bytes | None = None  #: an encoded picture
    plot: Plot | None = None


@dataclass(frozen=True)
class Suite:
    """What one suite found."""

    name: str
    title: str
    about: str  #: what was measured and how, a sentence or two
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    samples: tuple[Sample, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Figures by key, tables by title."""
        return {
            "figures": {figure.key: figure.to_json() for figure in self.figures},
            "tables": {table.title: table.to_json() for table in self.tables},
        }


@dataclass(frozen=True)
class Evaluation:
    """All that one run of `omni eval` found, and how to repeat it."""

    model: str
    machine: str
    date: str  #: ISO 8601
    command: str
    seed: int
    seconds: float
    suites: Sequence[Suite]
    not_run: dict[str, str] = field(default_factory=dict)  #: why, by suite

    @property
    def figures(self) -> list[Figure]:
        """Of every suite."""
        return [figure for suite in self.suites for figure in suite.figures]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        facts = {key: getattr(self, key) for key in ("model", "machine", "date", "command", "seed", "seconds")}
        return facts | {"suites": {suite.name: suite.to_json() for suite in self.suites}, "not_run": self.not_run}


def _write(cell: Cell, unit: Unit | None) -> str:
    if unit is not None and not isinstance(cell, str):
        return unit.write(cell)
    return "–" if cell is None else str(cell)

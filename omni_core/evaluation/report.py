"""One HTML page that holds all that an evaluation found: figures beside their goals, tables, plots, sounds and pictures.

It loads nothing from anywhere, so that it can be sent, kept and opened as one file.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from omni_core.evaluation.plots import bullet, draw
from omni_core.evaluation.results import Evaluation, Figure, Sample, Suite, Table
from omni_core.evaluation.style import CSS
from omni_core.evaluation.targets import GOALS, Goal, Verdict

MEDIA_BYTES = 2_000_000  #: of sounds and pictures, before base64 adds a third; samples beyond are left out

_VERDICTS = {Verdict.MET: "aim met", Verdict.LEAST: "least met", Verdict.SHORT: "short"}
_OPEN_ROWS = 14  #: a longer table is folded


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write `folder`/index.html and give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(render(evaluation), encoding="utf-8")
    return path


def render(evaluation: Evaluation) -> str:
    """The page."""
    room = [MEDIA_BYTES]
    links = "".join(f'<a href="#{suite.name}">{escape(suite.title)}</a>' for suite in evaluation.suites)
    sections = "".join(_suite(suite, room) for suite in evaluation.suites)
    name = escape(evaluation.model)
    facts = f"{evaluation.date} in {_minutes(evaluation.seconds)} on {evaluation.machine}, seed {evaluation.seed}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: how well it hears, sees, answers and speaks</title>
<style>
{CSS}
</style>
</head>
<body>
<main>
<h1>{name}: how well it hears, sees, answers and speaks</h1>
<div class="soft">Measured on {escape(facts)}</div>
<pre>{escape(evaluation.command)}</pre>
{_goals(evaluation)}
<nav>{links}</nav>
{sections}
<footer>Omni Duplex. Voices, wordings, number pairs and pictures of the tests are held out of training.</footer>
</main>
</body>
</html>
"""


def _goals(evaluation: Evaluation) -> str:
    """Every goal of the suites that ran, or were to run, with its figure."""
    figures = {figure.key: figure for figure in evaluation.figures}
    asked = {suite.name for suite in evaluation.suites} | set(evaluation.not_run)
    goals = [goal for goal in GOALS.values() if goal.figure.partition(".")[0] in asked]
    counts = Counter(figures[goal.figure].verdict for goal in goals if goal.figure in figures)
    tiles = "".join(
        f'<div class="tile {verdict}"><b>{counts[verdict]}</b><span>{words}</span></div>'
        for verdict, words in ((Verdict.MET, "reach the aim"), (Verdict.LEAST, "reach the least asked"), (Verdict.SHORT, "fall short"))
    )
    missing = len(goals) - counts.total()
    tiles += f'<div class="tile none"><b>{missing}</b><span>not measured here</span></div>' if missing else ""
    rows = "".join(_goal(goal, figures.get(goal.figure)) for goal in goals)
    left_out = "".join(f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in evaluation.not_run.items())
    not_run = f'<div class="card"><h3>Not run</h3><ul class="soft">{left_out}</ul></div>' if left_out else ""
    if not goals:
        return not_run
    head = "".join(f'<th class="{kind}">{name}</th>' for name, kind in _GOAL_COLUMNS)
    return (
        f'<div class="tiles">{tiles}</div><div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{not_run}'
    )


_GOAL_COLUMNS = (("goal", ""), ("figure", "n"), ("", ""), ("least", "n"), ("aim", "n"), ("", ""), ("measured on", "n"))


def _goal(goal: Goal, figure: Figure | None) -> str:
    value, bar, pill, on = "–", "", '<span class="pill none">not measured</span>', ""
    if figure is not None and figure.verdict is not None:
        value, bar, on = figure.unit.write(figure.value), bullet(figure), f"{figure.count:,} {figure.of}"
        pill = f'<span class="pill {figure.verdict}">{_VERDICTS[figure.verdict]}</span>'
    return (
        f'<tr><td>{escape(goal.name)}</td><td class="n main">{value}</td><td>{bar}</td><td class="n">{goal.unit.write(goal.least)}</td>'
        f'<td class="n">{goal.unit.write(goal.aim)}</td><td>{pill}</td><td class="n soft">{escape(on)}</td></tr>'
    )


def _suite(suite: Suite, room: list[int]) -> str:
    plots = "".join(map(draw, suite.plots))
    shown = "".join(filter(None, (_sample(sample, room) for sample in suite.samples)))
    return "".join(
        (
            f'<section id="{suite.name}"><h2>{escape(suite.title)}</h2><p class="about">{escape(suite.about)}</p>',
            f'<div class="plots">{plots}</div>' if plots else "",
            "".join(map(_table, suite.tables)),
            f'<div class="samples">{shown}</div>' if shown else "",
            "</section>",
        )
    )


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    numbers = [unit is not None for unit in table.units] or [False] * len(table.columns)

    def row(cells: Sequence[str], tag: str) -> str:
        listed = (f"<{tag}{' class=n' if number else ''}>{escape(cell)}</{tag}>" for cell, number in zip(cells, numbers, strict=True))
        return f"<tr>{''.join(listed)}</tr>"

    note = f'<p class="soft">{escape(table.note)}</p>' if table.note else ""
    unfolded = " open" if len(table.rows) <= _OPEN_ROWS else ""
    body = "".join(row(cells, "td") for cells in table.written())
    return (
        f'<details class="card"{unfolded}><summary>{escape(table.title)}</summary><div class="scroll">'
        f"<table><thead>{row(table.columns, 'th')}</thead><tbody>{body}</tbody></table></div>{note}</details>"
    )


def _sample(sample: Sample, room: list[int]) -> str:
    """A card; empty when its sounds and picture no longer fit."""
    sounds = [(clip.label, encode_clip(clip.wave, clip.sample_rate)) for clip in sample.clips]
    room[0] -= sum(len(data) for _, data in sounds) + len(sample.image or b"")
    if room[0] < 0:
        return ""
    verdict, words = ("met", "right") if sample.right else ("short", "wrong")
    picture = f'<img alt="what the model was shown" src="{_inline("image/png", sample.image)}">' if sample.image else ""
    said = [*((f"turn {n}", f"{question} – {answer}") for n, (question, answer) in enumerate(sample.earlier, 1)), ("asked", sample.asked)]
    said += [("expected", sample.expected), ("answered", sample.answered or "(no words)")]
    words_said = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in said if text)
    players = "".join(
        f'<span>{escape(label)}</span><audio controls preload="none" src="{_inline("audio/mpeg", data)}"></audio>' for label, data in sounds
    )
    drawing = draw(sample.plot) if sample.plot else ""
    kind = "sample wide" if drawing else "sample"
    return (
        f'<article class="{kind}"><header><span>{escape(sample.title)}</span><span class="pill {verdict}">{words}</span></header>{picture}'
        f'<dl>{words_said}</dl>{drawing}<div class="audio">{players}</div></article>'
    )


def encode_clip(wave: NDArray[np.float32], sample_rate: int) -> bytes:
    """[N], or [N, 2] of two channels -> MP3, which every browser plays."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1, 1), sample_rate, format="MP3")
    return buffer.getvalue()


def _inline(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


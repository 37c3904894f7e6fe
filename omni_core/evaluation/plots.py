"""Plots as inline SVG, drawn by hand so that a report needs nothing beside itself. Colours come from the page's style (`report.css`)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from html import escape
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from omni_core.evaluation.results import Bars, Channels, Figure, Heatmap, Histogram, Plot
from omni_core.evaluation.targets import Unit

_WIDTH = 560
_SERIES = 6  #: colours that the style has


def draw(plot: Plot) -> str:
    """A <figure> of any plot."""
    match plot:
        case Bars():
            return _bars(plot)
        case Histogram():
            return _histogram(plot)
        case Heatmap():
            return _heatmap(plot)
        case Channels():
            return _channels(plot)
        case _:
            assert_never(plot)


def bullet(figure: Figure) -> str:
    """A figure between nothing and its goal: a bar, a tick for the least that is asked, a tick for the aim. Empty without a goal."""
    goal = figure.goal
    if goal is None:
        return ""
    top = 1.0 if goal.rising and goal.unit is Unit.SHARE else 1.25 * max(figure.value, goal.least, goal.aim)
    width = 180
    ticks = ((goal.least, "least"), (goal.aim, "aim"))
    marks = "".join(
        f'<line class="{name}" x1="{x:.1f}" x2="{x:.1f}" y1="1" y2="15"><title>{name}: {goal.unit.write(bound)}</title></line>'
        for bound, name in ticks
        for x in (width * bound / top,)
    )
    bar = f'<rect class="{figure.verdict}" x="0" y="5" width="{width * min(figure.value / top, 1):.1f}" height="6" rx="2"/>'
    return f'<svg class="bullet" viewBox="0 0 {width} 16" role="img"><rect class="track" y="5" width="{width}" height="6" rx="2"/>{bar}{marks}</svg>'


def _bars(plot: Bars) -> str:
    left, right, thick, gap = 120, 52, 13, 14
    group = thick * len(plot.series) + gap
    height, span = group * len(plot.rows) + 26, _WIDTH - left - right
    parts = [_grid(left, span, height - 20, [plot.top * n / 4 for n in range(5)], plot.top, plot.unit)]
    for number, (label, values) in enumerate(plot.rows):
        y = number * group + gap / 2
        parts.append(_text(left - 10, y + thick * len(plot.series) / 2 + 4, label, "end", "name"))
        for series, value in enumerate(values):
            if value is None:
                continue
            top = y + series * thick
            width = span * min(value / plot.top, 1)
            tip = f"{label}, {plot.series[series]}: {plot.unit.write(value)}"
            parts.append(
                f'<rect class="s{series % _SERIES}" x="{left}" y="{top:.1f}" width="{max(width, 1):.1f}" height="{thick - 2}" rx="2">'
                f"<title>{escape(tip)}</title></rect>"
            )
            parts.append(_text(left + width + 5, top + thick - 3, plot.unit.write(value), "start", "value"))
    keys = [f'<span><i class="s{n % _SERIES}"></i>{escape(name)}</span>' for n, name in enumerate(plot.series)] if len(plot.series) > 1 else []
    return _figure(plot.title, _WIDTH, height, parts, "".join(keys))


def _histogram(plot: Histogram) -> str:
    height, bottom = 230, 34
    low = plot.step * math.floor(min((0.0, *plot.values)) / plot.step)
    high = plot.step * (math.floor(max((plot.step, *plot.values, *(value for _, value in plot.marks))) / plot.step) + 1)
    counts = Counter(math.floor((value - low) / plot.step) for value in plot.values)
    most = max(counts.values(), default=1)
    span, tall = _WIDTH - 50, height - bottom - 34
    bins = round((high - low) / plot.step)

    def at(value: float) -> float:
        return 40 + span * (value - low) / (high - low)

    parts = []
    for n in range(bins):
        tip = f"{plot.unit.write(low + n * plot.step)} to {plot.unit.write(low + (n + 1) * plot.step)}: {counts[n]}"
        h = tall * counts[n] / most
        parts.append(
            f'<rect class="s0" x="{at(low + n * plot.step) + 1:.1f}" y="{34 + tall - h:.1f}" width="{max(span / bins - 2, 1):.1f}" height="{h:.1f}" '
            f'rx="2"><title>{escape(tip)}</title></rect>'
        )
    parts.append(f'<line class="axis" x1="40" x2="{40 + span}" y1="{34 + tall}" y2="{34 + tall}"/>')
    stride = plot.step * max(1, math.ceil(bins / 8))
    ticks = [low + n * stride for n in range(math.floor((high - low) / stride + 1e-9) + 1)]
    parts += [_text(at(tick), height - 14, plot.unit.write(tick), "middle", "value") for tick in ticks]
    parts += [_text(34, 34 + 4, str(most), "end", "value"), _text(34, 34 + tall + 4, "0", "end", "value")]
    for n, (name, value) in enumerate(plot.marks):
        x, side = at(value), "end" if at(value) > _WIDTH * 0.7 else "start"
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{8 + 13 * (n % 2)}" y2="{34 + tall}"/>')
        parts.append(_text(x + (5 if side == "start" else -5), 17 + 13 * (n % 2), f"{name} {plot.unit.write(value)}", side, "name"))
    return _figure(plot.title, _WIDTH, height, parts)


def _heatmap(plot: Heatmap) -> str:
    cell, left, top = 30, 96, 66
    size, most = cell * len(plot.labels), max(map(max, plot.counts)) or 1
    parts: list[str] = []
    for n, label in enumerate(plot.labels):
        x, y = left + (n + 0.5) * cell, top + (n + 0.5) * cell
        parts.append(_text(left - 8, y + 4, label, "end", "name"))
        parts.append(f'<text class="name" transform="translate({x + 4:.0f} {top - 8}) rotate(-50)">{escape(label)}</text>')
        for m, count in enumerate(plot.counts[n]):
            tip = f"{plot.down} “{label}”, {plot.across} “{plot.labels[m]}”: {count}"
            corner = f'x="{left + m * cell + 1}" y="{top + n * cell + 1}" width="{cell - 2}" height="{cell - 2}" rx="3"'
            parts.append(f'<rect class="cell" {corner}/>')
            if count:
                strength = 0.25 + 0.75 * count / most
                parts.append(f'<rect class="hot" {corner} opacity="{strength:.2f}"><title>{escape(tip)}</title></rect>')
                parts.append(
                    _text(left + (m + 0.5) * cell, y + 4, str(count), "middle", "over" if strength > 0.6 else "name"),
                )
    axes = f"<span>{escape(plot.down)} ↓</span><span>{escape(plot.across)} →</span>"
    return _figure(plot.title, max(left + size + 50, 330), top + size + 6, parts, axes)


def _channels(plot: Channels) -> str:
    """Envelopes, each to its own peak, on one axis of time; every mark a line with its name on a row of its own while rows are free."""
    left, tall, row, rows = 74, 62, 14, 6
    width, top = 2 * _WIDTH, 6 + row * rows
    seconds = max(len(wave) for wave in plot.waves) / plot.sample_rate
    span, foot = width - left - 10, top + tall * len(plot.waves)
    parts = [_grid(left, span, foot, range(math.floor(seconds) + 1), seconds, Unit.NUMBER)]
    for number, (name, wave) in enumerate(zip(plot.names, plot.waves, strict=True)):
        middle = top + tall * (number + 0.5)
        outline = _envelope(wave, left, round(span * len(wave) / plot.sample_rate / seconds), middle, 0.46 * tall)
        parts.append(f'<path class="s{2 * number % _SERIES}" d="{outline}"><title>{escape(name)}</title></path>')
        parts.append(_text(left - 8, middle + 4, name, "end", "name"))
    for number, (name, at) in enumerate(sorted(plot.marks, key=lambda mark: mark[1])):
        x, y = left + span * at / seconds, row * (1 + number % rows)
        side = "end" if x > 0.8 * width else "start"
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - row + 4}" y2="{foot}"><title>{escape(name)}, {at:.2f} s</title></line>')
        parts.append(_text(x + (4 if side == "start" else -4), y, f"{name} {at:.2f}", side, "value"))
    return _figure(plot.title, width, foot + 20, parts)


def _envelope(wave: NDArray[np.float32], left: float, columns: int, middle: float, tall: float) -> str:
    """The path around the peaks of `wave` in `columns` columns."""
    peaks = [float(np.abs(part).max(initial=0.0)) for part in np.array_split(wave, max(1, columns // 2))]
    loudest = max(*peaks, 1e-3)
    upper = [f"{left + 2 * n} {middle - tall * peak / loudest:.1f}" for n, peak in enumerate(peaks)]
    lower = [f"{left + 2 * n} {middle + tall * peak / loudest + 0.6:.1f}" for n, peak in enumerate(peaks)]
    return f"M{'L'.join(upper)}L{'L'.join(reversed(lower))}Z"


def _grid(left: float, span: float, height: float, ticks: Iterable[float], top: float, unit: Unit) -> str:
    lines = []
    for tick in ticks:
        x = left + span * tick / top
        lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height:.0f}"/>')
        lines.append(_text(x, height + 15, unit.write(tick).replace(".0 ", " "), "middle", "value"))
    return "".join(lines)


def _text(x: float, y: float, words: str, anchor: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _figure(title: str, width: float, height: float, parts: Iterable[str], legend: str = "") -> str:
    named = escape(title)
    drawing = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" aria-label="{named}">{"".join(parts)}</svg>'
    return f'<figure><figcaption>{named}<span class="legend">{legend}</span></figcaption>{drawing}</figure>'

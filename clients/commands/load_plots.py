"""Lines over time or over users, as inline SVG in the colours of `omni_core.evaluation.style`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from omni_core.evaluation.targets import Unit

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 250, 62, 14, 12, 40
_MARKED = 24  #: a line of no more points shows them


@dataclass(frozen=True)
class Lines:
    """Some lines over one axis; y None: nothing was measured there."""

    title: str
    across: str  #: what x is
    series: Sequence[tuple[str, Sequence[tuple[float, float | None]]]]
    unit: Unit  #: of y
    late_above: bool = False  #: above 0 is where it should not be

    def draw(self) -> str:
        """A <figure>."""
        points = [point for _, line in self.series for point in line if point[1] is not None]
        if not points:
            return ""
        xs, ys = [x for x, _ in points], [y for _, y in points if y is not None]
        left, right = min(xs), max(max(xs), min(xs) + 1e-9)
        ticks = nice_ticks(min(0.0, *ys), max(0.0, *ys))
        low, high = ticks[0], ticks[-1]

        def at(x: float, y: float) -> tuple[float, float]:
            across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (x - left) / (right - left)
            return across, _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - y) / (high - low)

        parts = [self._late(at(left, high), at(right, 0.0))] if self.late_above and high > 0 else []
        for tick in ticks:
            (x0, y), (x1, _) = at(left, tick), at(right, tick)
            parts.append(f'<line class="{"axis" if tick == 0 else "grid"}" x1="{x0:.1f}" x2="{x1:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="value" x="{x0 - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{self.unit.write(tick)}</text>')
        places = sorted(set(xs)) if len(set(xs)) <= 8 else [tick for tick in nice_ticks(left, right) if left <= tick <= right]
        for tick in places:
            x, _ = at(tick, 0.0)
            parts.append(f'<text class="value" x="{x:.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text class="value" x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(self.across)}</text>')
        for number, (name, line) in enumerate(self.series):
            drawn = [(x, y, *at(x, y)) for x, y in line if y is not None]
            path = " ".join(f"{px:.1f},{py:.1f}" for _, _, px, py in drawn)
            parts.append(f'<polyline points="{path}" style="fill:none;stroke:var(--s{_COLOURS[number]});stroke-width:2;stroke-linejoin:round"/>')
            if len(drawn) <= _MARKED:
                parts += [
                    f'<circle class="s{_COLOURS[number]}" cx="{px:.1f}" cy="{py:.1f}" r="3.5">'
                    f"<title>{escape(f'{name}: {self.unit.write(y)} at {x:g} {self.across}')}</title></circle>"
                    for x, y, px, py in drawn
                ]
        keys = "".join(f'<span><i class="s{_COLOURS[number]}"></i>{escape(name)}</span>' for number, (name, _) in enumerate(self.series))
        named = escape(self.title)
        drawing = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" style="max-width:{_WIDTH}px" role="img" aria-label="{named}">{"".join(parts)}</svg>'
        return f'<figure><figcaption>{named}<span class="legend">{keys}</span></figcaption>{drawing}</figure>'

    @staticmethod
    def _late(begin: tuple[float, float], end: tuple[float, float]) -> str:
        box = f'x="{begin[0]:.1f}" y="{begin[1]:.1f}" width="{end[0] - begin[0]:.1f}" height="{end[1] - begin[1]:.1f}"'
        word = f'<text class="value" x="{begin[0] + 6:.1f}" y="{begin[1] + 14:.1f}">late</text>'
        return f'<rect {box} style="fill:var(--short);opacity:.10"/>{word}'


_COLOURS = (0, 2, 4, 5)  # of the style's; those between are their shades


def nice_ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers around both."""
    span = max(high - low, 1e-9)
    magnitude = 10 ** math.floor(math.log10(span / 5))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if magnitude * factor >= span / 6)
    return [step * number for number in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]

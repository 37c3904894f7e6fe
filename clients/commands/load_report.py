"""What was found under load as one HTML page with plots, which loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from clients.commands.load_figures import Load, tables
from clients.commands.load_plots import Lines, nice_ticks
from clients.loadtest.run import Round
from clients.loadtest.tally import FAULTS, Distribution
from omni_core.evaluation.plots import draw
from omni_core.evaluation.results import Histogram, Table
from omni_core.evaluation.style import CSS
from omni_core.evaluation.targets import Unit

_BINS = 5  #: histograms have about so many times what an axis has marks
_SHOWN = 99.5  #: per cent of a histogram: the rest would make it flat

_DOES = {
    "talk": "Every user asks aloud, hears the answer to its end, pauses 0.5 to 1.5 s, and asks again.",
    "duplex": "Every user asks aloud and hears the answer to its end, but a third of the answers are talked into at a random moment.",
    "speak": "Every user asks for a long story in writing, hears it to its end, and asks for the next at once: all hear answers all the time.",
    "mixed": "Users come and go at random. Each talks, talks and interrupts, or asks for stories in writing.",
}


def render(load: Load) -> str:
    """The page."""
    plan = load.rounds[0].plan
    counts = ", ".join(str(found.plan.users) for found in load.ordered)
    title = f"{load.server} under load"
    facts = f"{load.date} on {load.machine}, {plan.seconds:g} s each with {counts} users, seed {plan.seed}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{CSS}
</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="soft">{escape(_DOES[plan.scenario.value])} Over real WebSockets; measured on {escape(facts)}.</p>
<pre>{escape(load.command)}</pre>
{_tiles(load)}
{_notes(load)}
{_curves(load)}
{"".join(map(_table, tables(load)))}
{"".join(map(_round, load.ordered))}
<footer>Omni Duplex. Lateness: from the moment when all that came before had been played to a chunk’s arrival; below 0 it was early.</footer>
</main>
</body>
</html>
"""


def _tiles(load: Load) -> str:
    """The best round in four figures."""
    best = next((found for found in load.ordered if found.plan.users == load.most), load.ordered[0])
    total, late = best.total, best.total.lateness.percentile(99)
    told = sum(total.counts[fault] for fault in FAULTS)
    tiles = [
        (f"{load.most}", "users without a late chunk (99 %)", "met" if load.most else "short"),
        (f"{best.speaking:.1f}", f"heard answers at the same time, with {best.plan.users} users", ""),
        (Unit.MS.write(late), "lateness of their chunks, p99", "short" if late is None or late > 0 else ""),
        (Unit.MS.write(total.ttfa.percentile(50)), "to their first audio, p50, at the client", ""),
        (f"{told}", "of their calls and questions went wrong", "short" if told else ""),
    ]
    shown = "".join(f'<div class="tile {kind}"><b>{figure}</b><span>{escape(words)}</span></div>' for figure, words, kind in tiles)
    return f'<div class="tiles">{shown}</div>'


def _notes(load: Load) -> str:
    """What a reader must know beside the figures."""
    notes: list[str] = []
    for found in load.ordered:
        of = f"{found.plan.users} users"
        ended = "It was stopped early." if found.stopped else found.error
        notes += [f"{of}: {words}" for words in (ended, found.warning) if words]
        notes += [f"{of}: {count} × {words}" for words, count in found.total.problems.most_common()]
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<div class="card"><h3>To be known</h3><ul class="soft">{listed}</ul></div>' if notes else ""


def _curves(load: Load) -> str:
    """Over users; nothing of a single round."""
    rounds = load.ordered
    if len(rounds) < 2:
        return ""

    def line(name: str, percent: float, distribution: str) -> tuple[str, list[tuple[float, float | None]]]:
        return name, [(found.plan.users, getattr(found.total, distribution).percentile(percent)) for found in rounds]

    lateness = [line(name, percent, "lateness") for name, percent in (("p50", 50), ("p95", 95), ("p99", 99), ("max", 100))]
    ttfa = [line("client p50", 50, "ttfa"), line("client p95", 95, "ttfa"), line("server p50", 50, "server_ttfa")]
    at_once = [("hearing answers", [(float(found.plan.users), found.speaking) for found in rounds])]
    cores = [("server", [(float(found.plan.users), found.server_cores) for found in rounds])]
    cores.append(("users", [(float(found.plan.users), found.generator_cores) for found in rounds]))
    plots = (
        Lines("Lateness of chunks", "users", lateness, Unit.MS, late_above=True),
        Lines("Time to the first audio", "users", ttfa, Unit.MS),
        Lines("Users who heard answers at the same time", "users", at_once, Unit.NUMBER),
        Lines("Cores in use", "users", cores, Unit.NUMBER),
    )
    return f'<div class="plots" style="margin-top:20px">{"".join(plot.draw() for plot in plots)}</div>'


def _round(found: Round) -> str:
    """What happened when, and how it was spread."""
    moments = [moment for _, moment in sorted(found.moments.items()) if moment.seconds > 0]

    def line(name: str, percent: float) -> tuple[str, list[tuple[float, float | None]]]:
        return name, [(moment.begins_s + moment.seconds / 2, moment.tally.lateness.percentile(percent)) for moment in moments]

    users = [
        (name, [(moment.begins_s + moment.seconds / 2, getattr(moment.tally, total) / moment.seconds) for moment in moments])
        for name, total in (("connected", "online_s"), ("hearing answers", "speaking_s"))
    ]
    plots = [
        Lines("Lateness of chunks over time", "s", [line("p50", 50), line("p95", 95), line("max", 100)], Unit.MS, late_above=True).draw(),
        Lines("Users over time", "s", users, Unit.NUMBER).draw(),
        *_histograms((("Time to the first audio, client", found.total.ttfa), ("Time to the first audio, server", found.total.server_ttfa))),
        *_histograms((("Onset of an interruption to silence", found.total.stop),)),
    ]
    return f'<section><h2>{found.plan.users} users</h2><div class="plots">{"".join(plots)}</div></section>'


def _histograms(measured: Sequence[tuple[str, Distribution]]) -> Iterator[str]:
    for title, times in measured:
        most = times.percentile(_SHOWN)
        if most is None:
            continue
        values = tuple(value for value in times.values() if value <= most)
        ticks = nice_ticks(0.0, max(most, 1.0))
        marks = tuple((name, value) for name, percent in (("p50", 50), ("p95", 95)) if (value := times.percentile(percent)) is not None)
        yield draw(Histogram(title, values, (ticks[1] - ticks[0]) / _BINS, Unit.MS, marks))


def _table(table: Table) -> str:
    kinds = ["" if unit is None else " class=n" for unit in table.units]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(table.columns, kinds, strict=True))
    body = "".join(f"<tr>{''.join(f'<td{kind}>{escape(cell)}</td>' for cell, kind in zip(row, kinds, strict=True))}</tr>" for row in table.written())
    shown = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f'<div class="card"><h3>{escape(table.title)}</h3>{shown}<p class="soft">{escape(table.note)}</p></div>'

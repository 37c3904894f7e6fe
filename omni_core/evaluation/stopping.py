"""Does the model stop when it is told to? Owns the suite `irq`: `irq.measure` as figures, tables and plots, with scenes to listen to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from omni_core.codec.base import SAMPLE_RATE, Codec
from omni_core.config import ListenerConfig
from omni_core.datagen.interruptions import Material, SceneConfig, draw_scene
from omni_core.evaluation.irq import AT_10_DB, CLEAN, FRAME_S, IrqReport, Stops, measure, statuses
from omni_core.evaluation.results import Bars, Clip, Figure, Histogram, Plot, Sample, Suite, Table
from omni_core.evaluation.targets import Unit
from omni_core.models import OmniModel

COMMANDS = 400  #: in each condition
HOURS = 8.0  #: without a command


def run(
    model: OmniModel, codec: Codec, listener: ListenerConfig, material: Material, *, limit: int | None, seed: int, listenable: bool
) -> Suite:
    """Measure with at most `limit` commands in each condition, and as much less of the hours; `listenable` adds samples."""
    commands = min(limit or COMMANDS, COMMANDS)
    report = measure(model, codec, listener, material, hours=HOURS * commands / COMMANDS, commands=commands, seed=seed)
    kinds = (("clean", CLEAN), ("10 dB", AT_10_DB)) if listenable else ()
    return suite_of(report, [_sample(model, codec, listener, material, name, config, seed) for name, config in kinds])


def suite_of(report: IrqReport, samples: Sequence[Sample] = ()) -> Suite:
    """What was measured, as it is shown."""
    return Suite(
        name="irq",
        title="Stopping when told to",
        about="“Stop omni” in held-out voices over quiet, speech, babble, music, noise and the echo of the model’s own answers, read from codes "
        f"alone; and hours of sound without it. Coding and listening went {report.times_real_time:.0f} times as fast as real time.",
        figures=tuple(_figures(report)),
        tables=_tables(report),
        plots=tuple(_plots(report)),
        samples=tuple(samples),
    )


def _figures(report: IrqReport) -> Iterator[Figure]:
    for name, stops in (("clean", report.clean), ("10_db", report.at_10_db)):
        yield Figure(f"irq.misses.{name}", stops.missed, stops.commands, "commands")
        yield Figure(f"irq.early.{name}", stops.early, stops.commands, "commands")
    if delays := report.clean.delays_ms + report.at_10_db.delays_ms:
        yield Figure("irq.delay.median", float(np.percentile(delays, 50)), len(delays), "commands", Unit.MS)
        yield Figure("irq.delay.p95", float(np.percentile(delays, 95)), len(delays), "commands", Unit.MS)
    alarms = report.false_alarms
    yield Figure("irq.false_alarms_per_hour", alarms.per_hour, round(alarms.hours), "hours", Unit.PER_HOUR)
    yield Figure("irq.near_misses", report.near_miss_rate, sum(count for count, _ in report.near_misses.values()), "phrases")


def _tables(report: IrqReport) -> tuple[Table, ...]:
    stops = tuple(_stops_row(name, stops) for name, stops in (("clean", report.clean), ("10 dB", report.at_10_db)))
    alarms = tuple((kind, found.hours, found.alarms, found.per_hour) for kind, found in report.negatives.items())
    near = sorted(((text, count, share) for text, (count, share) in report.near_misses.items()), key=lambda row: row[2], reverse=True)
    return (
        Table(
            "Commands",
            ("condition", "commands", "missed", "too early", "median", "95 %"),
            stops,
            (None, Unit.NUMBER, Unit.SHARE, Unit.SHARE, Unit.MS, Unit.MS),
            "Missed: no irq until 0.9 s after the phrase. Too early: more than 0.1 s before its end. Times are counted from the phrase’s end.",
        ),
        Table("False alarms", ("sound", "hours", "alarms", "per hour"), alarms, (None, Unit.NUMBER, Unit.NUMBER, Unit.PER_HOUR)),
        Table("Near misses", ("phrase", "times said", "triggered"), tuple(near), (None, Unit.NUMBER, Unit.SHARE)),
    )


def _stops_row(name: str, stops: Stops) -> tuple[str, int, float, float, float | None, float | None]:
    median, late = (stops.delay_ms(percentile) if stops.delays_ms else None for percentile in (50, 95))
    return name, stops.commands, stops.missed, stops.early, median, late


def _plots(report: IrqReport) -> Iterator[Plot]:
    if delays := report.clean.delays_ms + report.at_10_db.delays_ms:
        marks = (("median", float(np.percentile(delays, 50))), ("95 %", float(np.percentile(delays, 95))))
        yield Histogram("From the phrase’s end to the status", delays, 25, Unit.MS, marks)
    rates = {kind: found.per_hour for kind, found in report.negatives.items()}
    rows = tuple((kind, (rate,)) for kind, rate in rates.items())
    yield Bars("False alarms per hour", ("false alarms",), rows, Unit.PER_HOUR, top=max(1.0, *rates.values()))


def _sample(
    model: OmniModel, codec: Codec, listener: ListenerConfig, material: Material, name: str, config: SceneConfig, seed: int
) -> Sample:
    scene = draw_scene(np.random.default_rng((seed, 9)), material, config)
    (said,) = statuses(model, codec, listener, [scene])
    irq_s = (int(said.argmax()) + 1) * FRAME_S if said.any() else None
    assert scene.irq_at is not None
    return Sample(
        title=f"{name}, {scene.bed}{'' if scene.echo_db is None else ', with echo'}",
        asked="“Stop omni”",
        expected=f"irq at {scene.irq_at:.2f} s",
        answered="no irq" if irq_s is None else f"irq at {irq_s:.2f} s",
        right=irq_s is not None and irq_s > scene.irq_at - 0.1,
        clips=(Clip("scene", scene.wave, SAMPLE_RATE),),
    )

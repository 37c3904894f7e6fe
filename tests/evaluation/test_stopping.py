"""What `irq.measure` found becomes figures beside goals."""

import numpy as np
import pytest

from omni_core.evaluation.irq import FalseAlarms, IrqReport, Stops
from omni_core.evaluation.results import Bars, Histogram
from omni_core.evaluation.stopping import suite_of
from omni_core.evaluation.targets import Verdict

DELAYS = tuple(np.linspace(0, 300, 97))


CLEAN, NOISY = Stops(100, 0.03, 0.0, DELAYS), Stops(100, 0.2, 0.01, DELAYS)


def _report(clean=CLEAN, noisy=NOISY):
    negatives = {"talk": FalseAlarms(4.0, 3), "music + echo": FalseAlarms(4.0, 0)}
    return IrqReport(clean, noisy, negatives, {"don't stop": (30, 0.1), "omni": (10, 0.0)}, 240.0)


def test_figures_and_their_verdicts():
    figures = {figure.key: figure for figure in suite_of(_report()).figures}
    assert figures["irq.misses.clean"].verdict is Verdict.LEAST
    assert figures["irq.misses.10_db"].verdict is Verdict.SHORT
    assert (figures["irq.false_alarms_per_hour"].value, figures["irq.false_alarms_per_hour"].count) == (3 / 8, 8)
    assert figures["irq.delay.median"].value == pytest.approx(150)
    assert figures["irq.delay.p95"].verdict is Verdict.MET
    assert figures["irq.near_misses"].value == pytest.approx(3 / 40)


def test_plots_and_tables():
    suite = suite_of(_report())
    histogram, bars = suite.plots
    assert isinstance(histogram, Histogram)
    assert len(histogram.values) == 2 * len(DELAYS)
    assert isinstance(bars, Bars)
    assert bars.rows == (("talk", (0.75,)), ("music + echo", (0.0,)))
    assert suite.tables[2].rows[0] == ("don't stop", 30, 0.1)


def test_where_every_command_was_missed_there_is_no_delay():
    missed = Stops(10, 1.0, 0.0, ())
    suite = suite_of(_report(missed, missed))
    assert not [figure for figure in suite.figures if "delay" in figure.key]
    assert [type(plot) for plot in suite.plots] == [Bars]
    assert suite.tables[0].written()[0] == ["clean", "10", "100.0 %", "0.0 %", "–", "–"]

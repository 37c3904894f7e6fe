"""Ten minutes of conversation: nothing grows, and nothing runs dry while the server keeps up."""

from __future__ import annotations

import time

import numpy as np
import pytest

from clients.python.audio import RATE, Wave
from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor, question

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1800)]

MINUTES = 10
GROWTH_MB = 20
NAMES = ("capital-france", "joke", "who-are-you", "spider-legs", "story", "favourite-colour", "sky-blue", "bees", "mountain", "ocean")


def heap_mb(visitor: Visitor) -> float:
    """Of JavaScript, after a collection."""
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("HeapProfiler.collectGarbage")
    metrics = {each["name"]: each["value"] for each in (session.send("Performance.enable"), session.send("Performance.getMetrics"))[1]["metrics"]}
    session.detach()
    return metrics["JSHeapUsedSize"] / 2**20


def test_ten_minutes(visit: Visit) -> None:
    said: list[float | Wave] = [1.0]
    while sum(len(part) / RATE if isinstance(part, np.ndarray) else part for part in said) < 60 * MINUTES:
        said += [question(f"{NAMES[len(said) // 2 % len(NAMES)]}-annie"), 9.0]
    visitor = visit(*said, 10.0)
    visitor.talk()
    visitor.page.click("#figures-button")
    visitor.answered(1)
    before, started = heap_mb(visitor), time.monotonic()
    while time.monotonic() - started < 60 * MINUTES - 15:
        visitor.page.wait_for_timeout(5_000)
    after = heap_mb(visitor)
    answers = visitor.items("assistant")
    underruns = int(visitor.page.inner_text("#figure-underruns"))
    print(f"\n{len(answers)} answers; JavaScript heap {before:.1f} MB, then {after:.1f} MB; {underruns} underruns")
    assert len(answers) >= 5 * MINUTES * 0.9
    assert after - before < GROWTH_MB
    assert underruns == 0
    assert visitor.complaints == []

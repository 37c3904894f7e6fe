"""What is started again, when, and what is not."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path

import pytest

from omni_core.engine.supervisor import Supervised
from omni_core.errors import CheckpointError, EngineClosed

SHORT_LIFE = """
import sys, time
from omni_core.engine.supervisor import Lifeline
Lifeline(int(sys.argv[2])).ready("a child")
open(sys.argv[1], "a").write(f"{time.monotonic()}\\n")
"""
FAILURE = """
import sys
from omni_core.engine.supervisor import Lifeline
from omni_core.errors import CheckpointError
Lifeline(int(sys.argv[1])).failed(CheckpointError("no weights"))
"""


async def test_a_child_that_keeps_dying_is_started_again_at_once_and_then_ever_later(tmp_path: Path) -> None:
    births = tmp_path / "births"
    births.touch()
    child = Supervised("a child", [sys.executable, "-c", SHORT_LIFE, str(births)])
    child.start()
    assert await child.ready() == "a child"
    async with asyncio.timeout(60):
        while len(births.read_text().splitlines()) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    times = [float(line) for line in births.read_text().splitlines()]
    first, second, third = (after - before for before, after in itertools.pairwise(times))
    assert first < second < third
    assert second > 1
    assert third > 2
    begun = time.monotonic()
    await child.close()
    assert time.monotonic() - begun < 2  # and not after the pause of 4 s
    assert len(births.read_text().splitlines()) == 4


async def test_a_first_life_that_fails_is_the_last() -> None:
    child = Supervised("a child", [sys.executable, "-c", FAILURE])
    child.start()
    with pytest.raises(CheckpointError, match="no weights"):
        await child.ready()
    await child.close()


async def test_a_command_that_is_not_there_is_said() -> None:
    child = Supervised("a child", ["/no/such/command"])
    child.start()
    with pytest.raises(EngineClosed, match="can't be started"):
        await child.ready()
    await child.close()

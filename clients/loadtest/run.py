"""One measurement: starts the processes, lets all users begin at the same moment, adds up what the processes tell."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from clients.errors import ClientError
from clients.loadtest.plan import Plan, Scenario
from clients.loadtest.tally import FAULTS, Count, Tally
from clients.loadtest.watch import Usage, Watch
from clients.loadtest.worker import CONNECT_S

_START_S = 60.0  # for a process to start and read its questions, beside CONNECT_S
_SILENCE_S = 20.0  # a process that tells nothing for so long is stuck
_MOMENTS = 120  # at most so many are kept apart
_NEWS_S = 0.2  # after which what happened in a second has been told
_TOO_LATE_MS = 10.0  # a generator that is so late itself, now and then, is no judge of others
_END_S = 10.0  # for a process to hang up
_LINE = 2**24


@dataclass
class Moment:
    """Some seconds of it."""

    begins_s: float
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)


@dataclass
class Round:
    """What was found."""

    plan: Plan
    processes: int
    seconds: float = 0.0  #: that it really lasted
    total: Tally = field(default_factory=Tally)
    moments: dict[int, Moment] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    error: str | None = None  #: why it ended early
    stopped: bool = False  #: by the one who watches

    @property
    def speaking(self) -> float:
        """Users who heard an answer at the same time, on average."""
        return self.total.speaking_s / self.seconds if self.seconds else 0.0

    @property
    def generator_cores(self) -> float:
        """Processors that the scripted users took."""
        return self.total.cpu_s / self.seconds if self.seconds else 0.0

    @property
    def server_cores(self) -> float | None:
        """Processors that the server took."""
        return self.usage.cpu_s / self.seconds if self.usage.cpu_s is not None and self.seconds else None

    @property
    def kept_up(self) -> bool:
        """99 % of the chunks came in time, and nobody was refused or let down."""
        late = self.total.lateness.percentile(99)
        return self.error is None and late is not None and late <= 0 and not any(self.total.counts[fault] for fault in FAULTS)

    @property
    def warning(self) -> str | None:
        """The generator itself may be what was slow."""
        lag = self.total.lag.percentile(99)
        if lag is not None and lag > _TOO_LATE_MS:
            return (
                f"the load generator was up to {lag:.0f} ms late itself (99 %), and that is in these figures: "
                "give it more --processes, or a machine of its own"
            )
        if self.generator_cores > 0.8 * self.processes:
            return f"the load generator was busy all the time ({self.generator_cores:.1f} cores): give it more --processes"
        return None


@dataclass(frozen=True)
class Second:
    """The newest second, for those who watch."""

    number: int
    users: int
    speaking: float
    answers: int
    ttfa_ms: float | None  #: median
    late_ms: float | None  #: 99 %
    faults: int


async def run(plan: Plan, processes: int, show: Callable[[Second], None], stop: asyncio.Event) -> Round:
    """Measure. Ends early, with what there is, when `stop` is set or the server is gone. ClientError when not even one user can connect."""
    watch = Watch(plan.url)
    shares = plan.shares(processes)
    found = Round(plan, len(shares), usage=watch.usage)
    async with contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(_worker(share)) for share in shares]
        if not await _are_ready(workers, plan, stop):
            found.stopped = True
            return found
        await stack.enter_async_context(watch.running())
        for worker in workers:
            worker.begin()
        await _follow(workers, found, show, stop)
    if found.seconds < plan.seconds - 0.5 and not found.stopped:
        reasons = found.total.problems.most_common(1)
        found.error = f"nobody was left after {found.seconds:.0f} s: {reasons[0][0] if reasons else 'all connections ended'}"
    return found


class _Worker:
    """A process of users, and what it has told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.online = 0

    async def hear(self, timeout_s: float) -> dict[str, Any]:
        """Its next line. ClientError where it has none, or is in trouble."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ClientError(
                f"a process of the load generator said nothing for {timeout_s:g} s: this machine is too busy for so many users"
            ) from None
        if not line:
            raise ClientError(f"a process of the load generator ended with status {await self._process.wait()}; its last words are above")
        report = json.loads(line)
        if "error" in report:
            raise ClientError(report["error"])
        return report

    def begin(self) -> None:
        """Its users may talk."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    def stop(self) -> None:
        """It is to tell what there is, and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()


@asynccontextmanager
async def _worker(plan: Plan) -> AsyncIterator[_Worker]:
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "clients.loadtest.worker", stdin=pipe, stdout=pipe, limit=_LINE)
    worker = _Worker(process)
    try:
        assert process.stdin is not None
        process.stdin.write(plan.to_line().encode() + b"\n")
        yield worker
    finally:
        worker.stop()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _are_ready(workers: list[_Worker], plan: Plan, stop: asyncio.Event) -> bool:
    """All users are connected, or refused; False: stopped meanwhile."""
    ready = asyncio.gather(*(worker.hear(_START_S + CONNECT_S) for worker in workers))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((ready, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            return False
        reports = ready.result()
    finally:
        stopped.cancel()
        ready.cancel()
    if plan.scenario is not Scenario.MIXED and not sum(report["ready"] for report in reports):
        raise ClientError(next((problem for report in reports for problem in report["problems"]), "no user could connect"))
    return True


async def _follow(workers: list[_Worker], found: Round, show: Callable[[Second], None], stop: asyncio.Event) -> None:
    """Take in what they tell, until all are done."""
    loop = asyncio.get_running_loop()
    began, newest = loop.time(), Tally()
    width = max(1, math.ceil(found.plan.seconds / _MOMENTS))

    async def take(worker: _Worker) -> None:
        over = False
        while not over:
            report = await worker.hear(_SILENCE_S)
            tally, over, at = Tally.from_json(report["tally"]), report["over"], report["at"]
            worker.online = 0 if over else report["online"]
            number = (report["second"] - 1) // width
            moment = found.moments.setdefault(number, Moment(number * width))
            moment.seconds = max(moment.seconds, at - moment.begins_s)
            found.seconds = max(found.seconds, at)
            for total in (found.total, moment.tally, newest):
                total.merge(tally)

    async def tell() -> None:
        nonlocal newest
        for second in itertools.count(1):
            await asyncio.sleep(began + second + _NEWS_S - loop.time())
            seen, newest = newest, Tally()
            show(_second(second, sum(worker.online for worker in workers), seen))

    async def end() -> None:
        await stop.wait()
        found.stopped = True
        for worker in workers:
            worker.stop()

    taking = [asyncio.create_task(take(worker)) for worker in workers]
    beside = [asyncio.create_task(tell()), asyncio.create_task(end())]
    try:
        await asyncio.gather(*taking)
    finally:
        for task in (*taking, *beside):
            task.cancel()


def _second(number: int, users: int, tally: Tally) -> Second:
    faults = sum(tally.counts[fault] for fault in FAULTS)
    return Second(number, users, tally.speaking_s, tally.counts[Count.ANSWERS], tally.ttfa.percentile(50), tally.lateness.percentile(99), faults)

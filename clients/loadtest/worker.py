"""A process full of users: `python -m clients.loadtest.worker`, driven over standard input and output.

In: the plan; an empty line when all processes are ready; the end of the input to stop. Out: {"ready": users, "problems": words}; every second, and
at the end, {"second": n, "at": s, "online": users, "over": bool, "tally": ...}; or {"error": words}.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clients.errors import ClientError
from clients.loadtest.plan import Plan, Scenario
from clients.loadtest.speech import Spoken
from clients.loadtest.tally import Ledger
from clients.loadtest.user import SPREAD_S, User

CONNECT_S = 45.0  #: for all users to be connected, or refused
STAY_S = 20.0  #: of a visitor in `Scenario.MIXED`, on average

_TICK_S = 0.05
_TICKS = 20  # between two reports
_AT_ONCE = 50  # connections that are being opened
_HOPELESS = 3  # visitors refused one after the other when nobody is there: the server is gone

Tell = Callable[[dict[str, Any]], None]


class Crowd:
    """All users of the process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rng = random.Random(f"{plan.seed} {plan.first}")
        self._questions = [Spoken.load(Path(path)) for path in plan.questions]
        self._doors = asyncio.Semaphore(_AT_ONCE)
        self._users: set[User] = set()
        self._refused = 0  # visitors, one after the other
        self._begin = asyncio.Event()
        self.ledger = Ledger()

    @property
    def online(self) -> int:
        """Users with a connection."""
        return sum(user.online for user in self._users)

    def hearing(self, now: float) -> int:
        """Users who are hearing an answer."""
        return sum(user.hears(now) for user in self._users)

    def begin(self) -> None:
        """Those who are there may talk."""
        self._begin.set()

    async def run(self) -> None:
        """Until no user is left, and none will come."""
        async with asyncio.TaskGroup() as group:
            if self._plan.scenario is Scenario.MIXED:
                await self._begin.wait()
                await self._visits(group)
            else:
                for number in range(self._plan.users):
                    self._send_in(group, number, self._plan.scenario, None)

    async def settle(self) -> None:
        """Wait until everybody who is there from the beginning is connected, or refused; no longer than CONNECT_S."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await asyncio.gather(*(user.settled.wait() for user in self._users))

    def _send_in(self, group: asyncio.TaskGroup, number: int, scenario: Scenario, stay_s: float | None) -> None:
        user = User(self._plan.first + number, scenario, self._questions, self.ledger, random.Random(self._rng.random()))
        self._users.add(user)
        group.create_task(self._stay(user, stay_s))

    async def _stay(self, user: User, stay_s: float | None) -> None:
        try:
            async with asyncio.timeout(stay_s):
                while await user.call(self._plan.url, self._plan.api_key, self._doors, self._begin):
                    pass
            self._refused += 1
        except TimeoutError:
            self._refused = 0
        finally:
            self._users.discard(user)

    async def _visits(self, group: asyncio.TaskGroup) -> None:
        """As many as were asked for come soon; then they come and go at random, so that on average as many are there."""
        arrivals = sorted(self._rng.uniform(0, SPREAD_S) for _ in range(self._plan.users))
        gaps = [later - earlier for earlier, later in itertools.pairwise((0.0, *arrivals))]
        for number in itertools.count():
            await asyncio.sleep(gaps[number] if number < len(gaps) else self._rng.expovariate(self._plan.users / STAY_S))
            if self._refused >= _HOPELESS and not self.online:
                return
            if len(self._users) < 2 * self._plan.users:
                role = self._rng.choice((Scenario.TALK, Scenario.DUPLEX, Scenario.SPEAK))
                self._send_in(group, number, role, self._rng.expovariate(1 / STAY_S))


async def work(plan: Plan, orders: asyncio.StreamReader, tell: Tell) -> None:
    """All of it. ClientError for questions that can't be read."""
    loop = asyncio.get_running_loop()
    crowd = Crowd(plan)
    people = asyncio.create_task(crowd.run())
    try:
        await asyncio.sleep(0)  # they are there
        await crowd.settle()
        tell({"ready": crowd.online, "problems": list(crowd.ledger.tally.problems)})
        if await orders.readline():
            crowd.begin()
            over = asyncio.create_task(orders.read())  # the end of the input
            await _report(crowd, lambda: people.done() or over.done(), loop.time() + plan.seconds, tell)
            over.cancel()
    finally:
        people.cancel()
        await asyncio.wait((people,))
    if not people.cancelled() and (error := people.exception()) is not None:
        raise error


async def _report(crowd: Crowd, is_over: Callable[[], bool], until: float, tell: Tell) -> None:
    """Measure how late this process is itself, and who hears something, every 50 ms; tell every second."""
    loop = asyncio.get_running_loop()
    began = last = loop.time()
    cpu_s = time.process_time()
    for tick in itertools.count(1):
        due = min(began + tick * _TICK_S, until)
        await asyncio.sleep(due - loop.time())
        now, tally = loop.time(), crowd.ledger.tally
        tally.lag.add(now - due)
        tally.speaking_s += (now - last) * crowd.hearing(now)
        tally.online_s += (now - last) * crowd.online
        last, over = now, due >= until or is_over()
        if over or tick % _TICKS == 0:
            tally.cpu_s, cpu_s = time.process_time() - cpu_s, time.process_time()
            tell({"second": -(-tick // _TICKS), "at": now - began, "online": crowd.online, "over": over, "tally": crowd.ledger.take().to_json()})
        if over:
            return


async def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the process that started this one
    orders = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    await work(Plan.from_line(await orders.readline()), orders, lambda report: print(json.dumps(report), flush=True))


if __name__ == "__main__":
    try:
        asyncio.run(_main())
    except ClientError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(2)

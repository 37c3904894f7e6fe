"""The rounds of `omni load`, one after the other, and how they are shown on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from clients.commands.demo import QUESTIONS, read_questions
from clients.commands.load_figures import Load, tables
from clients.commands.showing import print_table
from clients.loadtest.plan import Plan, Scenario
from clients.loadtest.run import Round, Second, run
from clients.loadtest.search import search
from omni_core.evaluation.targets import Unit

_USERS_PER_PROCESS = 250


@dataclass(frozen=True)
class Rounds:
    """Measurements that differ in their users alone."""

    url: str
    scenario: Scenario
    seconds: float
    seed: int
    api_key: str | None
    processes: int | None  #: None: as many as it takes
    progress: Console

    def series(self, users: Sequence[int]) -> list[Round]:
        """With so many users each. Ends with a round that was stopped, or that lost its server."""
        rounds: list[Round] = []
        for number in users:
            rounds.append(self._measure(number))
            if rounds[-1].stopped or rounds[-1].error:
                break
        return rounds

    def search(self, begin: int, most: int) -> list[Round]:
        """Until it is known how many the server keeps up with."""
        rounds: list[Round] = []
        tries = search(begin, most)
        with contextlib.suppress(StopIteration):
            users = next(tries)
            while True:
                rounds.append(self._measure(users))
                if rounds[-1].stopped or rounds[-1].error:
                    break
                users = tries.send(rounds[-1].kept_up)
        return rounds

    def _measure(self, users: int) -> Round:
        questions = tuple(str(question.audio) for question in read_questions(QUESTIONS))
        plan = Plan(self.url, self.scenario, users, self.seconds, self.seed, questions, self.api_key)
        self.progress.print(f"{users} users, {self.scenario.value}, {self.seconds:g} s")

        async def measure() -> Round:
            stop = asyncio.Event()
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl+C ends all at once there
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
            return await run(plan, self.processes or -(-users // _USERS_PER_PROCESS), self._show_second, stop)

        return asyncio.run(measure())

    def _show_second(self, second: Second) -> None:
        late = second.late_ms is not None and second.late_ms > 0
        parts = (
            f"{second.number:4} s",
            f"{second.users:4} users",
            f"{second.speaking:6.1f} hear answers",
            f"TTFA p50 {Unit.MS.write(second.ttfa_ms):>7}",
            f"lateness p99 {Unit.MS.write(second.late_ms):>8}",
            *((f"{second.faults} went wrong",) if second.faults else ()),
        )
        self.progress.print("   ".join(parts), style="red" if second.faults else "yellow" if late else "dim", soft_wrap=True)


def show(console: Console, load: Load) -> None:
    """All that was found."""
    for table in tables(load):
        print_table(console, table)
    for found in load.ordered:
        for words, count in found.total.problems.most_common():
            console.print(f"{found.plan.users} users: {count} x {words}", style="yellow", markup=False)
        for words in filter(None, ("stopped early" if found.stopped else None, found.warning)):
            console.print(f"{found.plan.users} users: {words}", style="yellow", markup=False)
    if len(load.rounds) > 1:
        console.print(f"[bold]{load.most} users[/bold] were served without a late chunk (99 %), and without trouble")

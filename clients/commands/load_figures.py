"""What was found under load, as tables and as JSON."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from clients.commands.showing import gpus, processor
from clients.loadtest.run import Round
from clients.loadtest.tally import FAULTS, Count, Distribution
from omni_core.evaluation.results import Cell, Table
from omni_core.evaluation.targets import Unit


def _machine() -> str:
    return ", ".join((processor(), *gpus()))


@dataclass(frozen=True)
class Load:
    """All rounds of one `omni load`."""

    command: str
    server: str  #: which model, or which server
    rounds: tuple[Round, ...]
    found: bool = False  #: they were a search for the most users
    machine: str = field(default_factory=_machine)
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())

    @property
    def ordered(self) -> list[Round]:
        """By users."""
        return sorted(self.rounds, key=lambda each: each.plan.users)

    @property
    def most(self) -> int:
        """Users that the server kept up with; 0: not even the fewest that were tried."""
        return max((each.plan.users for each in self.rounds if each.kept_up), default=0)

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        facts = {key: getattr(self, key) for key in ("command", "server", "machine", "date")}
        return facts | {"most_users": self.most, "rounds": [_round_json(each) for each in self.rounds]}


def _round_json(found: Round) -> dict[str, Any]:
    total, gpu = found.total, found.usage.busiest_gpu
    times = {"client_ttfa_ms": total.ttfa, "server_ttfa_ms": total.server_ttfa, "lateness_ms": total.lateness}
    times |= {"onset_to_silence_ms": total.stop, "generator_late_ms": total.lag}
    return {
        "scenario": found.plan.scenario.value,
        "users": found.plan.users,
        "seconds": round(found.seconds, 2),
        "kept_up": found.kept_up,
        "heard_at_once": round(found.speaking, 2),
        **{name: _times_json(measured) for name, measured in times.items()},
        "chunks": len(total.lateness),
        "late_chunks": total.lateness.above(0),
        "counts": {count.value: total.counts[count] for count in Count},
        "answers_per_s": _per_s(total.counts[Count.ANSWERS], found),
        "audio_s_per_s": _per_s(total.audio_s, found),
        "server_cores": found.server_cores,
        "gpu_use": gpu[0] if gpu else None,
        "gpu_memory_mib": gpu[1] if gpu else None,
        "generator_cores": found.generator_cores,
        "problems": dict(total.problems),
        "warning": found.warning,
        "error": found.error,
        "stopped": found.stopped,
    }


def _times_json(measured: Distribution) -> dict[str, float | None]:
    return {name: measured.percentile(percent) for name, percent in (("p50", 50), ("p95", 95), ("p99", 99), ("max", 100))}


def _per_s(amount: float, found: Round) -> float:
    return amount / found.seconds if found.seconds else 0.0


def tables(load: Load) -> Iterator[Table]:
    """A row for each round."""
    rounds = load.ordered
    number, share = Unit.NUMBER, Unit.SHARE

    def table(title: str, columns: Sequence[tuple[str, Unit | None]], rows: Sequence[tuple[Cell, ...]], note: str) -> Table:
        named = (("users", number), *columns)
        listed = tuple((found.plan.users, *row) for found, row in zip(rounds, rows, strict=True))
        return Table(title, tuple(name for name, _ in named), listed, tuple(unit for _, unit in named), note)

    yield table(
        "How steadily: lateness of the answers’ chunks, ms",
        (
            *(("at once", number), ("chunks", number), ("p50", number), ("p95", number), ("p99", number), ("max", number)),
            *(("chunks late", share), ("answers late", share), ("dry", number)),
        ),
        [
            (
                round(found.speaking, 1),
                len(found.total.lateness),
                *_percentiles(found.total.lateness, 50, 95, 99, 100),
                _share(found.total.lateness.above(0), len(found.total.lateness)),
                _share(found.total.counts[Count.LATE_ANSWERS], found.total.counts[Count.ANSWERS]),
                found.total.counts[Count.UNDERRUNS],
            )
            for found in rounds
        ],
        "A client starts to play at an answer’s first chunk; every later one is due when all before it has been played. Negative: early by so much. "
        "At once: users who were hearing answers at the same time, on average. Late: after that moment; answers with at least one such chunk. "
        "Dry: chunks more than 10 ms late, which can be heard.",
    )
    yield table(
        "How soon: time to the first audio, ms",
        (
            *(("answers", number), ("client p50", number), ("p95", number), ("p99", number)),
            *(("server p50", number), ("p95", number), ("p99", number)),
        ),
        [
            (found.total.counts[Count.ANSWERS], *_percentiles(found.total.ttfa, 50, 95, 99), *_percentiles(found.total.server_ttfa, 50, 95, 99))
            for found in rounds
        ],
        "Client: from the end of what was said (or from the written request) to the first audio here; after speech, the silence by which the server "
        "knows that the turn is over (200 ms) is in it. Server: by its own account.",
    )
    if any(found.total.counts[Count.INTERRUPTED] or found.total.counts[Count.NOT_INTERRUPTED] for found in rounds):
        yield table(
            "Interruptions by voice, ms",
            (("interrupted", number), ("went on", number), ("to silence p50", number), ("p95", number), ("max", number)),
            [
                (
                    found.total.counts[Count.INTERRUPTED],
                    found.total.counts[Count.NOT_INTERRUPTED],
                    *_percentiles(found.total.stop, 50, 95, 100),
                )
                for found in rounds
            ],
            "From the first sound of what was said into an answer to the last sample that the client plays, which stops on the protocol’s events.",
        )
    yield table(
        "What it gave, and what it took",
        (
            *(("answers/s", number), ("audio s/s", number), ("server cores", number), ("GPU", share), ("GPU MiB", number)),
            *(("users’ cores", number), ("users late p99, ms", number)),
        ),
        [
            (
                round(_per_s(found.total.counts[Count.ANSWERS], found), 2),
                round(_per_s(found.total.audio_s, found), 1),
                _rounded(found.server_cores),
                *(found.usage.busiest_gpu or (None, None)),
                _rounded(found.generator_cores),
                _rounded(found.total.lag.percentile(99)),
            )
            for found in rounds
        ],
        "The server’s processes and GPU where it runs on this machine. The users are processes too; how late they were themselves is in all figures.",
    )
    yield table(
        "What went wrong",
        tuple((trouble.value, number) for trouble in FAULTS),
        [tuple(found.total.counts[trouble] for trouble in FAULTS) for found in rounds],
        "Refused, disconnected: connections. Busy: answers that the engine had no place for. Failed: other errors. Unanswered: questions, "
        "after 30 s.",
    )


def _percentiles(measured: Distribution, *percents: float) -> tuple[int | None, ...]:
    """Whole milliseconds."""
    times = (measured.percentile(percent) for percent in percents)
    return tuple(None if each is None else math.ceil(each) for each in times)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)

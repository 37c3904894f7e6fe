"""What is counted under load. Tallies of processes and of seconds add up, exactly, in memory that does not grow with the time measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

_PER_S = 10_000  # a distribution counts in tenths of a millisecond
_WIDEST = 120 * _PER_S  # nothing that is measured lasts longer
_PROBLEMS = 20  # different ones that are kept in words


class Distribution:
    """How often a time was measured, to a tenth of a millisecond."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[max(-_WIDEST, min(_WIDEST, round(seconds * _PER_S)))] += 1

    def merge(self, other: Distribution) -> None:
        """All of another."""
        self._counts.update(other._counts)

    def __len__(self) -> int:
        return self._counts.total()

    def percentile(self, percent: float) -> float | None:
        """The least time, ms, that so many per cent do not exceed; None of nothing."""
        wanted, seen = percent / 100 * len(self), 0
        for value in sorted(self._counts):
            seen += self._counts[value]
            if seen >= wanted:
                return 1000 * value / _PER_S
        return None

    @property
    def highest(self) -> float | None:
        """ms."""
        return self.percentile(100)

    def above(self, ms: float) -> int:
        """How many are longer."""
        return sum(count for value, count in self._counts.items() if 1000 * value / _PER_S > ms)

    def values(self) -> Iterator[float]:
        """Each, ms."""
        return (1000 * value / _PER_S for value in self._counts.elements())

    def to_json(self) -> dict[str, int]:
        """For another process: counts by tenths of a millisecond."""
        return {str(value): count for value, count in self._counts.items()}

    @classmethod
    def from_json(cls, data: dict[str, int]) -> Self:
        """Reads it back."""
        made = cls()
        made._counts.update({int(value): count for value, count in data.items()})
        return made


class Count(StrEnum):
    """What happens, and is counted."""

    CONNECTED = "connected"
    REFUSED = "refused"  #: connections: the server is full, or gone
    DISCONNECTED = "disconnected"  #: by the server, in the middle
    ANSWERS = "answers"  #: that have ended with something heard of them
    LATE_ANSWERS = "late_answers"  #: with at least one late chunk
    INTERRUPTED = "interrupted"  #: answers that were cut by the user's voice
    NOT_INTERRUPTED = "not_interrupted"  #: that went on although somebody talked into them
    BUSY = "busy"  #: answers refused because the engine is full
    FAILED = "failed"  #: answers and requests that went wrong
    UNANSWERED = "unanswered"  #: questions
    UNDERRUNS = "underruns"  #: chunks so late that it can be heard (`clients.python.player`)


#: those of which a server that keeps up has none
FAULTS = (Count.REFUSED, Count.DISCONNECTED, Count.BUSY, Count.FAILED, Count.UNANSWERED)

_DISTRIBUTIONS = ("ttfa", "server_ttfa", "lateness", "stop", "lag")
_SUMS = ("audio_s", "speaking_s", "online_s", "cpu_s")


@dataclass
class Tally:
    """Figures of some users over some time."""

    ttfa: Distribution = field(default_factory=Distribution)  #: end of the question to the first sample here
    server_ttfa: Distribution = field(default_factory=Distribution)  #: the same by the server's own account
    lateness: Distribution = field(default_factory=Distribution)  #: of every chunk of an answer but its first; below 0: early
    stop: Distribution = field(default_factory=Distribution)  #: onset of an interrupting voice to the last sample played
    lag: Distribution = field(default_factory=Distribution)  #: how late this generator was itself
    counts: Counter[str] = field(default_factory=Counter)  #: by `Count`
    problems: Counter[str] = field(default_factory=Counter)  #: in words
    audio_s: float = 0.0  #: of answers received
    speaking_s: float = 0.0  #: time in which answers were heard, all users' added up
    online_s: float = 0.0  #: time that users were connected
    cpu_s: float = 0.0  #: of this generator

    def problem(self, count: Count, words: str) -> None:
        """Count it, and keep what was said about it."""
        self.counts[count] += 1
        self._keep(words, 1)

    def merge(self, other: Tally) -> None:
        """Add another's."""
        for name in _DISTRIBUTIONS:
            getattr(self, name).merge(getattr(other, name))
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.counts.update(other.counts)
        for words, count in other.problems.items():
            self._keep(words, count)

    def _keep(self, words: str, count: int) -> None:
        if words in self.problems or len(self.problems) < _PROBLEMS:
            self.problems[words] += count

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        times = {name: getattr(self, name).to_json() for name in _DISTRIBUTIONS}
        return times | {name: getattr(self, name) for name in _SUMS} | {"counts": dict(self.counts), "problems": dict(self.problems)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Reads it back."""
        times = {name: Distribution.from_json(data[name]) for name in _DISTRIBUTIONS}
        return cls(**times, **{name: data[name] for name in _SUMS}, counts=Counter(data["counts"]), problems=Counter(data["problems"]))


@dataclass
class Ledger:
    """Where all users of a process write."""

    tally: Tally = field(default_factory=Tally)

    def take(self) -> Tally:
        """All since it was taken last."""
        taken, self.tally = self.tally, Tally()
        return taken

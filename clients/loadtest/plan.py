"""What is to be measured, as it goes to the processes that do it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Scenario(StrEnum):
    """What the users do."""

    TALK = "talk"  #: ask aloud, hear the answer to its end, pause, ask again
    DUPLEX = "duplex"  #: the same, but a third of the answers are talked into
    SPEAK = "speak"  #: ask for long stories in writing, so that all hear answers all the time
    MIXED = "mixed"  #: come at random, are one of these three, and leave


@dataclass(frozen=True)
class Plan:
    """One measurement, or one process's share of it."""

    url: str
    scenario: Scenario
    users: int
    seconds: float
    seed: int = 1
    questions: tuple[str, ...] = ()  #: sound files
    api_key: str | None = None
    first: int = 0  #: number of the first of these users

    def shares(self, processes: int) -> list[Plan]:
        """As even as can be; each has at least one user."""
        processes = min(processes, self.users)
        bounds = [self.users * number // processes for number in range(processes + 1)]
        return [dataclasses.replace(self, users=end - begin, first=begin) for begin, end in itertools.pairwise(bounds)]

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_line(cls, line: str | bytes) -> Self:
        """Reads it back."""
        data = json.loads(line)
        return cls(**data | {"scenario": Scenario(data["scenario"]), "questions": tuple(data["questions"])})

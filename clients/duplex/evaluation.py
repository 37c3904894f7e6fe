"""Many cases of every scene: which are played, in which order, by how many users at once.

First every question is asked, so that it is known how fast the answers come, whether the model has a listener, and which answers are long: those are
the ones that are interrupted. Everything drawn follows from the seed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from clients.duplex.call import Echo
from clients.duplex.scenarios import BY_COMMAND, BY_VOICE, Ask, Asked, Case, Endure, Endured, Interrupt, Interrupted, Line, Mode, Outcome, server_vad
from clients.duplex.sound import Speech
from clients.errors import ClientError
from clients.python.audio import RATE, Wave

TURNS, PAUSES, INTERRUPTIONS, COMMANDS = "turn-taking", "pause in a turn", "interruption by voice", "interruption by command"
BACKCHANNELS, NEAR_MISSES, ECHO = "backchannel", "near miss", "own echo"

PREPARED = server_vad(200)
SEMANTIC = Mode("semantic_vad", {"type": "semantic_vad"})
TURN_MODES = (server_vad(200, "server_vad, 200 ms, no preparation", by_client=True), SEMANTIC)
PAUSE_MODES = (PREPARED, server_vad(500), SEMANTIC)

LONG_S = 4.0  #: an answer of this length can be interrupted in its middle
SPEAK_FIRST_S, LEFT_S = 0.3, 1.0  #: of an answer, before an interruption and after it
ECHO_DB, ECHO_DELAY_S = -6.0, (0.1, 0.3)

_LONG_ANSWERS = 12  # are interrupted, over and over
_USERS = 4
_BUSY = 0.5  # share of the server's time that the answers of all users may take
_CASE_S = 150.0  # a case that takes longer is stuck
_FAILURES = 5  # and the server is out of order
_SHOWN = 2  # recordings of each scenario and mode, of those that went well and of the others


@dataclass(frozen=True)
class Material:
    """What is said. Each is used in turn, as often as it takes."""

    questions: Sequence[Speech]
    paused: Sequence[Speech]  #: questions with a pause inside
    interruptions: Sequence[Speech]  #: said into answers
    command: Callable[[int, float], Speech]  #: number n, in so many seconds of noise that ends LEFT_S after the phrase at the earliest
    backchannels: Sequence[Speech]
    near_misses: Sequence[Speech]


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    seed: int = 1
    cases: int = 60  #: of each scenario and mode
    echo_s: float = 600.0  #: of answers that come back as echo, in each mode


@dataclass(frozen=True, eq=False)
class LongAnswer:
    """What the model says to a question when nobody interrupts."""

    text: str
    wave: Wave


@dataclass
class Findings:
    """All outcomes, in the order of the cases."""

    outcomes: list[Outcome] = field(default_factory=list)
    long_answers: dict[Speech, LongAnswer] = field(default_factory=dict)  #: by question
    failures: list[tuple[str, str]] = field(default_factory=list)  #: scenario, and what went wrong
    unanswered: Counter[str] = field(default_factory=Counter)  #: cases in which there was no answer to interrupt, by scenario
    not_run: dict[str, str] = field(default_factory=dict)  #: why, by scenario
    users: int = 1

    def asked(self, scenario: str, mode: Mode) -> list[Asked]:
        return [each for each in self._of(scenario, mode) if isinstance(each, Asked)]

    def interrupted(self, scenario: str, mode: Mode) -> list[Interrupted]:
        return [each for each in self._of(scenario, mode) if isinstance(each, Interrupted)]

    def endured(self, scenario: str, mode: Mode) -> list[Endured]:
        return [each for each in self._of(scenario, mode) if isinstance(each, Endured)]

    def _of(self, scenario: str, mode: Mode) -> Iterator[Outcome]:
        return (each for each in self.outcomes if each.case.scenario == scenario and each.case.mode == mode)


Progress = Callable[[str, int, int], None]  #: scenario, cases done, cases in all


async def evaluate(line: Line, material: Material, plan: Plan, progress: Progress = lambda name, done, count: None) -> Findings:
    """Play all of it. Raises ClientError when the server can't be used."""
    findings = Findings()
    play = _Player(line, findings, progress)
    for mode in (PREPARED, *TURN_MODES):
        cases = [Ask(TURNS, mode, question, to_the_end=mode is PREPARED) for question in _times(material.questions, plan.cases)]
        await play.all(cases, users=1)
    whole = findings.asked(TURNS, PREPARED)
    findings.users = users = _users(whole)
    findings.long_answers = long_answers(whole)
    await play.all([Ask(PAUSES, mode, question) for mode in PAUSE_MODES for question in _times(material.paused, plan.cases)], users)
    if not findings.long_answers:
        reason = f"the model gives no answer of {LONG_S:g} s or more to these questions: name others with --manifest"
        findings.not_run |= dict.fromkeys((INTERRUPTIONS, COMMANDS, BACKCHANNELS, NEAR_MISSES, ECHO), reason)
        return findings
    await play.all(_into_answers(Interrupt, INTERRUPTIONS, BY_VOICE, material.interruptions, plan.cases, plan, findings), users)
    half = -(-plan.cases // 2)
    await play.all(_into_answers(Endure, BACKCHANNELS, BY_COMMAND, material.backchannels, half, plan, findings), users)
    if any(outcome.listens for outcome in findings.outcomes):
        await play.all(list(_commands(material, plan, findings)), users)
        await play.all(_into_answers(Endure, NEAR_MISSES, BY_COMMAND, material.near_misses, half, plan, findings), users)
    else:
        findings.not_run |= dict.fromkeys((COMMANDS, NEAR_MISSES), "the model has no trained listener, so that no word stops it")
    for mode in (BY_VOICE, BY_COMMAND):
        await play.all(list(_echoes(mode, plan, findings)), users)
    return findings


def long_answers(asked: Sequence[Asked]) -> dict[Speech, LongAnswer]:
    """The longest answers, by question: those that last long enough to be interrupted in their middle."""
    given = {each.case.question: each.answer for each in asked if each.answer is not None and each.answer.status == "completed"}
    found = {question: LongAnswer(answer.text, answer.audio) for question, answer in given.items()}
    listed = sorted(found.items(), key=lambda pair: len(pair[1].wave), reverse=True)[:_LONG_ANSWERS]
    return {question: answer for question, answer in listed if len(answer.wave) >= LONG_S * RATE}


def _users(asked: Sequence[Asked]) -> int:
    """As many as the server answers at once with time to spare, by its own account."""
    factors = [each.answer.timings["rtf"] for each in asked if each.answer and each.answer.timings and each.answer.timings.get("rtf")]
    return max(1, min(_USERS, int(_BUSY / float(np.median(factors))))) if factors else 1


def _times(sounds: Sequence[Speech], count: int) -> list[Speech]:
    return [sounds[number % len(sounds)] for number in range(count)]


def _into_answers(
    kind: type[Interrupt] | type[Endure], scenario: str, mode: Mode, sounds: Sequence[Speech], count: int, plan: Plan, findings: Findings
) -> list[Case]:
    """`count` sounds at random moments of long answers: all of a sound falls into the answer where that is long enough."""
    cases: list[Case] = []
    questions = list(findings.long_answers)
    for number, sound in enumerate(_times(sounds, count)):
        rng = _rng(plan.seed, scenario, number)
        question = questions[int(rng.integers(len(questions)))]
        latest = len(findings.long_answers[question].wave) / RATE - sound.end / RATE - LEFT_S
        cases.append(kind(scenario, mode, question, sound, float(rng.uniform(SPEAK_FIRST_S, max(SPEAK_FIRST_S, latest)))))
    return cases


def _commands(material: Material, plan: Plan, findings: Findings) -> Iterator[Case]:
    """The command at random moments of long answers, in noise that lasts as long as the answer: listeners know rooms, not noise out of nothing."""
    questions = list(findings.long_answers)
    for number in range(plan.cases):
        question = questions[int(_rng(plan.seed, COMMANDS, number).integers(len(questions)))]
        command = material.command(number, len(findings.long_answers[question].wave) / RATE)
        yield Interrupt(COMMANDS, BY_COMMAND, question, command, 0.0)


def _echoes(mode: Mode, plan: Plan, findings: Findings) -> Iterator[Case]:
    questions, heard_s, number = list(findings.long_answers), 0.0, 0
    while heard_s < plan.echo_s:
        question = questions[number % len(questions)]
        echo = Echo(ECHO_DB, float(_rng(plan.seed, ECHO, number).uniform(*ECHO_DELAY_S)))
        yield Endure(ECHO, mode, question, echo=echo)
        heard_s += len(findings.long_answers[question].wave) / RATE
        number += 1


def _rng(seed: int, scenario: str, number: int) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(scenario.encode()), number))


class _Player:
    """Plays cases, and keeps what they gave."""

    def __init__(self, line: Line, findings: Findings, progress: Progress) -> None:
        self._line, self._findings, self._progress = line, findings, progress
        self._shown: Counter[tuple[str, str, bool]] = Counter()

    async def all(self, cases: Sequence[Case], users: int) -> None:
        """Play `cases` of one scenario, `users` at a time."""
        waiting = deque(enumerate(cases))
        outcomes: dict[int, Outcome] = {}

        async def user() -> None:
            while waiting:
                number, case = waiting.popleft()
                if (outcome := await self._play(case)) is not None:
                    outcomes[number] = outcome
                self._progress(case.scenario, len(cases) - len(waiting), len(cases))

        problem: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(users):
                    group.create_task(user())
        except* ClientError as errors:
            problem = errors.exceptions[0]
        if problem is not None:
            raise problem
        self._findings.outcomes += [outcomes[number] for number in sorted(outcomes)]

    async def _play(self, case: Case) -> Outcome | None:
        try:
            async with asyncio.timeout(_CASE_S):
                outcome = await case.play(self._line)
        except (ClientError, TimeoutError) as error:
            self._findings.failures.append((case.scenario, str(error) or f"it took longer than {_CASE_S:g} s"))
            if len(self._findings.failures) >= _FAILURES:
                raise ClientError(f"{_FAILURES} cases went wrong, the last one because {self._findings.failures[-1][1]}") from error
            return None
        if outcome is None:
            self._findings.unanswered[case.scenario] += 1
            return None
        kind = case.scenario, case.mode.name, outcome.as_it_should
        self._shown[kind] += 1
        return outcome if self._shown[kind] <= _SHOWN else dataclasses.replace(outcome, recording=None)

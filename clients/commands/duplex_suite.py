"""What was found in scripted conversations as the suite `duplex`: figures, tables, plots, and recordings of both channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from clients.commands.duplex_material import NOISE_DB, PAUSE_S
from clients.duplex import evaluation as duplex
from clients.duplex.evaluation import Findings
from clients.duplex.scenarios import BY_COMMAND, BY_VOICE, MISS_S, Asked, Endure, Interrupt, Interrupted, Outcome
from clients.duplex.truncation import Truncations
from clients.python.audio import RATE
from omni_core.evaluation.results import Channels, Clip, Figure, Histogram, Plot, Sample, Suite, Table
from omni_core.evaluation.targets import Unit

_TURN_KEYS = {duplex.PREPARED: "prepared", duplex.TURN_MODES[0]: "unprepared", duplex.SEMANTIC: "semantic_vad"}
_PAUSE_KEYS = {duplex.PREPARED: "server_vad_200", duplex.PAUSE_MODES[1]: "server_vad_500", duplex.SEMANTIC: "semantic_vad"}
_INTERRUPTIONS = (("voice", duplex.INTERRUPTIONS, BY_VOICE), ("command", duplex.COMMANDS, BY_COMMAND))
_ENDURED = (
    ("backchannels", duplex.BACKCHANNELS, BY_COMMAND),
    ("near_misses", duplex.NEAR_MISSES, BY_COMMAND),
    ("echo.command", duplex.ECHO, BY_COMMAND),
    ("echo.voice", duplex.ECHO, BY_VOICE),
)


def suite_of(findings: Findings, truncations: Truncations | None, *, listenable: bool) -> Suite:
    """All of it; `truncations` None: not judged. `listenable` adds recordings."""
    users = f"{findings.users} {'user' if findings.users == 1 else 'users'}"
    lag_ms = 1000 * max((outcome.lag_s for outcome in findings.outcomes), default=0.0)
    dry = sum(outcome.underruns > 0 for outcome in findings.outcomes)
    return Suite(
        name="duplex",
        title="Conversations",
        about="Scripted calls over a WebSocket at the pace of speech, by a client that plays what it gets in real time and throws away what "
        f"it has not played when the protocol says so. Questions one at a time, everything else with {users} at once. "
        f"The client’s own microphone was at most {lag_ms:.0f} ms late; in {dry} of {len(findings.outcomes)} calls an answer ran dry.",
        figures=tuple(_figures(findings, truncations)),
        tables=tuple(_tables(findings, truncations)),
        plots=tuple(_plots(findings)),
        samples=tuple(map(_sample, _shown(findings))) if listenable else (),
    )


def _figures(findings: Findings, truncations: Truncations | None) -> Iterator[Figure]:
    for mode, name in _TURN_KEYS.items():
        if asked := findings.asked(duplex.TURNS, mode):
            yield from _times(f"turns.{name}", _latencies(asked), "questions")
            yield Figure(_key("turns", name, "answered"), _share(each.as_it_should for each in asked), len(asked))
    for mode, name in _PAUSE_KEYS.items():
        if asked := findings.asked(duplex.PAUSES, mode):
            yield Figure(_key("pause", name, "taken"), _share(each.early for each in asked), len(asked))
    for name, scenario, mode in _INTERRUPTIONS:
        if tried := findings.interrupted(scenario, mode):
            yield Figure(_key(name, "missed"), _share(not each.as_it_should for each in tried), len(tried), "interruptions")
            yield from _times(name, _stops(tried), "interruptions")
    false_stops, endured = 0, 0
    for name, scenario, mode in _ENDURED:
        if cases := findings.endured(scenario, mode):
            stops = sum(each.interrupted for each in cases)
            yield Figure(_key(name, "false_stops"), stops, len(cases), "answers", Unit.NUMBER)
            yield Figure(_key(name, "answered"), sum(each.answered for each in cases), len(cases), "answers", Unit.NUMBER)
            if mode is BY_COMMAND:
                false_stops, endured = false_stops + stops, endured + len(cases)
    if endured:
        yield Figure(_key("false_stops"), false_stops, endured, "answers", Unit.NUMBER)
    if truncations is not None and truncations.corrected:
        for name, most in (("one", 1), ("two", 2)):
            yield Figure(_key("truncation", f"within_{name}"), _within(truncations.corrected, most), len(truncations.corrected), "interruptions")


def _times(name: str, seconds: Sequence[float], of: str) -> Iterator[Figure]:
    if seconds:
        for statistic, percentile in (("median", 50), ("p95", 95)):
            yield Figure(_key(name, statistic), 1000 * float(np.percentile(seconds, percentile)), len(seconds), of, Unit.MS)


def _tables(findings: Findings, truncations: Truncations | None) -> Iterator[Table]:
    asked = {mode: findings.asked(duplex.TURNS, mode) for mode in _TURN_KEYS}
    rows = [(mode.name, len(each), _share(one.as_it_should for one in each), *_spread(_latencies(each))) for mode, each in asked.items() if each]
    yield Table(
        "A question, then silence",
        ("turns end by", "questions", "answered", "median", "95 %"),
        tuple(rows),
        (None, Unit.NUMBER, Unit.SHARE, Unit.MS, Unit.MS),
        "From the last sample of the question above -40 dB of its peak to the answer’s first sample at the loudspeaker. Without preparation: "
        "create_response is false, and the client asks for the answer when the turn is committed.",
    )
    paused = {mode: findings.asked(duplex.PAUSES, mode) for mode in _PAUSE_KEYS}
    yield Table(
        f"A question with a pause of {1000 * PAUSE_S:.0f} ms between two words",
        ("turns end by", "questions", "answered too early", "median", "95 %"),
        tuple((mode.name, len(each), _share(one.early for one in each), *_spread(_latencies(each))) for mode, each in paused.items() if each),
        (None, Unit.NUMBER, Unit.SHARE, Unit.MS, Unit.MS),
        "Too early: the turn was taken for over before its end. Times as above, to the answer that was begun after it.",
    )
    yield Table(
        "Interruptions of long answers",
        ("interrupted", "times", "missed", "median", "95 %", "answered", "its median"),
        tuple(_interruptions(findings)),
        (None, Unit.NUMBER, Unit.SHARE, Unit.MS, Unit.MS, Unit.SHARE, Unit.MS),
        f"To the last sample that the client plays. Missed: the answer went on {1000 * MISS_S:.0f} ms after the end of what was said. "
        f"By voice: another question, with interrupt_response true. By command: “stop omni” {NOISE_DB:.0f} dB over talk, babble, music or noise, "
        "with interrupt_response false; it should get no answer, but the talk beside it may.",
    )
    yield Table(
        "Sounds that must not interrupt",
        ("sound", "mode", "answers", "minutes", "interrupted", "answered"),
        tuple(
            (scenario, mode.name, len(cases), sum(each.heard_s for each in cases) / 60, stops, sum(each.answered for each in cases))
            for _, scenario, mode in _ENDURED
            if (cases := findings.endured(scenario, mode))
            for stops in (sum(each.interrupted for each in cases),)
        ),
        (None, None, Unit.NUMBER, Unit.NUMBER, Unit.NUMBER, Unit.NUMBER),
        f"Echo: what the client plays comes back into its microphone at {duplex.ECHO_DB:.0f} dB after {1000 * duplex.ECHO_DELAY_S[0]:.0f} to "
        f"{1000 * duplex.ECHO_DELAY_S[1]:.0f} ms. By command: only “stop omni” should interrupt. A near miss of 0.7 s or more is a turn, "
        "answered afterwards.",
    )
    if truncations is not None:
        yield _truncation_table(truncations)
    if problems := _problems(findings, truncations):
        yield Table("Not judged", ("scene", "cases", "why"), problems, (None, Unit.NUMBER, None))


def _interruptions(findings: Findings) -> Iterator[tuple[str | float | None, ...]]:
    for name, scenario, mode in _INTERRUPTIONS:
        if tried := findings.interrupted(scenario, mode):
            missed, answered = _share(not each.as_it_should for each in tried), _share(each.answered for each in tried)
            latencies = [each.latency_s for each in tried if each.latency_s is not None]
            since = "its onset" if name == "voice" else "its end"
            yield f"{mode.name}, from {since}", len(tried), missed, *_spread(_stops(tried)), answered, _spread(latencies)[0]


def _truncation_table(found: Truncations) -> Table:
    rows = [
        (when, len(errors), _within(errors, 0), _within(errors, 1), _within(errors, 2), float(np.mean(errors)))
        for when, errors in (("at once", found.at_once), ("after listening", found.corrected))
        if errors
    ]
    return Table(
        "What the conversation keeps of an interrupted answer",
        ("asked for", "answers", "exact", "to one word", "to two words", "words too many"),
        tuple(rows),
        (None, Unit.NUMBER, Unit.SHARE, Unit.SHARE, Unit.SHARE, Unit.NUMBER),
        "Against pocketsphinx’s forced alignment of the whole answer: a word was heard if its end was played.",
    )


def _problems(findings: Findings, truncations: Truncations | None) -> tuple[tuple[str, int, str], ...]:
    unanswered = [(scenario, count, "the question got no answer to interrupt") for scenario, count in findings.unanswered.items()]
    cuts = [("truncation", count, why) for why, count in (truncations.not_judged.items() if truncations else ())]
    return (*unanswered, *cuts, *((scenario, count, why) for (scenario, why), count in Counter(findings.failures).items()))


def _plots(findings: Findings) -> Iterator[Plot]:
    for name, scenario, mode in _INTERRUPTIONS:
        if stops := _stops(findings.interrupted(scenario, mode)):
            milliseconds = tuple(1000 * each for each in stops)
            marks = (("median", float(np.median(milliseconds))), ("95 %", float(np.percentile(milliseconds, 95))))
            yield Histogram(f"From the {name}{'’s onset' if name == 'voice' else '’s end'} to silence", milliseconds, 25, Unit.MS, marks)
    if latencies := _latencies(findings.asked(duplex.TURNS, duplex.PREPARED)):
        milliseconds = tuple(1000 * each for each in latencies)
        yield Histogram("End of speech to first sample, 200 ms, prepared", milliseconds, 50, Unit.MS, (("median", float(np.median(milliseconds))),))


def _shown(findings: Findings) -> list[Outcome]:
    return [outcome for outcome in findings.outcomes if outcome.recording is not None]


def _sample(outcome: Outcome) -> Sample:
    recording, case = outcome.recording, outcome.case
    assert recording is not None
    length = len(recording.microphone) / RATE
    marks = tuple((mark.name, mark.at) for mark in recording.marks if mark.at <= length)
    expected, answered = _story(outcome)
    said = case.words.text if isinstance(case, Interrupt) else case.sound.text if isinstance(case, Endure) and case.sound else ""
    return Sample(
        title=f"{case.scenario}, {case.mode.name}",
        asked=f"{case.question.text}{f' … {said}' if said else ''}",
        expected=expected,
        answered=answered,
        right=outcome.as_it_should,
        clips=(Clip("user left, answer right", np.stack([recording.microphone, recording.loudspeaker], axis=1), RATE),),
        plot=Channels("", ("user", "answer"), (recording.microphone, recording.loudspeaker), RATE, marks),
    )


def _story(outcome: Outcome) -> tuple[str, str]:
    """What should have happened, and what did."""
    match outcome:
        case Asked():
            words = outcome.answer.text if outcome.answer else ""
            heard = "no answer" if outcome.latency_s is None else f"after {1000 * outcome.latency_s:.0f} ms: {words}"
            return "an answer after the end of the question", f"{'too early, then ' if outcome.early else ''}{heard}"
        case Interrupted():
            stop = _stop(outcome)
            return "silence", "the answer went on" if stop is None else f"silent {1000 * stop:.0f} ms after {_from(outcome)}; kept: {_kept(outcome)}"
        case _:
            return "the answer goes on", "the answer goes on" if outcome.as_it_should else "the answer was interrupted"


def _kept(outcome: Interrupted) -> str:
    return outcome.reply.kept[-1] if outcome.reply.kept else "?"


def _from(outcome: Interrupted) -> str:
    return "its onset" if outcome.case.mode is BY_VOICE else "its end"


def _stop(outcome: Interrupted) -> float | None:
    """A voice is counted from its onset, a phrase from its end."""
    return outcome.from_onset_s if outcome.case.mode is BY_VOICE else outcome.from_end_s


def _stops(tried: Iterable[Interrupted]) -> list[float]:
    return [stop for each in tried if (stop := _stop(each)) is not None]


def _latencies(asked: Iterable[Asked]) -> list[float]:
    return [each.latency_s for each in asked if each.latency_s is not None]


def _spread(seconds: Sequence[float]) -> tuple[float | None, float | None]:
    """Median and 95th percentile, ms."""
    return (1000 * float(np.median(seconds)), 1000 * float(np.percentile(seconds, 95))) if seconds else (None, None)


def _share(true: Iterable[bool]) -> float:
    return float(np.mean(list(true)))


def _within(errors: Sequence[int], most: int) -> float:
    return _share(abs(error) <= most for error in errors)


def _key(*parts: str) -> str:
    return ".".join(("duplex", *parts))

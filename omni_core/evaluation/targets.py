"""What nano is meant to reach: one table. A figure of a report stands beside its goal where it has one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    """How a figure is written."""

    SHARE = "%"  #: 0 .. 1, written in per cent
    TIMES = "x"
    MS = "ms"
    PER_HOUR = "/h"
    NUMBER = ""

    def write(self, value: float | None) -> str:
        """`value` for people."""
        match self:
            case _ if value is None:
                return "–"
            case Unit.SHARE:
                return f"{100 * value:.1f} %"
            case Unit.MS:
                return f"{value:.0f} ms"
            case Unit.TIMES | Unit.PER_HOUR:
                return f"{value:.2f} {self.value}"
            case _:
                return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"


class Verdict(StrEnum):
    """How a figure stands to its goal."""

    MET = "met"  #: what is aimed at
    LEAST = "least"  #: only what is asked at least
    SHORT = "short"


@dataclass(frozen=True)
class Goal:
    """What one figure should be."""

    figure: str  #: its key
    name: str
    least: float
    aim: float
    unit: Unit = Unit.SHARE

    @property
    def rising(self) -> bool:
        """Whether more is better."""
        return self.figure not in _FALLING

    def verdict(self, value: float) -> Verdict:
        """How `value` stands."""
        reached = [value >= bound if self.rising else value <= bound for bound in (self.aim, self.least)]
        return Verdict.MET if reached[0] else Verdict.LEAST if reached[1] else Verdict.SHORT


_QUESTIONS = (
    Goal("qa.talk.espeak.clean", "Everyday questions, espeak-ng", 0.92, 0.97),
    Goal("qa.talk.espeak.10_db", "Everyday questions, espeak-ng, 10 dB", 0.80, 0.90),
    Goal("qa.talk.flite.clean", "Everyday questions, flite", 0.75, 0.92),
    Goal("qa.sums.espeak.clean", "Arithmetic", 0.85, 0.95),
    Goal("qa.memory.espeak.clean", "Memory over two turns", 0.85, 0.95),
    Goal("vision.typed", "Pictures, typed questions", 0.95, 0.95),
    Goal("vision.spoken.espeak.clean", "Pictures, spoken questions", 0.88, 0.95),
)

_SPEECH = (
    Goal("asr.espeak.clean.wer", "Transcription, word error rate", 0.15, 0.08),
    Goal("speech.fixed.ratio", "Answers' word error rate over the original voice's", 1.5, 1.2, Unit.TIMES),
    Goal("speech.open.ratio", "The same on open text", 2.0, 1.3, Unit.TIMES),
)

_CODEC = (
    Goal("codec.stoi", "Codec, STOI", 0.88, 0.93, Unit.NUMBER),
    Goal("codec.pesq", "Codec, wide-band PESQ", 1.6, 2.2, Unit.NUMBER),
)

_INTERRUPTION = (
    Goal("irq.misses.clean", "“Stop omni” missed, clean", 0.05, 0.02),
    Goal("irq.misses.10_db", "“Stop omni” missed, 10 dB", 0.10, 0.05),
    Goal("irq.false_alarms_per_hour", "False alarms an hour", 1.0, 0.5, Unit.PER_HOUR),
    Goal("irq.delay.median", "Status after the phrase's end, median", 200, 200, Unit.MS),
    Goal("irq.delay.p95", "Status after the phrase's end, 95th percentile", 400, 400, Unit.MS),
    Goal("irq.near_misses", "Near misses that trigger", 0.05, 0.05),
)

_DUPLEX = (
    Goal("duplex.turns.prepared.median", "End of speech to first sound, median", 450, 300, Unit.MS),
    Goal("duplex.pause.semantic_vad.taken", "A pause of 0.7 s answered too early, semantic_vad", 0.10, 0.05),
    # 200 ms and the two windows of 32 ms that make speech of a sound
    Goal("duplex.voice.p95", "Interrupting voice to silence, 95th percentile", 264, 264, Unit.MS),
    Goal("duplex.command.missed", "“Stop omni” over 10 dB noise missed in a conversation", 0.10, 0.05),
    Goal("duplex.command.median", "“Stop omni” to silence, median", 350, 350, Unit.MS),
    Goal("duplex.command.p95", "“Stop omni” to silence, 95th percentile", 550, 550, Unit.MS),
    Goal("duplex.false_stops", "Stopped by “mm-hm”, near misses or its own echo", 2, 0, Unit.NUMBER),
)

_TRUNCATION = (
    Goal("duplex.truncation.within_one", "Transcript of a cut answer right to one word", 0.90, 0.95),
    Goal("duplex.truncation.within_two", "… to two words", 1.0, 1.0),
)

_FALLING = {goal.figure for goal in (*_SPEECH, *_INTERRUPTION, *_DUPLEX)}

GOALS = {goal.figure: goal for goal in (*_QUESTIONS, *_SPEECH, *_CODEC, *_INTERRUPTION, *_DUPLEX, *_TRUNCATION)}

"""A loudspeaker that only counts: what has been heard by now, and where the sound ran dry.

Time is an argument, in seconds of any one clock, so that tests need none.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A gap this short is what scheduling does to any process; no listener hears it behind a sound card's own buffer.
TOLERANCE_S = 0.010

#: A server's clock is not the loudspeaker's: so little of an answer, thrown away at its end, is no interruption.
TAIL_S = 0.25


@dataclass
class Player:
    """Plays from the first sample it is given, in real time, until what it has runs out."""

    rate: int
    started: float | None = None  #: when the first sample was heard
    underruns: int = 0  #: chunks that came later than what was buffered allowed
    starved_s: float = 0.0  #: silence the listener heard inside the answer
    samples: int = 0  #: given so far
    _ends: float = 0.0  #: when what has been given will have been heard

    def push(self, samples: int, now: float) -> None:
        """More of the answer arrived."""
        if samples <= 0:
            return
        if self.started is None:
            self.started = self._ends = now
        late = now - self._ends
        if late > 0:
            if late > TOLERANCE_S:
                self.underruns += 1
                self.starved_s += late
            self._ends = now
        self.samples += samples
        self._ends += samples / self.rate

    def ends(self) -> float | None:
        """When all that was given will have been heard; None before the first sample."""
        return None if self.started is None else self._ends

    def heard(self, now: float) -> int:
        """Samples heard by now."""
        if self.started is None:
            return 0
        return max(0, self.samples - round(max(0.0, self._ends - now) * self.rate))

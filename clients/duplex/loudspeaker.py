"""A loudspeaker that plays in real time and remembers what it played when, as a recording of the room would show it.

Time is an argument, in samples since the call began, so that tests need no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clients.python.audio import Wave


@dataclass
class _Piece:
    """Sound that is played without a gap."""

    item_id: str
    begin: int
    wave: Wave

    @property
    def end(self) -> int:
        return self.begin + len(self.wave)


@dataclass
class Loudspeaker:
    """Plays from the first sample it is given, one piece after the other, until it has no more or is told to stop."""

    _pieces: list[_Piece] = field(default_factory=list)

    @property
    def ends(self) -> int:
        """When all it was given will have been heard; 0 before the first sample."""
        return self._pieces[-1].end if self._pieces else 0

    def play(self, item_id: str, wave: Wave, now: int) -> None:
        """More of an item arrived."""
        if len(wave):
            self._pieces.append(_Piece(item_id, max(now, self.ends), wave))

    def stop(self, now: int) -> None:
        """Forget what has not been heard by `now`."""
        self._pieces = [piece for piece in self._pieces if piece.begin < now]
        for piece in self._pieces:
            piece.wave = piece.wave[: now - piece.begin]

    def heard(self, item_id: str, now: int) -> int:
        """Samples of an item that were heard by `now`."""
        return sum(min(len(piece.wave), max(0, now - piece.begin)) for piece in self._pieces if piece.item_id == item_id)

    def between(self, begin: int, end: int) -> Wave:
        """What is heard from sample `begin` to `end`, [end - begin]; silence before the call and where nothing was played."""
        wave = np.zeros(end - begin, np.float32)
        for piece in self._pieces:
            first, last = max(begin, piece.begin), min(end, piece.end)
            if first < last:
                wave[first - begin : last - begin] = piece.wave[first - piece.begin : last - piece.begin]
        return wave

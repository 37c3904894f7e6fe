"""The turn that is being spoken, on its way into the engine: heard while it lasts, so that little is left to do when it ends."""

from __future__ import annotations

from server.session.messages import Hear, Hearing, HearNoMore
from server.session.outbox import Outbox


class TurnHearing:
    """At most one turn at a time, under a name of its own."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._turn: tuple[str, int] | None = None  # its name and its first sample

    @property
    def on(self) -> bool:
        """A turn is being heard."""
        return self._turn is not None

    def begin(self, name: str, start: int, pcm: bytes) -> None:
        """From sample `start` on a turn is spoken; `pcm` is what there is of it."""
        self.end()
        self._turn = (name, start)
        self.more(pcm)

    def more(self, pcm: bytes) -> None:
        """The next audio of the microphone."""
        if self._turn is not None and pcm:
            self._outbox.send(Hear(self._turn[0], pcm))

    def end(self) -> None:
        """It is no turn, or not one that is answered like this."""
        if self._turn is not None:
            self._outbox.send(HearNoMore(self._turn[0]))
            self._turn = None

    def of(self, start: int, end: int) -> Hearing | None:
        """Where the engine has heard the audio of [start, end), if it has."""
        if self._turn is None or self._turn[1] != start:
            return None
        return Hearing(self._turn[0], end - start)

    def leave(self, taken: Hearing | None) -> None:
        """The turn has ended. What was `taken` stays with the engine until it is answered, anything else is forgotten."""
        if taken is None:
            self.end()
        self._turn = None

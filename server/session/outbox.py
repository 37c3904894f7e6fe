"""What a session is about to send: wire events, each with its id, and commands for the shell, in order."""

from __future__ import annotations

from collections.abc import Iterable

from server.protocol.ids import Ids
from server.session.messages import Output, StartTranscription


class Outbox:
    """Filled by every part of a session, emptied after each input."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._outputs: list[Output] = []

    def send(self, *outputs: Output) -> None:
        """Append; an event gets its `event_id`."""
        self.send_all(outputs)

    def send_all(self, outputs: Iterable[Output]) -> None:
        """As `send`."""
        for output in outputs:
            self._outputs.append({"event_id": self._ids.new("event"), **output} if isinstance(output, dict) else output)

    def take(self) -> list[Output]:
        """All of it. An answer is asked for before the transcript of what it answers."""
        outputs, self._outputs = sorted(self._outputs, key=lambda output: isinstance(output, StartTranscription)), []
        return outputs

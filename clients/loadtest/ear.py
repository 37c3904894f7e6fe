"""What one user hears: which chunks of an answer come when, against when the loudspeaker needed them.

The loudspeaker starts with an answer's first chunk; every later chunk is due when all before it has been played. Its lateness is the time from then
to its arrival, negative when it was early. What was missed is not skipped: playback waits, and what follows is due so much later.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from clients.errors import ClientError
from clients.python.audio import RATE
from clients.python.player import Player

#: Deltas are nearly all that is received. They are told by their first type, which every server writes before the delta itself.
_TYPE = re.compile(rb'"type": ?"([^"]+)"')
_DELTA = b'"delta":'
_AUDIO = b"response.output_audio.delta"
_WORDS = b"response.output_audio_transcript.delta"


def read(message: bytes) -> int | dict[str, Any] | None:
    """A frame of the wire: samples of an audio delta, None for more of an answer's words, else the event. ClientError where it is none."""
    found = _TYPE.search(message)
    kind = found[1] if found else b""
    if kind == _WORDS:
        return None
    if kind == _AUDIO:
        begin = message.find(b'"', message.find(_DELTA) + len(_DELTA)) + 1
        end = message.find(b'"', begin)
        padding = message.count(b"=", max(begin, end - 2), end)
        return ((end - begin) // 4 * 3 - padding) // 2
    try:
        event = json.loads(message)
    except ValueError as error:
        raise ClientError(f"the server sent something that is no JSON ({error}); is this a Realtime server?") from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise ClientError("the server sent an event without a type; is this a Realtime server?")
    return event


@dataclass
class Heard:
    """One answer, as far as it has come. Times are seconds of the caller's clock."""

    created_at: float
    player: Player = field(default_factory=lambda: Player(RATE))
    late: int = 0  #: chunks
    done: bool = False
    cut_at: float | None = None  #: when the loudspeaker was silenced in the middle of it

    def push(self, samples: int, now: float) -> float | None:
        """A chunk arrived; gives its lateness, None for the first."""
        ends = self.player.ends()
        self.player.push(samples, now)
        if ends is None:
            return None
        self.late += now > ends
        return now - ends

    def plays(self, now: float) -> bool:
        """Something of it is being heard."""
        ends = self.player.ends()
        return ends is not None and self.cut_at is None and now < ends

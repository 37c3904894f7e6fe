"""The playout clock: how much of each answer its listener has had time to hear, and which words that was.

A client plays what it gets at the pace of the audio, one answer after the other, starting when the first samples arrive and waiting when it has
none. It may say how far it really is.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.protocol.media import SAMPLE_RATE

#: an unfinished answer's length is unknown; English speech has about this many characters a second, blanks included
SPEECH_CHARACTERS_PER_S = 15.0
_KEPT = 2  # answers: the one that is heard, and the next


@dataclass
class _Voice:
    """What was sent of one item."""

    sent: int = 0  #: samples
    ends_at: float = 0.0  #: when the client will have played all of it, s


class Playout:
    """Samples sent against time passed."""

    def __init__(self) -> None:
        self._voices: dict[str, _Voice] = {}  # by item id, oldest first
        self.ends_at = float("-inf")  #: when the client will have played all it was sent, s

    def send(self, item_id: str, samples: int, now: float) -> float:
        """`samples` of an item leave for the client; gives when they begin to be heard."""
        voice = self._voices.setdefault(item_id, _Voice())
        begins = max(now, self.ends_at)
        voice.sent += samples
        voice.ends_at = self.ends_at = begins + samples / SAMPLE_RATE
        for old in list(self._voices)[:-_KEPT]:
            del self._voices[old]
        return begins

    def played(self, item_id: str, now: float) -> int:
        """Samples of the item that the client has had time to play: what it really played is never more."""
        voice = self._voices.get(item_id)
        if voice is None:
            return 0
        waiting = round(max(0.0, voice.ends_at - now) * SAMPLE_RATE)
        return max(0, voice.sent - waiting)

    def acknowledge(self, item_id: str, samples: int, now: float) -> None:
        """The client says that it has just played sample number `samples` of the item: it may be behind, never ahead of what it was sent."""
        voice = self._voices.get(item_id)
        if voice is None or voice.ends_at <= now:
            return
        ends_at = now + max(0, voice.sent - samples) / SAMPLE_RATE
        self.ends_at += ends_at - voice.ends_at
        voice.ends_at = ends_at

    def stop(self, now: float) -> None:
        """The client has thrown away what it had not played."""
        self.ends_at = min(self.ends_at, now)


def heard_text(text: str, heard_s: float, audio_s: float, complete: bool) -> str:
    """The part of `text` that was spoken in the first `heard_s` seconds, in whole words.

    Text runs ahead of the audio that speaks it, so the place is estimated: by proportion in a complete answer of
    `audio_s`, by the usual pace of speech in one that was cut while it was made.
    """
    if complete and heard_s >= audio_s:
        return text
    pace = len(text) / audio_s if complete and audio_s else SPEECH_CHARACTERS_PER_S
    length = int(heard_s * pace)
    if length >= len(text):
        return text
    end = text.rfind(" ", 0, length + 1)
    return text[:end] if end > 0 else ""

"""The playout clock: how much of an answer its listener has had time to hear, and which words that was.

A client plays what it gets at the pace of the audio, starting when the first samples arrive and waiting when it has none.
"""

from __future__ import annotations

from server.protocol.media import SAMPLE_RATE

#: an unfinished answer's length is unknown; English speech has about this many characters a second, blanks included
SPEECH_CHARACTERS_PER_S = 15.0


class Playout:
    """Samples sent against time passed."""

    def __init__(self) -> None:
        self.sent = 0  #: samples
        self._empty_at: float | None = None  # when the client will have played all it was sent

    def send(self, samples: int, now: float) -> None:
        """`samples` leave for the client."""
        begins = now if self._empty_at is None else max(now, self._empty_at)
        self._empty_at = begins + samples / SAMPLE_RATE
        self.sent += samples

    def played(self, now: float) -> int:
        """Samples that the client has had time to play: what it really played is never more."""
        if self._empty_at is None:
            return 0
        waiting = max(0.0, self._empty_at - now) * SAMPLE_RATE
        return max(0, min(self.sent, self.sent - round(waiting)))


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

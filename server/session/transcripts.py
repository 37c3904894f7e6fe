"""Finding out the words of the user's speech, beside the answer to it: for a client that asked for transcripts, and for memory.

Only what was asked for is reported. A transcription that is refused or fails harms nothing: the words of that item stay unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from server.protocol import server_events as events
from server.protocol.errors import ProtocolError
from server.protocol.media import samples_to_ms
from server.protocol.server_events import ServerEvent
from server.session.conversation import Conversation, Item
from server.session.messages import Abilities, Limits, StartTranscription, TranscriptFailed, TranscriptFinished, TranscriptText
from server.session.planning import TRANSCRIBE


@dataclass
class _Transcription:
    item: Item
    asked: bool  #: by the client: its events are sent
    words: str = ""


class Transcripts:
    """The transcriptions in progress of one session."""

    def __init__(self, conversation: Conversation, abilities: Abilities, limits: Limits) -> None:
        self._conversation, self._abilities = conversation, abilities
        self._limit = limits.parallel_transcriptions
        self._running: dict[str, _Transcription] = {}  # by item id

    def start(self, item: Item, *, asked: bool) -> Sequence[ServerEvent | StartTranscription]:
        """Find out the words of `item`, unless they are known or being found out."""
        if item.audio is None or item.untold is None or item.id in self._running:
            return []
        refusal = self._refusal()
        if refusal is not None:
            return [events.transcription_failed(item.id, refusal)] if asked else []
        self._running[item.id] = _Transcription(item, asked)
        return [StartTranscription(item.id, item.audio)]

    def take(self, event: TranscriptText | TranscriptFinished | TranscriptFailed) -> Sequence[ServerEvent]:
        """What has become of a transcription; words that are whole are put into their item."""
        running = self._running.get(event.item_id)
        if running is None:
            return []
        told: list[ServerEvent] = []
        match event:
            case TranscriptText():
                running.words += event.text
                told.append(events.transcription_delta(event.item_id, event.text))
            case TranscriptFinished():
                del self._running[event.item_id]
                told += self._finished(running)
            case TranscriptFailed():
                del self._running[event.item_id]
                told.append(events.transcription_failed(event.item_id, event.error))
            case _:
                assert_never(event)
        return told if running.asked else []

    def _finished(self, transcription: _Transcription) -> Sequence[ServerEvent]:
        item = transcription.item
        if self._conversation.find(item.id) is not item or item.untold is None:
            return []  # deleted meanwhile
        item.untold["transcript"] = transcription.words
        return [events.transcription_completed(item.id, transcription.words, samples_to_ms(item.samples) / 1000)]

    def _refusal(self) -> ProtocolError | None:
        if TRANSCRIBE not in self._abilities.tasks:
            return ProtocolError("transcription_not_supported", f"The model {self._abilities.model!r} can't transcribe speech (task {TRANSCRIBE})")
        if len(self._running) >= self._limit:
            return ProtocolError("too_many_transcriptions", f"{self._limit} transcriptions are in progress: this turn gets none, commit more slowly")
        return None

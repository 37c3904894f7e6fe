"""A session driven by lists: what a client and an engine would do, in virtual time, with every event checked as strict clients do."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any, get_args

from openai.types.realtime import RealtimeServerEvent

from server.protocol.errors import ProtocolError
from server.protocol.ids import Ids
from server.protocol.session_object import SessionObject
from server.protocol.wire import parse
from server.session import Abilities, Limits, Session
from server.session.messages import (
    DetectSpeech,
    FindWords,
    Hear,
    HearNoMore,
    Input,
    Listen,
    ListenNoMore,
    Output,
    Played,
    PlayedNoMore,
    Refused,
    SpeechProbability,
    StartResponse,
    Tick,
)

RATE = 24_000
WINDOW = 768
NANO = frozenset({"A1A2", "A1T2", "A1T1", "T1A2", "T1T2"})
SEEING = NANO | {"VA1A2", "VA1T2", "VT1A2", "VT1T2"}
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
PICTURE = "data:image/png;base64," + base64.b64encode(PNG).decode()

#: commands that keep the shell informed; they stand in `Talk.plumbing`, apart from what happens in a conversation
PLUMBING = (Hear, HearNoMore, Listen, ListenNoMore, Played, PlayedNoMore, FindWords)

#: type string -> class, of the protocol's own package
SERVER_EVENTS = {cls.model_fields["type"].annotation.__args__[0]: cls for cls in get_args(get_args(RealtimeServerEvent)[0])}


def check(event: dict[str, Any]) -> None:
    """`event` is one that strict clients accept."""
    json.dumps(event, allow_nan=False)
    if not event["type"].startswith("omni."):
        SERVER_EVENTS[event["type"]].model_validate(event)


def silence(ms: int) -> bytes:
    return bytes(2 * RATE * ms // 1000)


def base64_audio(pcm: bytes) -> str:
    return base64.b64encode(pcm).decode()


def names(outputs: Iterable[Output]) -> list[str]:
    """Event types, and the names of commands."""
    return [output["type"] if isinstance(output, dict) else type(output).__name__ for output in outputs]


def only(outputs: Iterable[Output], name: str) -> Any:
    """The one output of that name."""
    (found,) = [output for output in outputs if names([output]) == [name]]
    return found


class Talk:
    """One session and its virtual time."""

    def __init__(
        self,
        tasks: frozenset[str] = NANO,
        *,
        max_audio_s: float | None = None,
        memory_turns: int = 0,
        listens: bool = False,
        extended: bool = False,
        limits: Limits | None = None,
        **session: Any,
    ) -> None:
        base = SessionObject(id="sess_t", expires_at=1, model="tiny")
        able = Abilities("tiny", tasks, max_audio_s, memory_turns, listens)
        self.session = Session(base, Ids("t"), able, limits, extended=extended)
        self.now = 0.0
        self.plumbing: list[Output] = []
        self._judged = 0  # samples
        self._seen: set[str] = set()
        self.first = self._checked(self.session.open())
        if session:
            self.update(**session)

    def send(self, type: str, **fields: Any) -> list[Output]:
        try:
            event: Input = parse(json.dumps({"type": type, **fields}))
        except ProtocolError as error:
            event = Refused(error)
        return self.feed(event)

    def feed(self, event: Input) -> list[Output]:
        return self._checked(self.session.handle(event, self.now))

    def update(self, **session: Any) -> list[Output]:
        return self.send("session.update", session={"type": "realtime", **session})

    def manual(self) -> Talk:
        self.update(audio={"input": {"turn_detection": None}})
        return self

    def hear(self, ms: int, probability: float = 0.0) -> list[Output]:
        """The microphone's next `ms`, window by window, each judged as that likely to be speech; time passes."""
        out: list[Output] = []
        while ms > 0:
            out += self._hear_window(min(ms, WINDOW * 1000 // RATE), probability)
            ms -= WINDOW * 1000 // RATE
        return out

    def _hear_window(self, ms: int, probability: float) -> list[Output]:
        out = self.send("input_audio_buffer.append", audio=base64_audio(silence(ms)))
        detect = [output for output in out if isinstance(output, DetectSpeech)]
        self.now += ms / 1000
        for command in detect:
            end = command.start + len(command.pcm) // 2
            while self._judged + WINDOW <= end:
                self._judged += WINDOW
                out += self.feed(SpeechProbability(self._judged, probability))
        return [output for output in out if not isinstance(output, DetectSpeech)]

    def wait(self, ms: int) -> list[Output]:
        """Time passes without a sound from the microphone; the session is told when it wants to be."""
        until, out = self.now + ms / 1000, []
        while (at := self.session.wake_at) is not None and at <= until:
            self.now = max(self.now, at)
            out += self.feed(Tick())
        self.now = until
        return out

    def turn(self, ms: int = 1000) -> list[Output]:
        """Some silence, speech, and the silence that ends it."""
        return self.hear(400) + self.hear(ms, 0.9) + self.hear(700)

    def text_item(self, text: str = "Hello", **fields: Any) -> list[Output]:
        content = [{"type": "input_text", "text": text}]
        return self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content}, **fields)

    def image_item(self, **item: Any) -> list[Output]:
        content = [{"type": "input_image", "image_url": PICTURE}]
        return self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content, **item})

    def started(self, outputs: Iterable[Output]) -> StartResponse:
        return only(outputs, "StartResponse")

    def _checked(self, outputs: list[Output]) -> list[Output]:
        for output in outputs:
            if isinstance(output, dict):
                check(output)
                assert output["event_id"] not in self._seen
                self._seen.add(output["event_id"])
        self.plumbing += [output for output in outputs if isinstance(output, PLUMBING)]
        return [output for output in outputs if not isinstance(output, PLUMBING)]

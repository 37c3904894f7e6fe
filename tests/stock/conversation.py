"""One conversation for every client of the wire: what it says, what it waits for, and what it expects to be told.

A generator, so that a client's own code moves the events: it is sent what the server says and gives what to say next.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from openai.types.realtime import RealtimeServerEvent
from PIL import Image
from pydantic import TypeAdapter

from clients.python.audio import RATE, Wave, load_audio

Event = dict[str, Any]
Steps = Generator[list[Event], Event, Any]

STRICT: TypeAdapter[RealtimeServerEvent] = TypeAdapter(RealtimeServerEvent)

QUESTIONS = Path(__file__).resolve().parents[1] / "assets" / "questions"
LONG_ANSWER = "Can you tell me a short story?"
TURN_DETECTION = {"type": "server_vad", "silence_duration_ms": 300, "interrupt_response": True}


@dataclass(frozen=True)
class Line:
    """How the client's audio is written, by libsndfile and soxr."""

    format: Event  #: as the session says it
    rate: int
    subtype: str

    def encode(self, wave: Wave) -> bytes:
        """Of samples [N] at 24 kHz."""
        file = io.BytesIO()
        soundfile.write(file, soxr.resample(wave, RATE, self.rate), self.rate, format="RAW", subtype=self.subtype)
        return file.getvalue()

    def decode(self, data: bytes) -> Wave:
        """Samples [N] at 24 kHz."""
        wave, _ = soundfile.read(io.BytesIO(data), format="RAW", subtype=self.subtype, channels=1, samplerate=self.rate, dtype="float32")
        return soxr.resample(wave, self.rate, RATE)


PCM = Line({"type": "audio/pcm", "rate": RATE}, RATE, "PCM_16")
TELEPHONE = Line({"type": "audio/pcmu"}, 8_000, "ULAW")


def spoken(question: str) -> Wave:
    """A recorded question and the silence that ends it."""
    return np.concatenate((load_audio(QUESTIONS / f"{question}.flac"), np.zeros(RATE, np.float32)))


def chunks(data: bytes, size: int = 4_800) -> Iterator[bytes]:
    """As a client sends it: 100 ms of PCM at once."""
    return (data[at : at + size] for at in range(0, len(data), size))


def picture() -> str:
    """A red square as a data URL."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (220, 20, 20)).save(file, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def ask(*content: Event, **response: Any) -> list[Event]:
    """A typed question, and that it be answered so."""
    return [
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": list(content)}},
        {"type": "response.create", "response": response},
    ]


def text(words: str) -> Event:
    return {"type": "input_text", "text": words}


class Heard:
    """Everything that the server said."""

    def __init__(self, line: Line) -> None:
        self.line, self.events = line, list[Event]()

    def add(self, event: Event) -> None:
        """Raises what the protocol's own types reject."""
        STRICT.validate_python(event)
        self.events.append(event)

    def of(self, type: str) -> list[Event]:
        return [event for event in self.events if event["type"] == type]

    def at(self, type: str) -> int:
        """The place of the last such event."""
        return max(place for place, event in enumerate(self.events) if event["type"] == type)

    def audio(self, response: Event) -> Wave:
        """What was said in the response of this `response.done`: samples [N]."""
        deltas = [event["delta"] for event in self.of("response.output_audio.delta") if event["response_id"] == response["response"]["id"]]
        return self.line.decode(b"".join(map(base64.b64decode, deltas)))

    def check(self) -> None:
        """Nothing went wrong, and every response had one end."""
        assert not self.of("error")
        begun, ended = ([event["response"]["id"] for event in self.of(type)] for type in ("response.created", "response.done"))
        assert begun == ended


class Conversation:
    """Two spoken turns, a picture, a cancelled answer, and one that is talked into."""

    def __init__(self, line: Line = PCM) -> None:
        self.line, self.heard = line, Heard(line)

    def steps(self) -> Steps:
        """From session.created to the last answer."""
        yield from self._until("session.created")
        audio = {
            "input": {"format": self.line.format, "turn_detection": TURN_DETECTION, "transcription": {"model": "whisper-1"}},
            "output": {"format": self.line.format, "voice": "marin"},
        }
        updated = yield from self._until("session.updated", {"type": "session.update", "session": {"type": "realtime", "audio": audio}})
        assert updated["session"]["audio"]["input"]["turn_detection"]["interrupt_response"] is True

        for question in ("capital-france-annie", "spider-legs-annie"):
            done = yield from self._until("response.done", *self._say(question))
            self._check_answer(done)
        assert (
            self.heard.at("input_audio_buffer.speech_started")
            < self.heard.at("input_audio_buffer.speech_stopped")
            < self.heard.at("response.created")
        )

        image, metadata = {"type": "input_image", "image_url": picture()}, {"turn": "3"}
        done = yield from self._until("response.done", *ask(image, text("What do you see?"), metadata=metadata))
        self._check_answer(done)
        assert done["response"]["metadata"] == metadata

        yield from self._until("response.output_audio.delta", *ask(text(LONG_ANSWER)))
        done = yield from self._until("response.done", {"type": "response.cancel"})
        assert (done["response"]["status"], done["response"]["status_details"]["reason"]) == ("cancelled", "client_cancelled")

        delta = yield from self._until("response.output_audio.delta", *ask(text(LONG_ANSWER)))
        done = yield from self._until("response.done", *self._say("capital-japan-annie"))
        assert (done["response"]["status"], done["response"]["status_details"]["reason"]) == ("cancelled", "turn_detected")
        cut = {"type": "conversation.item.truncate", "item_id": delta["item_id"], "content_index": 0, "audio_end_ms": 300}
        yield from self._until("input_audio_buffer.speech_started")
        yield from self._until("conversation.item.truncated", cut)
        done = yield from self._until("response.done")
        self._check_answer(done)
        self.heard.check()

    def _until(self, type: str, *sending: Event) -> Steps:
        """Say that, and listen until such an event comes."""
        event = yield list(sending)
        self.heard.add(event)
        while event["type"] != type:
            event = yield []
            self.heard.add(event)
        return event

    def _say(self, question: str) -> list[Event]:
        pcm = self.line.encode(spoken(question))
        return [{"type": "input_audio_buffer.append", "audio": base64.b64encode(chunk).decode()} for chunk in chunks(pcm)]

    def _check_answer(self, done: Event) -> None:
        assert done["response"]["status"] == "completed", json.dumps(done)
        (item,) = done["response"]["output"]
        assert item["content"][0]["transcript"]
        audio = self.heard.audio(done)
        assert len(audio) > RATE // 2
        assert np.abs(audio).max() > 0.01

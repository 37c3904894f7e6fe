"""A chat's messages as what the model is asked: the last message of the user, and the turns before it as far as it remembers them.

A turn is speech or text: beside a recording the text of the same message steers nothing, as `system` messages steer nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from omni_core.engine.request import EngineInfo, Task
from server.http.call import Body
from server.http.sound import decode_sound
from server.protocol.errors import ProtocolError
from server.protocol.media import decode_picture
from server.session.memory import History, recent_turns


class InputAudio(Body):
    data: str  #: base64 of a sound file; what it is, its bytes say


class ImageUrl(Body):
    url: str  #: a data URL


class Part(Body):
    type: str
    text: str | None = None
    input_audio: InputAudio | None = None
    image_url: ImageUrl | None = None

    @field_validator("image_url", mode="before")
    @classmethod
    def _as_object(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value


class SpokenBefore(Body):
    id: str


class Message(Body):
    role: str
    content: list[Part] = Field(default_factory=list)
    audio: SpokenBefore | None = None  #: an earlier answer of the assistant

    @field_validator("content", mode="before")
    @classmethod
    def _as_parts(cls, value: Any) -> Any:
        return [{"type": "text", "text": value}] if isinstance(value, str) else value or []

    @property
    def text(self) -> str:
        """What is written in it."""
        return "\n".join(part.text for part in self.content if part.text)


@dataclass(frozen=True, eq=False)
class Question:
    """What one completion answers."""

    task: Task
    audio: NDArray[np.float32] | None
    sample_rate: int
    image: bytes | None
    text: str | None
    history: History


def read_question(messages: list[Message], info: EngineInfo, *, speaks: bool, said: Callable[[str], str]) -> Question:
    """The newest turn. `said(id)`: the words of an earlier spoken answer, "" where they are not known.

    Decodes sound: for a thread. Raises ProtocolError or AudioError naming the part (`messages.0.content.1.input_audio.data`).
    """
    spoken_to = [number for number, message in enumerate(messages) if message.role in ("user", "assistant")]
    if not spoken_to or messages[spoken_to[-1]].role != "user":
        raise ProtocolError("invalid_value", "The last message must be the user's: there is nothing to answer", param="messages")
    place = spoken_to[-1]
    audio, rate, image = _media(messages[place], f"messages.{place}.content", info)
    text = messages[place].text
    if audio is None and not text.strip():
        raise ProtocolError("invalid_value", "The last message of the user asks nothing: give text or input_audio", param=f"messages.{place}.content")
    task = ("V" if image else "") + ("T1" if audio is None else "A1") + ("A2" if speaks else "T2")
    words = ((message.role, said(message.audio.id) if message.audio and not message.text else message.text) for message in messages[:place])
    return Question(Task(task), audio, rate, image, text if audio is None else None, recent_turns(words, info.memory_turns))


def _media(message: Message, param: str, info: EngineInfo) -> tuple[NDArray[np.float32] | None, int, bytes | None]:
    """The recording with its rate, and the picture: of several pictures the last."""
    audio, rate, image = None, info.sample_rate, None
    for number, part in enumerate(message.content):
        where = f"{param}.{number}"
        match part:
            case Part(type="input_audio", input_audio=InputAudio(data=data)):
                if audio is not None:
                    raise ProtocolError("invalid_value", f"{where}: a turn has one recording: join them into one", param=where)
                audio, rate = decode_sound(data, info.max_audio_s, f"{where}.input_audio.data")
            case Part(type="image_url", image_url=ImageUrl(url=url)):
                image = decode_picture(url, f"{where}.image_url.url")
            case Part(type="text", text=str()):
                pass
            case _:
                raise ProtocolError("invalid_value", f"{where} of type {part.type[:50]!r} is not known, or lacks what its name says", param=where)
    return audio, rate, image

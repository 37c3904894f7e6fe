"""The conversation: items in order, what they hold, and what a response answers.

The model hears and sees one turn at a time, so of old turns the words stay and the media go: the newest few turns keep their
audio and only the newest picture is held, however many a camera sends. A model with memory is given the words of the newest turns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from server.protocol.audio_formats import decode_audio
from server.protocol.errors import ProtocolError
from server.protocol.events import ContentPart, ItemObject
from server.protocol.media import SAMPLE_RATE, decode_picture, pcm_samples
from server.protocol.session_object import AudioFormat
from server.session.memory import History, recent_turns
from server.session.messages import Hearing, Limits
from server.session.playout import heard_text

ROOT = "root"  #: as a previous_item_id: the beginning


@dataclass
class Item:
    """One entry of the conversation."""

    id: str
    role: str | None  #: None: a tool call or its output, kept and echoed
    content: list[dict[str, Any]]  #: wire form without media; an assistant's answer is rendered from the fields below
    status: str = "completed"
    tool: dict[str, Any] = field(default_factory=dict)  #: the fields of a tool call
    audio: bytes | None = None  #: user speech, s16le 24 kHz
    hearing: Hearing | None = None  #: where the engine heard it
    text: str = ""  #: user text, or the assistant's answer so far
    speaks: bool = False  #: an assistant's answer in speech
    samples: int = 0  #: of audio sent, in an assistant's answer
    pcm: bytearray = field(default_factory=bytearray)  #: that audio, s16le 24 kHz, of the newest answer alone
    heard: int | None = None  #: samples after which a spoken answer was cut; None: not cut
    heard_characters: int | None = None  #: of `text` in those samples, once they have been listened to; None: estimated
    answered: bool = False  #: a user turn that was answered to the end
    characters: int = 0  #: written by the client

    def wire(self) -> dict[str, Any]:
        """As the events show it: without audio and pictures."""
        base = {"id": self.id, "object": "realtime.item", "status": self.status}
        if self.role is None:
            return {**base, **self.tool}
        content = self.content
        if self.role == "assistant" and not content and (self.text or self.samples or self.status != "in_progress"):
            content = [{"type": "output_audio", "transcript": self.transcript} if self.speaks else {"type": "output_text", "text": self.text}]
        return {**base, "type": "message", "role": self.role, "content": content}

    @property
    def transcript(self) -> str:
        """What was said, up to where it was cut."""
        if self.heard is None:
            return self.text
        if self.heard_characters is not None:
            return self.text[: self.heard_characters]
        return heard_text(self.text, self.heard / SAMPLE_RATE, self.samples / SAMPLE_RATE, self.status == "completed")

    @property
    def words(self) -> str:
        """What it says, as far as that is known: written, transcribed, or answered and heard."""
        if self.role == "assistant":
            return self.transcript
        return _joined(part.get("text") or part.get("transcript") for part in self.content)

    @property
    def untold(self) -> dict[str, Any] | None:
        """The part of a user's content that is speech whose words are not known; None: there is none."""
        parts = self.content if self.role == "user" else []
        return next((part for part in parts if part["type"] == "input_audio" and part.get("transcript") is None), None)

    def cut(self, samples: int) -> int:
        """The listener heard no more than `samples`; gives where the cut is. More than was sent is clamped: pipecat drops its session on an error."""
        self.heard, self.heard_characters = min(samples, self.samples), None
        return self.heard


@dataclass(frozen=True)
class Turn:
    """What one response answers."""

    item: Item | None = None  #: where it comes from the conversation
    audio: bytes | None = None
    text: str | None = None
    image: bytes | None = None
    history: History = ()  #: the turns before it, as far as the model remembers
    hearing: Hearing | None = None  #: where the engine has been hearing `audio` since it began

    @property
    def answered(self) -> bool:
        """It was answered to the end."""
        return self.item is not None and self.item.answered


@dataclass(frozen=True)
class Media:
    """The inputs found in a client's item."""

    audio: bytes | None
    text: str
    image: bytes | None


def read_media(parts: list[ContentPart], param: str, format: AudioFormat) -> Media:
    """The inputs of a client's content parts, whose audio has that format. Raises ProtocolError naming the part (`param.0.audio`)."""
    audio, texts, image = b"", [], None
    for number, part in enumerate(parts):
        where = f"{param}.{number}"
        match part.type:
            case "input_audio":
                audio += decode_audio(part.audio or "", format, f"{where}.audio")
            case "input_image":
                image = decode_picture(part.image_url or "", f"{where}.image_url")
            case "input_text" | "output_text" | "text":
                texts.append(part.text or "")
            case "output_audio" | "audio":
                texts.append(part.transcript or "")
            case _:
                raise ProtocolError("invalid_value", f"{where}.type {part.type[:50]!r} is not known", param=f"{where}.type")
    return Media(audio or None, "\n".join(text for text in texts if text), image)


class Conversation:
    """The session's one conversation."""

    def __init__(self, limits: Limits, memory_turns: int = 0) -> None:
        self._items: list[Item] = []
        self._limits = limits
        self._memory_turns = memory_turns  # earlier turns that the model takes in
        self._characters = 0  # of all items
        self.picture: tuple[str, bytes] | None = None  #: item id and newest picture, until an answer has used it

    def __contains__(self, item_id: str) -> bool:
        return self.find(item_id) is not None

    def find(self, item_id: str) -> Item | None:
        """The item of that id."""
        return next((item for item in reversed(self._items) if item.id == item_id), None)

    def get(self, item_id: str, action: str) -> Item:
        """The item of that id. Raises ProtocolError with the code of `action` (`item_retrieve_invalid_item_id`)."""
        item = self.find(item_id)
        if item is None:
            raise ProtocolError(f"item_{action}_invalid_item_id", f"There is no item {item_id[:100]!r} in the conversation", param="item_id")
        return item

    @property
    def last_id(self) -> str | None:
        return self._items[-1].id if self._items else None

    def previous_id(self, item: Item) -> str | None:
        """The id before `item`, None at the beginning."""
        place = self._items.index(item)
        return self._items[place - 1].id if place else None

    def add(self, item: Item, after: str | None = None) -> None:
        """Put `item` at the end, or after the item `after` ("root": first). Raises ProtocolError."""
        if item.id in self:
            raise ProtocolError("item_create_duplicate_item_id", f"There is an item {item.id[:100]!r} already", param="item.id")
        self.check_room(item.characters)
        if after is None:
            place = len(self._items)
        elif after == ROOT:
            place = 0
        else:
            before = self.find(after)
            if before is None:
                raise ProtocolError(
                    "item_create_invalid_previous_item_id",
                    f"There is no item {after[:100]!r} to put this one after",
                    param="previous_item_id",
                )
            place = self._items.index(before) + 1
        self._items.insert(place, item)
        self._characters += item.characters
        holders = [held for held in self._items if held.audio is not None]
        for old in holders[: -self._limits.item_audio]:
            old.audio = None

    def check_room(self, characters: int = 0) -> None:
        """Raises ProtocolError when an item with so many characters has no place."""
        if len(self._items) >= self._limits.items or self._characters + characters > self._limits.characters:
            limits = f"{self._limits.items} items and {self._limits.characters} characters"
            raise ProtocolError("conversation_full", f"The conversation is full, its limits are {limits}: delete items or reconnect")

    def delete(self, item_id: str) -> None:
        """Remove an item. Raises ProtocolError when there is none."""
        item = self.get(item_id, "delete")
        self._items.remove(item)
        self._characters -= item.characters
        if self.picture is not None and self.picture[0] == item_id:
            self.picture = None

    def spoken_answer(self, item_id: str) -> Item:
        """The item that `conversation.item.truncate` names. Raises ProtocolError when it is none that can be cut."""
        item = self.get(item_id, "truncate")
        if item.role != "assistant" or not item.speaks:
            raise ProtocolError("item_truncate_invalid_item", "Only an assistant's spoken answer can be truncated", param="item_id")
        return item

    @property
    def image(self) -> bytes | None:
        """The newest picture that no answer has used."""
        return self.picture[1] if self.picture else None

    def heard(self, item_id: str, samples: int, characters: int) -> None:
        """What was found out of an answer that was cut: so many characters in its first `samples` samples, if it still ends there."""
        item = self.find(item_id)
        if item is not None and item.heard == samples:
            item.heard_characters = characters

    def newest_turn(self) -> Turn | None:
        """The newest user item that says something, with the newest picture since the last answer."""
        for item in reversed(self._items):
            if item.role == "user" and (item.audio or item.text):
                return Turn(item, item.audio, None if item.audio else item.text, self.image, self.history(item), item.hearing)
        return None

    def history(self, before: Item | None = None) -> History:
        """The newest turns that ended before item `before` (None: all)."""
        items = self._items if before is None else self._items[: self._items.index(before)]
        return recent_turns(((item.role, item.words) for item in items), self._memory_turns)

    def answered(self, turn: Turn) -> None:
        """`turn` was answered to the end: the next one sees only newer pictures."""
        if turn.item is not None:
            turn.item.answered = True
        if self.picture is not None and self.picture[1] is turn.image:
            self.picture = None

    def turn_of(self, items: list[ItemObject], format: AudioFormat) -> Turn | None:
        """What a `response.create` with its own `input` asks: the newest user item there that says something, with the turns before it there,
        and the newest picture."""
        turn, image = None, None
        said_so_far: list[tuple[str | None, str]] = []  # role and words
        before = 0  # how many of them stand before the turn
        for number, source in enumerate(items):
            if source.type == "item_reference":
                item = self.get(source.id or "", "reference")
                said, picture = Media(item.audio, item.text, None), self.picture
                if picture is not None and picture[0] == item.id:
                    image = picture[1]
                role, words = item.role, item.words
            else:
                said, role = read_media(source.content, f"response.input.{number}.content", format), source.role
                image = said.image or image
                words = _joined(part.text or part.transcript for part in source.content)
            if role == "user" and (said.audio or said.text):
                turn, before = said, len(said_so_far)
            said_so_far.append((role, words))
        if turn is None:
            return None
        history = recent_turns(said_so_far[:before], self._memory_turns)
        return Turn(None, turn.audio, None if turn.audio else turn.text, image, history)


def item_from(source: ItemObject, item_id: str, media: Media) -> Item:
    """The item that a client describes. Raises ProtocolError when it lacks what its type needs."""
    if source.type == "item_reference":
        raise ProtocolError("invalid_value", "item.type 'item_reference' is only for a response's input", param="item.type")
    if source.type != "message":
        call = {"call_id": source.call_id or "", "name": source.name or "", "arguments": source.arguments or ""}
        output = {"call_id": source.call_id or "", "output": source.output or ""}
        words = call if source.type == "function_call" else output
        return Item(item_id, None, [], tool={"type": source.type, **words}, characters=sum(map(len, words.values())))
    if source.role is None:
        raise ProtocolError("missing_required_parameter", "A message needs a role: user, assistant or system", param="item.role")
    if not source.content:
        raise ProtocolError("missing_required_parameter", "A message needs content", param="item.content")
    # Media are not echoed: a camera's frames would come back over the same line.
    parts = [part.model_dump(exclude_none=True, exclude={"audio", "image_url", "type"}) for part in source.content]
    kinds = [_content_type(part.type, source.role, number) for number, part in enumerate(source.content)]
    content = [{"type": kind, **words} for kind, words in zip(kinds, parts, strict=True)]
    characters = sum(len(part.text or "") + len(part.transcript or "") for part in source.content)
    samples = pcm_samples(media.audio or b"")
    return Item(item_id, source.role, content, audio=media.audio, text=media.text, samples=samples, characters=characters)


def _joined(texts: Iterable[str | None]) -> str:
    return " ".join(filter(None, texts))


#: what a role's message may hold; older clients write "text" and "audio" everywhere
_CONTENT_TYPES = {
    "user": {"input_text": "input_text", "text": "input_text", "input_audio": "input_audio", "input_image": "input_image"},
    "system": {"input_text": "input_text", "text": "input_text"},
    "assistant": {"output_text": "output_text", "text": "output_text", "output_audio": "output_audio", "audio": "output_audio"},
}


def _content_type(kind: str, role: str, number: int) -> str:
    known = _CONTENT_TYPES[role]
    if kind not in known:
        param = f"item.content.{number}.type"
        raise ProtocolError("invalid_value", f"{param} {kind[:50]!r} is not for a message of the {role}: use {', '.join(known)}", param=param)
    return known[kind]

"""The conversation: items in order, what they hold, and what a response answers.

The model answers one turn at a time, so of old turns the words stay and the media go: the newest few turns keep their
audio and only the newest picture is held, however many a camera sends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from server.protocol.errors import ProtocolError
from server.protocol.events import ContentPart, ItemObject
from server.protocol.media import SAMPLE_RATE, decode_pcm, decode_picture, ms_to_samples, pcm_samples, samples_to_ms
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
    text: str = ""  #: user text, or the assistant's answer so far
    speaks: bool = False  #: an assistant's answer in speech
    samples: int = 0  #: of audio sent, in an assistant's answer
    heard: int | None = None  #: samples after which a spoken answer was cut; None: not cut
    answered: bool = False  #: a user turn that was answered to the end

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
        return heard_text(self.text, self.heard / SAMPLE_RATE, self.samples / SAMPLE_RATE, self.status == "completed")

    def cut(self, samples: int) -> int:
        """The listener heard no more than `samples`; gives where the cut is. More than was sent is clamped: pipecat drops its session on an error."""
        self.heard = min(samples, self.samples)
        return self.heard


@dataclass(frozen=True)
class Turn:
    """What one response answers."""

    item_id: str | None = None  #: where it comes from the conversation
    audio: bytes | None = None
    text: str | None = None
    image: bytes | None = None
    answered: bool = False


@dataclass(frozen=True)
class Media:
    """The inputs found in a client's item."""

    audio: bytes | None
    text: str
    image: bytes | None


def read_media(parts: list[ContentPart], param: str) -> Media:
    """The inputs of a client's content parts. Raises ProtocolError naming the part (`param.0.audio`)."""
    audio, texts, image = b"", [], None
    for number, part in enumerate(parts):
        where = f"{param}.{number}"
        match part.type:
            case "input_audio":
                audio += decode_pcm(part.audio or "", f"{where}.audio")
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

    def __init__(self, *, max_items: int, kept_audio: int) -> None:
        self._items: list[Item] = []
        self._max_items = max_items
        self._kept_audio = kept_audio
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
        if len(self._items) >= self._max_items:
            raise ProtocolError("conversation_full", f"The conversation holds {self._max_items} items, its limit: delete some or reconnect")
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
        holders = [held for held in self._items if held.audio is not None]
        for old in holders[: -self._kept_audio]:
            old.audio = None

    def delete(self, item_id: str) -> None:
        """Remove an item. Raises ProtocolError when there is none."""
        self._items.remove(self.get(item_id, "delete"))
        if self.picture is not None and self.picture[0] == item_id:
            self.picture = None

    def truncate(self, item_id: str, audio_end_ms: int) -> int:
        """Cut a spoken answer to what was heard; gives the place in ms (`conversation.item.truncated`). Raises ProtocolError."""
        item = self.get(item_id, "truncate")
        if item.role != "assistant" or not item.speaks:
            raise ProtocolError("item_truncate_invalid_item", "Only an assistant's spoken answer can be truncated", param="item_id")
        return samples_to_ms(item.cut(ms_to_samples(audio_end_ms)))

    def newest_turn(self) -> Turn | None:
        """The newest user item that says something, with the newest picture since the last answer."""
        for item in reversed(self._items):
            if item.role == "user" and (item.audio or item.text):
                image = self.picture[1] if self.picture else None
                return Turn(item.id, item.audio, None if item.audio else item.text, image, item.answered)
        return None

    def answered(self, turn: Turn) -> None:
        """`turn` was answered to the end: the next one sees only newer pictures."""
        item = None if turn.item_id is None else self.find(turn.item_id)
        if item is not None:
            item.answered = True
        if self.picture is not None and self.picture[1] is turn.image:
            self.picture = None

    def turn_of(self, items: list[ItemObject]) -> Turn | None:
        """What a `response.create` with its own `input` asks: the newest user item there that says something, and the newest picture."""
        turn, image = None, None
        for number, source in enumerate(items):
            if source.type == "item_reference":
                item = self.get(source.id or "", "reference")
                said, picture = Media(item.audio, item.text, None), self.picture
                if picture is not None and picture[0] == item.id:
                    image = picture[1]
                role = item.role
            else:
                said, role = read_media(source.content, f"response.input.{number}.content"), source.role
                image = said.image or image
            if role == "user" and (said.audio or said.text):
                turn = Turn(audio=said.audio, text=None if said.audio else said.text)
        return None if turn is None else Turn(None, turn.audio, turn.text, image)


def item_from(source: ItemObject, item_id: str, media: Media) -> Item:
    """The item that a client describes. Raises ProtocolError when it lacks what its type needs."""
    if source.type == "item_reference":
        raise ProtocolError("invalid_value", "item.type 'item_reference' is only for a response's input", param="item.type")
    if source.type != "message":
        call = {"call_id": source.call_id or "", "name": source.name or "", "arguments": source.arguments or ""}
        output = {"call_id": source.call_id or "", "output": source.output or ""}
        return Item(item_id, None, [], tool={"type": source.type, **(call if source.type == "function_call" else output)})
    if source.role is None:
        raise ProtocolError("missing_required_parameter", "A message needs a role: user, assistant or system", param="item.role")
    if not source.content:
        raise ProtocolError("missing_required_parameter", "A message needs content", param="item.content")
    if source.role != "user" and (media.audio or media.image):
        raise ProtocolError("invalid_value", "Only a user's message carries input audio or pictures", param="item.content")
    # Media are not echoed: a camera's frames would come back over the same line.
    parts = [part.model_dump(exclude_none=True, exclude={"audio", "image_url", "type"}) for part in source.content]
    content = [{"type": _content_type(part.type, source.role), **words} for part, words in zip(source.content, parts, strict=True)]
    return Item(item_id, source.role, content, audio=media.audio, text=media.text, samples=pcm_samples(media.audio or b""))


def _content_type(kind: str, role: str) -> str:
    """The part's type as the role's items have it (older clients write "text" everywhere)."""
    if kind in ("text", "input_text", "output_text"):
        return "output_text" if role == "assistant" else "input_text"
    return "output_audio" if kind == "audio" else kind

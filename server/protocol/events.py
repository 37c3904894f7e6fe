"""Client events of the Realtime protocol (GA dialect) and our extensions: lenient towards extras, strict on what matters.

`session.update` and `response.create` carry open-ended objects; the session object checks itself when it is merged.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.protocol.session_object import AudioFormat, AudioOutput, OutputTokens


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ContentPart(_Model):
    type: str
    text: str | None = None
    audio: str | None = None  #: base64
    transcript: str | None = None
    image_url: str | None = None  #: a data URL


class ItemObject(_Model):
    """An item as a client writes it: a message, or a tool call that is kept and has no effect; in `input` also a reference."""

    type: Literal["message", "function_call", "function_call_output", "item_reference"] = "message"
    id: str | None = Field(default=None, min_length=1, max_length=512)
    role: Literal["user", "assistant", "system"] | None = None
    content: list[ContentPart] = Field(default=[], max_length=64)
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | None = None


class _OutputOverrides(_Model):
    format: AudioFormat | None = None
    voice: str | dict[str, Any] | None = None


class _AudioOverrides(_Model):
    output: _OutputOverrides | None = None


class ResponseParams(_Model):
    """`response.create`'s overrides. Instructions and tools are accepted: weights trained without them can't follow them."""

    conversation: str | None = None
    input: list[ItemObject] | None = None
    instructions: str | None = None
    output_modalities: list[Literal["text", "audio"]] | None = Field(default=None, min_length=1)
    max_output_tokens: OutputTokens | None = None
    metadata: dict[str, str] | None = None
    audio: _AudioOverrides | None = None

    def audio_output(self, usual: AudioOutput) -> AudioOutput:
        """How this response is spoken: `usual` as the session has it, where nothing else is asked for."""
        asked = self.audio.output if self.audio is not None else None
        if asked is None:
            return usual
        return usual.model_copy(update={name: value for name in ("format", "voice") if (value := getattr(asked, name)) is not None})


class _Event(_Model):
    event_id: str | None = None


class SessionUpdate(_Event):
    type: Literal["session.update"]
    session: dict[str, Any]


class InputAudioBufferAppend(_Event):
    type: Literal["input_audio_buffer.append"]
    audio: str  #: base64


class InputAudioBufferCommit(_Event):
    type: Literal["input_audio_buffer.commit"]


class InputAudioBufferClear(_Event):
    type: Literal["input_audio_buffer.clear"]


class OutputAudioBufferClear(_Event):
    """WebRTC's way to silence the server. Over a WebSocket the queue of what is to be played is the client's own: nothing follows."""

    type: Literal["output_audio_buffer.clear"]


class InputImageBufferAppend(_Event):
    """A camera's newest frame (Qwen-Omni-Realtime's event): what the next turn sees, and no item."""

    type: Literal["input_image_buffer.append"]
    image: str  #: base64, or a data URL


class OmniPlayback(_Event):
    """Extension: how much of an item its listener has really heard so far."""

    type: Literal["omni.playback"]
    item_id: str
    audio_ms: int = Field(ge=0)


class ConversationItemCreate(_Event):
    type: Literal["conversation.item.create"]
    item: ItemObject
    previous_item_id: str | None = None


class ConversationItemRetrieve(_Event):
    type: Literal["conversation.item.retrieve"]
    item_id: str


class ConversationItemDelete(_Event):
    type: Literal["conversation.item.delete"]
    item_id: str


class ConversationItemTruncate(_Event):
    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = 0
    audio_end_ms: int = Field(ge=0)


class ResponseCreate(_Event):
    type: Literal["response.create"]
    response: ResponseParams | None = None


class ResponseCancel(_Event):
    type: Literal["response.cancel"]
    response_id: str | None = None


ClientEvent = (
    SessionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | InputImageBufferAppend
    | OmniPlayback
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemDelete
    | ConversationItemTruncate
    | ResponseCreate
    | ResponseCancel
)

AnyClientEvent = Annotated[ClientEvent, Field(discriminator="type")]

"""One request on its way: its body as what a face expects, its answer as the engine makes it, and an end to both."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from omni_core.engine.request import AudioChunk, Finished, FinishReason, GenerateRequest, TextDelta, TurnEnded
from server.asking import ask
from server.http.replies import Stream
from server.protocol.errors import ProtocolError
from server.settings import Settings

if TYPE_CHECKING:
    from omni_core.engine.client import EngineClient

Event = TextDelta | AudioChunk | Finished


class Body(BaseModel):
    """A request's fields: those that are not known have no effect."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


M = TypeVar("M", bound=Body)


@dataclass(frozen=True)
class Call:
    """A request that was let in, with its whole body. What `stack` holds is closed when the request ends, however it ends."""

    engine: EngineClient
    settings: Settings
    request: Request
    body: bytes
    stack: AsyncExitStack

    def json(self, kind: type[M]) -> M:
        """The body. Raises ProtocolError for one that is no JSON, or not what `kind` describes."""
        header = Message()
        header["content-type"] = self.request.headers.get("content-type", "application/json")
        if header.get_content_type() != "application/json":
            raise ProtocolError("unsupported_media_type", f"Send application/json, not {header.get_content_type()[:100]!r}")
        try:
            return kind.model_validate_json(self.body)
        except ValidationError as error:
            raise explained(error) from None

    async def ask(self, request: GenerateRequest) -> AsyncIterator[Event]:
        """Begin an answer. Its first event is waited for, so that whatever can be refused is refused before a status is sent.

        The events end with Finished; on the way what the engine raises, or TimeoutError. Raises InputError, EngineBusy and EngineClosed at once.
        """
        events = await self.stack.enter_async_context(aclosing(self._events(request)))
        return _after(await anext(events), events)

    async def _events(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        async with aclosing(ask(self.engine, request, self.settings.engine_timeout_s)) as events:
            async for event in events:
                if not isinstance(event, TurnEnded):  # it came in one piece
                    yield event

    def stream(self, chunks: AsyncIterator[bytes], media_type: str = "text/event-stream") -> Response:
        """An answer that leaves while it is made; by default as server-sent events."""
        return Stream(chunks, media_type, self.settings.send_timeout_s)


Handler = Callable[[Call], Awaitable[Response]]


async def _after(first: Event, rest: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    yield first
    async for event in rest:
        yield event


@dataclass
class Answer:
    """What has come of an answer; whole when all its events were added."""

    text: str = ""
    audio: list[NDArray[np.float32]] = field(default_factory=list)
    tokens: tuple[int, int, int] = (0, 0, 0)  #: of the prompt, the text and the audio
    cut: bool = False  #: it ran into a limit before the model ended it

    @classmethod
    async def whole(cls, events: AsyncIterator[Event]) -> Answer:
        """Of all events."""
        answer = cls()
        async for event in events:
            answer.add(event)
        return answer

    def add(self, event: Event) -> None:
        """Take in the next event. Several answers may be joined: their tokens add up."""
        match event:
            case TextDelta():
                self.text += event.text
            case AudioChunk():
                self.audio.append(event.pcm)
            case Finished():
                prompt, text, audio = self.tokens
                used = event.usage
                self.tokens = prompt + used.prompt_tokens, text + used.text_tokens, audio + used.audio_tokens
                self.cut = event.reason is FinishReason.LENGTH

    @property
    def samples(self) -> NDArray[np.float32]:
        """[samples] at the engine's rate."""
        return np.concatenate([np.zeros(0, np.float32), *self.audio])


def new_id(kind: str) -> str:
    """Unique and unguessable: `chatcmpl-3f...`."""
    return f"{kind}-{uuid.uuid4().hex}"


def explained(error: ValidationError) -> ProtocolError:
    """The first thing that is wrong with a body, with its place."""
    first = error.errors(include_url=False, include_context=False)[0]
    param = ".".join(map(str, first["loc"])) or None
    if first["type"] == "json_invalid":
        return ProtocolError("invalid_json", f"The body is not JSON: {first['msg']}")
    if first["type"] == "missing":
        return ProtocolError("missing_required_parameter", f"Missing required parameter {param!r}", param=param)
    return ProtocolError("invalid_value", f"{param}: {first['msg']}" if param else first["msg"], param=param)

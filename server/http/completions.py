"""`POST /v1/chat/completions`: text, speech and pictures in, text and speech out, whole or as it is made."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import Field
from starlette.responses import Response

from omni_core.audio import to_s16le
from omni_core.config import SamplingParams
from omni_core.engine.request import AudioChunk, GenerateRequest, TextDelta
from server.asking import steps
from server.http.call import Answer, Body, Call, Event, new_id
from server.http.questions import Message, read_question
from server.http.replies import DONE, event, json_reply
from server.http.sound import check_writable, to_base64, write_sound
from server.protocol.errors import ProtocolError

_REMEMBERED, _REMEMBERED_S = 1024, 3600  # spoken answers whose words a later request may refer to, and for how long
_TOKENS = Field(default=None, ge=1)


class _AudioOptions(Body):
    """`voice` has no effect: a model has one."""

    format: str = "wav"


class _StreamOptions(Body):
    include_usage: bool = False


class _Chat(Body):
    model: str = ""
    messages: list[Message] = Field(min_length=1)
    modalities: list[Literal["text", "audio"]] | None = None
    audio: _AudioOptions | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = _TOKENS
    max_completion_tokens: int | None = _TOKENS
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)

    @property
    def speaks(self) -> bool:
        return "audio" in (self.modalities or ())

    @property
    def format(self) -> str:
        """Of the answer's audio."""
        return (self.audio or _AudioOptions()).format

    @property
    def sampling(self) -> SamplingParams:
        """Greedy unless a temperature is given. Raises ConfigError."""
        return SamplingParams(temperature=self.temperature or 0.0, top_p=1.0 if self.top_p is None else self.top_p, seed=self.seed)


class ChatCompletions:
    """The face, and the words of its newest spoken answers: a client refers to those by id."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, tuple[float, str]] = OrderedDict()  # audio id -> until when, and the words

    async def complete(self, call: Call) -> Response:
        """A completion, or its chunks."""
        chat = call.json(_Chat)
        if chat.speaks:
            check_writable(chat.format, "audio.format")
            if chat.stream and chat.format != "pcm16":
                raise ProtocolError("unsupported_format", f"audio.format {chat.format!r} can't be streamed: use pcm16", param="audio.format")
        question = await asyncio.to_thread(read_question, chat.messages, call.engine.info, speaks=chat.speaks, said=self._words)
        tokens = chat.max_completion_tokens or chat.max_tokens
        limit: dict[str, Any] = {} if tokens is None else {"max_steps": steps(tokens, speaks=chat.speaks)}
        base = {"id": new_id("chatcmpl"), "created": int(time.time()), "model": chat.model or call.engine.info.model}
        events = await call.ask(
            GenerateRequest(
                base["id"],
                question.task,
                audio=question.audio,
                sample_rate=question.sample_rate,
                image=question.image,
                text=question.text,
                history=question.history,
                sampling=chat.sampling,
                **limit,
            )
        )
        if chat.stream:
            return call.stream(self._chunks(chat, base, events))
        return await self._whole(call, chat, base, events)

    async def _whole(self, call: Call, chat: _Chat, base: dict[str, Any], events: AsyncIterator[Event]) -> Response:
        answer = await Answer.whole(events)
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if chat.speaks:
            sound = await asyncio.to_thread(write_sound, answer.samples, call.engine.info.sample_rate, chat.format)
            id, expires_at = self._remember(answer.text)
            audio = {"id": id, "data": to_base64(sound), "expires_at": expires_at, "transcript": answer.text}
            message |= {"content": None, "audio": audio}
        choice = {"index": 0, "message": message, "finish_reason": _reason(answer), "logprobs": None}
        return json_reply({**base, "object": "chat.completion", "choices": [choice], "usage": _usage(answer)})

    async def _chunks(self, chat: _Chat, base: dict[str, Any], events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        """Content is text, or `audio` with transcript and data, as OpenAI streams them."""
        base = {**base, "object": "chat.completion.chunk"}
        answer, audio_id = Answer(), new_id("audio")

        def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
            return event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]})

        yield chunk({"role": "assistant", "content": None if chat.speaks else ""})
        async for each in events:
            match each:
                case AudioChunk():
                    yield chunk({"audio": {"id": audio_id, "data": to_base64(to_s16le(each.pcm))}})
                    continue  # not kept
                case TextDelta():
                    yield chunk({"audio": {"id": audio_id, "transcript": each.text}} if chat.speaks else {"content": each.text})
            answer.add(each)
        if chat.speaks:
            _, expires_at = self._remember(answer.text, audio_id)
            yield chunk({"audio": {"expires_at": expires_at}})
        yield chunk({}, _reason(answer))
        if chat.stream_options is not None and chat.stream_options.include_usage:
            yield event({**base, "choices": [], "usage": _usage(answer)})
        yield DONE

    def _remember(self, text: str, id: str | None = None) -> tuple[str, int]:
        """Under which id, and until when in seconds of Unix time."""
        id, until = id or new_id("audio"), time.time() + _REMEMBERED_S
        self._said[id] = until, text
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        return id, int(until)

    def _words(self, id: str) -> str:
        until, text = self._said.get(id, (0.0, ""))
        return text if time.time() < until else ""


def _reason(answer: Answer) -> str:
    return "length" if answer.cut else "stop"


def _usage(answer: Answer) -> dict[str, Any]:
    prompt, text, audio = answer.tokens
    details = {"text_tokens": text, "audio_tokens": audio}
    return {"prompt_tokens": prompt, "completion_tokens": text + audio, "total_tokens": prompt + text + audio, "completion_tokens_details": details}

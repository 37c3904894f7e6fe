"""Chats with a model that remembers: its earlier turns are told to it, in words."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import soundfile
from openai import AsyncOpenAI

from omni_core.checkpoint import Bundle
from omni_core.engine.inputs import info_of
from omni_core.engine.request import Task
from server.http.questions import Message, read_question
from server.http.sound import to_base64


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def recording() -> dict[str, Any]:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(2400), 24_000, format="WAV")
    return {"type": "input_audio", "input_audio": {"data": to_base64(buffer.getvalue()), "format": "wav"}}


def test_a_turn_is_what_was_asked_with_the_next_answer(bundle: Bundle) -> None:
    """The words of an earlier recording are not known; those of a spoken answer are, by its id, until it is forgotten."""
    earlier = [
        user("First"),
        {"role": "assistant", "content": [{"type": "text", "text": "One"}]},
        user([recording()]),
        {"role": "assistant", "audio": {"id": "audio-2"}},
        user("Third"),
        {"role": "assistant", "content": None, "audio": {"id": "forgotten"}},
        {"role": "tool", "content": "12 degrees"},
    ]
    picture = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/"}}
    messages = [Message.model_validate(message) for message in [*earlier, user([picture, {"type": "text", "text": "Now?"}])]]
    info = replace(info_of(bundle), tasks=tuple(Task), memory_turns=5)
    question = read_question(messages, info, speaks=True, said=lambda id: {"audio-2": "Two"}.get(id, ""))
    assert (question.task, question.text, question.audio, question.image) == (Task.VT1A2, "Now?", None, b"\xff\xd8\xff")
    assert question.history == (("First", "One"), ("", "Two"))


async def test_a_spoken_answer_can_be_referred_to(stock: AsyncOpenAI) -> None:
    """The model's words make no sense, so that their place in the prompt has to show that they were told to it."""

    async def ask(*messages: dict[str, Any], **options: Any) -> Any:
        return await stock.chat.completions.create(model="any", messages=list(messages), max_tokens=96, **options)  # type: ignore[arg-type]

    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "any", "format": "wav"}, "temperature": 5, "seed": 1}
    audio = (await ask(user("Hello"), **spoken)).choices[0].message.audio
    assert audio.transcript
    by_id = await ask(user("Hello"), {"role": "assistant", "audio": {"id": audio.id}}, user("And now?"))
    in_words = await ask(user("Hello"), {"role": "assistant", "content": audio.transcript}, user("And now?"))
    alone = await ask(user("And now?"))
    assert by_id.usage.prompt_tokens == in_words.usage.prompt_tokens > alone.usage.prompt_tokens

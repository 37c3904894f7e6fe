"""The session's commands as engine requests, the engine's events as the session's inputs."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from omni_core.audio import from_s16le, to_s16le
from omni_core.engine.request import AudioChunk, EngineInfo, Finished, FinishReason, GenerateRequest, Task, TextDelta, TurnEnded
from omni_core.errors import OmniError
from server.asking import ask, steps, transcript_steps
from server.protocol.errors import as_protocol_error
from server.protocol.media import SAMPLE_RATE, pcm_samples
from server.session import Abilities
from server.session.messages import (
    AnswerAudio,
    AnswerFailed,
    AnswerFinished,
    AnswerText,
    FindWords,
    Input,
    StartResponse,
    StartTranscription,
    TranscriptFailed,
    TranscriptFinished,
    TranscriptText,
    TurnFinished,
    WordsHeard,
)
from server.session.planning import TRANSCRIBE

if TYPE_CHECKING:
    from omni_core.engine.client import EngineClient

_log = logging.getLogger("omni.server")


def abilities(info: EngineInfo) -> Abilities:
    """What a session needs to know of the model."""
    return Abilities(info.model, frozenset(task.value for task in info.tasks), info.max_audio_s, info.memory_turns, info.listener)


async def answer(engine: EngineClient, command: StartResponse, heard: tuple[str, int] | None, timeout_s: float) -> AsyncGenerator[Input, None]:
    """One response; `heard` is the engine's name for its turn, and the samples of it. It always ends with AnswerFinished or AnswerFailed,
    unless it is closed first."""
    if heard is not None and not engine.hears(*heard):
        heard = None  # the engine that heard it has died since, or had no place for it
    try:
        async with aclosing(ask(engine, _request(command, heard), timeout_s)) as events:
            async for event in events:
                match event:
                    case TurnEnded():
                        yield TurnFinished(command.response_id, event.probability)
                    case AudioChunk():
                        yield AnswerAudio(command.response_id, to_s16le(event.pcm))
                    case TextDelta():
                        yield AnswerText(command.response_id, event.text)
                    case Finished():
                        yield _finished(command.response_id, event)
    except (OmniError, TimeoutError) as error:
        yield AnswerFailed(command.response_id, as_protocol_error(error))


async def transcript(engine: EngineClient, command: StartTranscription, timeout_s: float) -> AsyncGenerator[Input, None]:
    """The words of a spoken turn. It always ends with TranscriptFinished or TranscriptFailed, unless it is closed first."""
    try:
        request = GenerateRequest(
            f"transcript-{uuid.uuid4()}",  # item ids are the clients' to choose: two may choose the same
            Task(TRANSCRIBE),
            audio=from_s16le(command.audio),
            sample_rate=SAMPLE_RATE,
            background=True,  # nobody waits for it as for an answer
            max_steps=transcript_steps(pcm_samples(command.audio) / SAMPLE_RATE),
        )
        async with aclosing(ask(engine, request, timeout_s)) as events:
            async for event in events:
                match event:
                    case TextDelta():
                        yield TranscriptText(command.item_id, event.text)
                    case Finished():
                        yield TranscriptFinished(command.item_id)
                    case AudioChunk() | TurnEnded():
                        pass  # of a transcript only the words count
    except (OmniError, TimeoutError) as error:
        yield TranscriptFailed(command.item_id, as_protocol_error(error))


async def words_heard(engine: EngineClient, command: FindWords, timeout_s: float) -> AsyncGenerator[Input, None]:
    """How much of an answer's text was heard; nothing where that can't be found out: the estimate stays."""
    try:
        async with asyncio.timeout(timeout_s):
            characters = await engine.heard_words(command.text, from_s16le(command.pcm))
    except (OmniError, TimeoutError) as error:
        _log.info("the words heard of %s stay estimated (%s)", command.item_id, error)
        return
    yield WordsHeard(command.item_id, pcm_samples(command.pcm), characters)


def _request(command: StartResponse, heard: tuple[str, int] | None) -> GenerateRequest:
    task = Task(command.task)
    limit: dict[str, Any] = {} if command.max_output_tokens is None else {"max_steps": steps(command.max_output_tokens, speaks=task.speaks)}
    return GenerateRequest(
        command.response_id,
        task,
        audio=None if command.audio is None or heard is not None else from_s16le(command.audio),
        turn=heard,
        sample_rate=SAMPLE_RATE,
        image=command.image,
        text=command.text,
        history=command.history,
        paced=task.speaks,
        **limit,
    )


def _finished(response_id: str, event: Finished) -> AnswerFinished:
    return AnswerFinished(
        response_id,
        complete=event.reason is FinishReason.STOP,
        prompt_tokens=event.usage.prompt_tokens,
        text_tokens=event.usage.text_tokens,
        audio_tokens=event.usage.audio_tokens,
        rtf=event.timings.rtf,
    )

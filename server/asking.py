"""Asking the engine: what every face shares. Its events up to the last, each awaited for no longer than a time, and how long an answer may get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from omni_core.engine.request import AudioChunk, Failed, Finished, GenerateRequest, TextDelta, TurnEnded
from omni_core.errors import EngineClosed

if TYPE_CHECKING:
    from omni_core.engine.client import EngineClient

#: a decode step makes one text token and, in speech, one per audio layer
_TOKENS_PER_STEP = {True: 8, False: 1}
#: speech never has more text tokens than these a second, and a few to begin with: a transcript that goes on is a loop, and costs the answers' time
_TRANSCRIPT_STEPS_PER_S, _TRANSCRIPT_STEPS = 25, 32


Event = TurnEnded | TextDelta | AudioChunk | Finished


async def ask(engine: EngineClient, request: GenerateRequest, timeout_s: float) -> AsyncGenerator[Event, None]:
    """The engine's events up to the last; closing this cancels the response and frees its slot.

    Raises what the engine raises, also what a response fails with, and TimeoutError when no event comes for `timeout_s`.
    """
    async with aclosing(engine.generate(request)) as stream:
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    event = await anext(stream)
            except StopAsyncIteration:
                raise EngineClosed("the engine stopped in the middle of a response") from None
            except TimeoutError:
                raise TimeoutError(f"the engine gave no sign of life for {timeout_s:g} s") from None
            if isinstance(event, Failed):
                raise event.error
            yield event
            if isinstance(event, Finished):
                return


def steps(tokens: int, *, speaks: bool) -> int:
    """Decode steps that make at most so many tokens; at least one."""
    return max(1, tokens // _TOKENS_PER_STEP[speaks])


def transcript_steps(seconds: float) -> int:
    """Decode steps that the transcript of so much speech may take."""
    return _TRANSCRIPT_STEPS + int(_TRANSCRIPT_STEPS_PER_S * seconds)

"""A microphone that never stops: 40 ms of speech or silence every 40 ms."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from clients.loadtest.speech import CHUNK_S, SILENCE, Spoken


class Microphone:
    """Sample n is recorded n / 24000 s after `began` (of the event loop's clock), and leaves at the end of its chunk."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], began: float) -> None:
        self._send, self._began = send, began
        self._chunks = 0  # sent
        self._frames: deque[bytes] = deque()  # still to be said

    def say(self, spoken: Spoken) -> float:
        """Say it next; gives when its first sample is said."""
        begins = self._began + (self._chunks + len(self._frames)) * CHUNK_S
        self._frames.extend(spoken.frames)
        return begins

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            ends = self._began + (self._chunks + 1) * CHUNK_S
            if (wait := ends - loop.time()) > 0:
                await asyncio.sleep(wait)
            frame = self._frames.popleft() if self._frames else SILENCE
            self._chunks += 1
            await self._send(frame)

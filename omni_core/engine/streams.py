"""What a client of the engine holds: a response's events, a microphone that is listened to, a turn that is heard. Each belongs to one event loop
and one reader.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omni_core.audio import check_samples
from omni_core.engine.messages import Cancel, CloseListener, CloseTurn, ListenerFrame, TurnAudio
from omni_core.engine.request import (
    MAX_TURN_SAMPLES,
    SAMPLE_RATE,
    EngineEvent,
    Failed,
    Finished,
    GenerateRequest,
    ListenerEnded,
    ListenerEvent,
    Status,
)
from omni_core.errors import AudioError

if TYPE_CHECKING:
    from omni_core.engine.client import EngineClient

log = logging.getLogger(__name__)

_EVENTS_PER_STEP = 2  # a text delta and an audio chunk
_FRAMES_SENT, _FRAMES_KEPT = 12, 12  # that the engine may have at once, and that wait for it here: a second each


class ResponseStream:
    """The events of one response: an async iterator that ends after `Finished` or `Failed`. Close it to cancel."""

    def __init__(self, client: EngineClient, request: GenerateRequest) -> None:
        self._client, self._id = client, request.id
        self.background = request.background
        # One answer's events fit, and no answer can grow: what a slow reader leaves here is bounded without any being lost.
        self._events: asyncio.Queue[EngineEvent] = asyncio.Queue(_EVENTS_PER_STEP * (request.max_steps + 1))
        self._over = False

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> EngineEvent:
        if self._over:
            raise StopAsyncIteration
        event = await self._events.get()
        self._over = isinstance(event, Finished | Failed)
        return event

    async def aclose(self) -> None:
        """Cancel what is left; no event follows. Closing twice, or after the end, does nothing."""
        self._over = True
        self._client._let_go(Cancel(self._id))

    def _put(self, event: EngineEvent) -> None:
        self._events.put_nowait(event)


class ListenerStream:
    """One microphone: audio in, an async iterator of statuses out, one a frame. Close it to free its row."""

    def __init__(self, client: EngineClient, id: str, frame_samples: int) -> None:
        self._client, self._id, self._frame_samples = client, id, frame_samples
        self._rest = np.zeros(0, np.float32)  # not yet a frame
        self._frames: deque[ListenerFrame] = deque()
        self._cut = 0  # frames so far
        self._places = _FRAMES_SENT  # frames that may be sent now; a status that is read gives one back, so that its queue is bounded too
        self._events: asyncio.Queue[ListenerEvent | None] = asyncio.Queue()
        self._behind = self._over = False

    def push(self, pcm: Any) -> None:
        """The next samples [n] of the microphone, 24 kHz mono, any n; never waits, and does nothing after the end.

        Of a listener more than 2 s behind, for the engine is busy or nobody reads the statuses, the oldest frames are dropped: their numbers are
        left out. Raises AudioError for samples that are no numbers.
        """
        wave: NDArray[np.float32] = np.concatenate([self._rest, check_samples(pcm, "the microphone's audio")])
        if self._over:
            return
        whole = len(wave) // self._frame_samples
        self._rest = wave[whole * self._frame_samples :]
        for samples in wave[: whole * self._frame_samples].reshape(whole, self._frame_samples):
            self._frames.append(ListenerFrame(self._id, self._cut, samples))
            self._cut += 1
            self._send()
            if len(self._frames) > _FRAMES_KEPT:
                self._drop()

    def __aiter__(self) -> ListenerStream:
        return self

    async def __anext__(self) -> Status:
        """Raises EngineClosed when the engine is gone, another EngineError when this microphone can't be heard."""
        event = None if self._over else await self._events.get()
        if event is None:
            raise StopAsyncIteration
        if isinstance(event, ListenerEnded):
            self._over = True
            raise event.error
        self._places += 1
        self._send()
        return event

    async def aclose(self) -> None:
        """Listen no more; a reader that waits is let go. Closing twice, or after the end, does nothing."""
        if not self._over:
            self._over = True
            self._events.put_nowait(None)
        self._client._let_go(CloseListener(self._id))

    def _put(self, event: ListenerEvent) -> None:
        self._events.put_nowait(event)

    def _send(self) -> None:
        while self._frames and self._places:
            self._places -= 1
            self._client._send(self._frames.popleft())

    def _drop(self) -> None:
        dropped = self._frames.popleft()
        if not self._behind:
            log.warning("listener %s is more than 2 s behind: frame %d and others after it are not heard", self._id, dropped.frame)
        self._behind = True


class Hearing:
    """A turn that is encoded while it is spoken. Requests name it in place of audio: `GenerateRequest.turn`. Close it when none will any more."""

    def __init__(self, client: EngineClient, id: str) -> None:
        self._client, self.id = client, id
        self.pushed = 0  #: samples

    def push(self, pcm: Any) -> None:
        """The next samples [n] of the turn, 24 kHz mono, any n; never waits, and does nothing once it is closed or the engine is gone.

        Raises AudioError for samples that are no numbers, and for a turn of more than 300 s.
        """
        wave = check_samples(pcm, f"turn {self.id!r}")
        if self.pushed + len(wave) > MAX_TURN_SAMPLES:
            raise AudioError(f"turn {self.id!r} is longer than {MAX_TURN_SAMPLES // SAMPLE_RATE} s: end it there, and hear what follows as another")
        if self._client._hears(self):
            self.pushed += len(wave)
            self._client._send(TurnAudio(self.id, wave))

    def close(self) -> None:
        """Forget the turn; responses that were asked for with it go on. Closing twice does nothing."""
        self._client._let_go(CloseTurn(self.id))

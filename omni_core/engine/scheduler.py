"""Who runs: slots, the queue before them, and pacing by playback deadline. No tensor, no model and no clock in here.

A paced response is served as early as possible until its first audio left, and from then on only while the audio it has emitted is at most
`max_ahead_s` ahead of what its listener has had time to play. What is not made early need not be thrown away on an interruption, and its
time goes to others. A step costs little more for many than for one, so whoever is due within a frame of another takes the same step.

While somebody waits for a first sample, those with sound in hand let them pass: a step for few is a short one.

Background responses (transcripts, say) wait behind all others and never have more than half of the slots. While they run they are rows like any.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from omni_core.config import EngineConfig
from omni_core.errors import ConfigError, EngineBusy, EngineError

_TOGETHER_S = 0.085  # a frame: how much before its time a paced response joins others' step
_IN_HAND_S = 0.3  # of sound that is left to play: with more, a response lets first samples pass
_UNPACED_S = 0.1  # nobody plays an unpaced response, as far as is known: so often it takes a step however many wait for first samples


@dataclass(eq=False)
class Ticket:
    """One response's place: in the queue while `slot` is None, running afterwards."""

    id: str
    paced: bool
    background: bool
    slot: int | None = None
    first_audio_at: float | None = None  #: when its first audio left, s
    audio_s: float = 0.0  #: duration of the audio emitted
    reading: bool = True  #: its prompt is not read yet: it takes no steps
    queued_at: float | None = None  #: when it was first seen waiting, s
    served_at: float = -math.inf  #: its last step, s

    def due_at(self, max_ahead_s: float) -> float:
        """From when it may make more audio; minus infinity: at once."""
        if not self.paced or self.first_audio_at is None:
            return -math.inf
        return self.first_audio_at + self.audio_s - max_ahead_s

    @property
    def urgent(self) -> bool:
        """Somebody waits for its first sample."""
        return self.paced and self.first_audio_at is None

    def can_wait(self, now: float) -> bool:
        """It loses nothing by letting others pass."""
        if not self.paced or self.first_audio_at is None:
            return not self.paced and self.served_at + _UNPACED_S > now
        return self.first_audio_at + self.audio_s - _IN_HAND_S > now


def check_places(config: EngineConfig, open: Iterable[bool], background: bool) -> None:
    """May one more response be opened beside those in `open`, each True if in the background? Raises EngineBusy if not.

    The places in slots and queue are for those in the foreground; half as many more may be open in the background, which refuse nobody.
    """
    listed = list(open)
    if not background and len(listed) - sum(listed) >= config.slots + config.queue:
        raise EngineBusy(f"{config.slots} responses are running and {config.queue} wait: try again later")
    if background and sum(listed) >= max(1, (config.slots + config.queue) // 2):
        raise EngineBusy(f"{sum(listed)} responses are in the background, half of what the engine takes: try again later")


class Scheduler:
    """First come, first served over a fixed number of slots; the background after all others."""

    def __init__(self, config: EngineConfig) -> None:
        if config.slots < 1 or config.queue < 0:
            raise ConfigError(f"{config.slots} slots and a queue of {config.queue}: an engine needs at least 1 and 0")
        self._config = config
        self._tickets: dict[str, Ticket] = {}  # by id; running ones and waiting ones
        self._waiting: deque[Ticket] = deque()
        self._behind: deque[Ticket] = deque()  # of the background, waiting
        self._free = list(range(config.slots))[::-1]  # the lowest slot is given out first
        self._running: dict[int, Ticket] = {}  # by slot

    def submit(self, id: str, paced: bool, background: bool = False) -> Ticket:
        """Queue a response. Raises EngineBusy when every slot is taken and the queue is full, EngineError for an id in use."""
        if id in self._tickets:
            raise EngineError(f"response {id!r} is already being generated: use a new id for each")
        check_places(self._config, (ticket.background for ticket in self._tickets.values()), background)
        ticket = self._tickets[id] = Ticket(id, paced, background)
        self._queue_of(ticket).append(ticket)
        return ticket

    def admit(self) -> Ticket | None:
        """Give the longest waiting response a free slot; None when there is no slot for any that waits."""
        queue = self._next_queue()
        if queue is None:
            return None
        ticket = queue.popleft()
        ticket.slot = self._free.pop()
        self._running[ticket.slot] = ticket
        return ticket

    def expired(self, now: float) -> list[Ticket]:
        """Those that have waited for a slot too long; they still have to be released."""
        waiting = [*self._waiting, *self._behind]
        for ticket in waiting:
            ticket.queued_at = now if ticket.queued_at is None else ticket.queued_at
        return [ticket for ticket in waiting if ticket.queued_at is not None and ticket.queued_at + self._config.max_wait_s < now]

    def due(self, now: float) -> list[Ticket]:
        """The running responses that the next decode step serves, in the order of their slots."""
        running = [self._running[slot] for slot in sorted(self._running) if not self._running[slot].reading]
        due_at = [ticket.due_at(self._config.max_ahead_s) for ticket in running]
        if not running or min(due_at) > now:
            return []
        due = [ticket for ticket, at in zip(running, due_at, strict=True) if at <= now + _TOGETHER_S]
        if any(ticket.urgent for ticket in due):
            due = [ticket for ticket in due if not ticket.can_wait(now)]
        for ticket in due:
            ticket.served_at = now
        return due

    @property
    def speaking(self) -> int:
        """How many take steps: a long prompt would keep them waiting."""
        return sum(not ticket.reading for ticket in self._running.values())

    def wait_s(self, now: float) -> float | None:
        """Seconds until there is something to do: 0 for at once, None when nothing will be without a new request."""
        if not self._tickets:
            return None
        if self._next_queue() is not None or any(ticket.reading for ticket in self._running.values()):
            return 0.0
        return max(0.0, min(ticket.due_at(self._config.max_ahead_s) for ticket in self._running.values()) - now)

    @property
    def urgent(self) -> bool:
        """Somebody waits for a slot that is free, or for the first sample of a paced answer."""
        return self._next_queue() is not None or any(ticket.urgent for ticket in self._running.values())

    def emitted(self, ticket: Ticket, audio_s: float, now: float) -> None:
        """`audio_s` seconds of its audio left at `now`."""
        if ticket.first_audio_at is None:
            ticket.first_audio_at = now
        ticket.audio_s += audio_s

    def release(self, id: str) -> Ticket | None:
        """Take a response out, running or waiting; its slot is free at once. None when there is no such response."""
        ticket = self._tickets.pop(id, None)
        if ticket is None:
            return None
        if ticket.slot is None:
            self._queue_of(ticket).remove(ticket)
        else:
            del self._running[ticket.slot]
            self._free.append(ticket.slot)
        return ticket

    def _queue_of(self, ticket: Ticket) -> deque[Ticket]:
        return self._behind if ticket.background else self._waiting

    def _next_queue(self) -> deque[Ticket] | None:
        """Where the response waits that is to be admitted now."""
        if self._free and self._waiting:
            return self._waiting
        running = sum(ticket.background for ticket in self._running.values())
        return self._behind if self._free and self._behind and running < max(1, self._config.slots // 2) else None

"""The engine's port to the clients of its process: commands in, events out, and an end to what a client had open that has gone or does not read.

Everything happens in the engine's thread, between its steps, and nothing here waits for a client.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import math
import time
from collections import defaultdict

import msgspec
import zmq

from omni_core.engine.link import BEAT_S, keep_alive
from omni_core.engine.messages import (
    Beat,
    Cancel,
    Close,
    CloseListener,
    CloseTurn,
    Closing,
    Command,
    Died,
    Events,
    Forgotten,
    FromClient,
    FromEngine,
    Hello,
    Message,
    OpenListener,
    OpenTurn,
    Ready,
    Submit,
)
from omni_core.engine.request import Failed, Finished, ListenerEnded
from omni_core.engine.wire import encode, from_client
from omni_core.errors import EngineError

log = logging.getLogger(__name__)

_QUEUE = 1_000  # messages that wait for one client: 10 s and more of steps
_AT_ONCE = 10_000  # commands that are taken between two steps
_LAST_WORDS_MS = 500


@dataclasses.dataclass(eq=False)
class _Client:
    number: int  #: what its ids begin with, so that no two clients' are equal
    identity: bytes  #: ZeroMQ's name for it
    open: set[Closing] = dataclasses.field(default_factory=set)  #: what would end all that it has open

    def began(self, command: Command) -> None:
        """It wants this."""
        match command:
            case Submit(request):
                self.open.add(Cancel(request.id))
            case OpenListener(id):
                self.open.add(CloseListener(id))
            case OpenTurn(id):
                self.open.add(CloseTurn(id))
            case Cancel() | CloseListener() | CloseTurn():
                self.open.discard(command)

    def ended(self, events: Events) -> None:
        """It is told this, by the ids that it gave."""
        closed: list[Closing] = [Cancel(self._id(id)) for id, event in events.responses if isinstance(event, Finished | Failed)]
        closed += [CloseListener(self._id(id)) for id, event in events.listeners if isinstance(event, ListenerEnded)]
        closed += [CloseTurn(self._id(id)) for id in events.refused_turns]
        self.open.difference_update(closed)

    def renamed(self, command: Command) -> Command:
        """The command with an id that no other client has."""
        match command:
            case Submit(request):
                turn = None if request.turn is None else (self._id(request.turn[0]), request.turn[1])
                return Submit(dataclasses.replace(request, id=self._id(request.id), turn=turn))
            case Close():
                return command
            case _:
                return msgspec.structs.replace(command, id=self._id(command.id))

    def _id(self, own: str) -> str:
        return f"{self.number}/{own}"


class Clients:
    """The engine's port (`worker.Port`) to any number of clients."""

    def __init__(self, address: str, lifeline: int) -> None:
        """lifeline: a descriptor that can be read from when the engine is to stop."""
        self._context = zmq.Context(1)
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # sending to who has gone, or does not read, is an error
        self._socket.setsockopt(zmq.SNDHWM, _QUEUE)
        self._socket.setsockopt(zmq.BACKLOG, 1_024)
        keep_alive(self._socket)
        self._socket.bind(address)
        self._lifeline = lifeline
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(lifeline, zmq.POLLIN)
        self._clients: dict[bytes, _Client] = {}  # by identity
        self._numbered: dict[int, _Client] = {}
        self._numbers = itertools.count()
        self._ready: Ready | None = None
        self._commands: list[Command] = []  # for the engine to take
        self._beat_at = 0.0
        self._turns, self._seen, self._waiting = 0, 0, False

    def moves(self) -> bool:
        """Whether the engine has come by since the last call, or waits for something to do. For any thread."""
        seen, self._seen = self._seen, self._turns
        return self._waiting or self._turns != seen

    def receive(self, wait_s: float | None) -> list[Command]:
        """See `Port`. Comes back without any when a sign of life is due."""
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            self._send_all(Beat())  # tells who has gone
        wait_s = 0.0 if self._commands else min(self._beat_at - now, math.inf if wait_s is None else wait_s)
        self._turns, self._waiting = self._turns + 1, True
        ready = dict(self._poller.poll(math.ceil(1000 * wait_s)))
        self._waiting = False
        if self._lifeline in ready:
            return [Close()]
        if self._socket in ready:
            self._read()
        commands, self._commands = self._commands, []
        return commands

    def publish(self, message: Message) -> None:
        """See `Port`. One message for each client that it concerns."""
        match message:
            case Ready():
                self._ready = message
            case Events():
                for number, events in _by_client(message).items():
                    if client := self._numbered.get(number):
                        client.ended(events)
                        self._send(client, events)
            case Died():
                self._send_all(message)

    def close(self) -> None:
        """Send what still waits, and serve nobody any more."""
        self._socket.close(_LAST_WORDS_MS)
        self._context.term()

    def _read(self) -> None:
        with contextlib.suppress(zmq.Again):
            for _ in range(_AT_ONCE):
                identity, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
                try:
                    message = from_client(b"".join(parts))
                except EngineError as error:
                    log.error("%s", error)
                    message = Close()
                self._take(identity, message)

    def _take(self, identity: bytes, message: FromClient) -> None:
        client = self._clients.get(identity)
        match message:
            case Hello():
                if client is not None:
                    self._forget(client)
                client = _Client(next(self._numbers), identity)
                self._clients[identity] = self._numbered[client.number] = client
                if self._ready is not None:
                    self._send(client, self._ready)
            case Close():
                if client is not None:
                    self._forget(client)
            case _ if client is None:
                with contextlib.suppress(zmq.ZMQError):
                    self._socket.send_multipart((identity, encode(Forgotten())), zmq.NOBLOCK)
            case Beat():
                pass
            case _:
                command = client.renamed(message)
                client.began(command)
                self._commands.append(command)

    def _send_all(self, message: FromEngine) -> None:
        for client in list(self._clients.values()):
            self._send(client, message)

    def _send(self, client: _Client, message: FromEngine) -> None:
        try:
            self._socket.send_multipart((client.identity, encode(message)), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            if error.errno == zmq.EAGAIN:
                log.error("client %d reads too slowly, %d messages wait for it: all that it had open ends", client.number, _QUEUE)
            self._forget(client)

    def _forget(self, client: _Client) -> None:
        self._commands += client.open
        del self._clients[client.identity], self._numbered[client.number]


def _by_client(events: Events) -> dict[int, Events]:
    """What concerns each client, by its number, with the ids that it gave."""
    parts: defaultdict[int, Events] = defaultdict(Events)
    for name in ("responses", "listeners", "alignments"):
        for id, event in getattr(events, name):
            number, _, own = id.partition("/")
            getattr(parts[int(number)], name).append((own, event))
    for id in events.refused_turns:
        number, _, own = id.partition("/")
        parts[int(number)].refused_turns.append(own)
    return parts

"""A client's connection to an engine process: commands out, messages in, and a new one whenever it breaks. Everything happens in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import zmq
from zmq.utils.monitor import recv_monitor_message

from omni_core.engine.messages import Beat, Close, Command, Forgotten, FromClient, Hello, Message
from omni_core.engine.wire import encode, from_engine
from omni_core.errors import EngineError

log = logging.getLogger(__name__)

BEAT_S = 1.0  #: between two signs of life; also how soon a message is read whose arrival was missed
_AT_ONCE = 64  # messages that are read before others get their turn in the loop
_QUEUE = 1_000  # messages that wait to be read
_SENDING = 50_000  # commands that wait to be taken: nobody may have as much open
_FLUSH_MS = 200  # for the last command


def keep_alive(socket: zmq.Socket[bytes]) -> None:
    """ZeroMQ's own signs of life end a connection to a process that stands still. They need none of its Python."""
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15_000)


class Link:
    """See the module. `receive` is given every message; `lost` is called with the reason when the connection has ended; the next begins at once."""

    def __init__(self, address: str, receive: Callable[[Message], None], lost: Callable[[str], None]) -> None:
        """address: of ZeroMQ; nobody need be there yet. Needs a running loop, which it belongs to."""
        self._address, self._receive, self._lost = address, receive, lost
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context(1)
        self._open()
        self._beat = self._loop.call_later(BEAT_S, self._on_beat)

    def send(self, command: Command) -> None:
        """Never waits; a command to an engine that is away is lost, as all that it would belong to."""
        self._send(command)

    async def close(self) -> None:
        """Leave the engine. Nothing is called any more."""
        self._beat.cancel()
        self._send(Close())
        self._shut(_FLUSH_MS)
        await asyncio.to_thread(self._context.term)

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.RCVHWM, _QUEUE)
        self._socket.setsockopt(zmq.SNDHWM, _SENDING)
        keep_alive(self._socket)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._socket.connect(self._address)
        self._fds = [int(one.getsockopt(zmq.FD)) for one in (self._socket, self._monitor)]
        for fd, callback in zip(self._fds, (self._on_message, self._on_monitor), strict=True):
            self._loop.add_reader(fd, callback)
        self._send(Hello())  # waits in the socket until somebody is there

    def _shut(self, linger_ms: int) -> None:
        for fd in self._fds:
            self._loop.remove_reader(fd)
        self._fds = []
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(linger_ms)

    def _lose(self, why: str) -> None:
        """A new socket, so that nothing that was meant for the old engine reaches the next."""
        self._shut(0)
        self._open()
        self._lost(why)

    def _send(self, message: FromClient) -> None:
        try:
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            self._loop.call_soon(self._lose_if, self._socket, f"{_SENDING} commands wait for the engine")
        else:
            self._look_again()

    def _lose_if(self, socket: zmq.Socket[bytes], why: str) -> None:
        if socket is self._socket and self._fds:
            self._lose(why)

    def _look_again(self) -> None:
        """ZeroMQ's descriptors tell of changes once, and sending may take notice of one."""
        if self._fds and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.call_soon(self._on_message)

    def _on_beat(self) -> None:
        self._beat = self._loop.call_later(BEAT_S, self._on_beat)
        self._send(Beat())
        self._on_monitor()

    def _on_monitor(self) -> None:
        with contextlib.suppress(zmq.Again):
            recv_monitor_message(self._monitor, zmq.NOBLOCK)
            socket = self._socket
            self._read(_QUEUE)  # what it said before its end
            self._lose_if(socket, "its process ended")

    def _on_message(self) -> None:
        if self._fds:
            self._read(_AT_ONCE)
            self._look_again()

    def _read(self, most: int) -> None:
        socket = self._socket
        with contextlib.suppress(zmq.Again):
            for _ in range(most):
                self._take(socket.recv(zmq.NOBLOCK))
                if socket is not self._socket or not self._fds:
                    return

    def _take(self, data: bytes) -> None:
        try:
            message = from_engine(data)
        except EngineError as error:
            log.error("%s", error)
            self._lose(str(error))
            return
        match message:
            case Beat():
                pass
            case Forgotten():
                self._lose("this process read too slowly")
            case _:
                self._receive(message)

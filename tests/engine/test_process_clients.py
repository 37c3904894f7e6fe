"""The engine process's port: many clients, and some that don't read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from omni_core.engine.messages import Beat, Cancel, Close, CloseTurn, Command, Events, Forgotten, FromEngine, Hello, OpenTurn, Ready, Submit
from omni_core.engine.port import Clients
from omni_core.engine.request import AudioChunk, EngineInfo, GenerateRequest
from omni_core.engine.supervisor import engine_address
from omni_core.engine.wire import encode, from_engine
from omni_core.tokens import Task

INFO = EngineInfo("m", 24_000, 2048, (Task.T1A2,), None, False, False, 0)


@pytest.fixture
def lifeline() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def port(tmp_path: Path, lifeline: tuple[int, int]) -> Iterator[Clients]:
    port = Clients(engine_address(tmp_path), lifeline[0])
    port.publish(Ready(INFO))
    yield port
    port.close()


@pytest.fixture
def dealer(tmp_path: Path, port: Clients) -> Iterator[Callable[[], zmq.Socket]]:
    """A client's socket, with a small queue."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 2_000)

    def connect() -> zmq.Socket:
        one = context.socket(zmq.DEALER)
        one.setsockopt(zmq.RCVHWM, 10)
        one.setsockopt(zmq.RCVTIMEO, 10_000)
        one.connect(engine_address(tmp_path))
        return one

    yield connect
    context.destroy(0)


def take(port: Clients, count: int) -> list[Command]:
    """So many commands; they may need a moment, and come one by one."""
    commands: list[Command] = []
    deadline = time.monotonic() + 20
    while len(commands) < count and time.monotonic() < deadline:
        commands += port.receive(0.05)
    return commands


def told(dealer: zmq.Socket) -> FromEngine:
    return from_engine(dealer.recv())


def test_a_client_that_does_not_read_is_forgotten_with_all_that_it_had_open(port: Clients, dealer: Callable[[], zmq.Socket]) -> None:
    slow, other = dealer(), dealer()
    ids, turns = [], []
    for client in (slow, other):
        client.send(encode(Hello()))
        client.send(encode(Submit(GenerateRequest("a", Task.T1A2, text="?"))))
        client.send(encode(OpenTurn("a")))
        submit, turn = take(port, 2)
        assert isinstance(submit, Submit)
        assert isinstance(turn, OpenTurn)
        ids.append(submit.request.id)
        turns.append(turn.id)
    sound = AudioChunk(np.zeros(20_480, np.float32))
    for _ in range(3_000):
        port.publish(Events([(id, sound) for id in ids]))
        while isinstance(told(other), Ready | Beat):
            pass
    assert set(port.receive(0)) == {Cancel(ids[0]), CloseTurn(turns[0])}
    slow.send(encode(Beat()))
    port.receive(0.5)
    while not isinstance(told(slow), Forgotten):
        slow.send(encode(Beat()))
        port.receive(0.01)


def test_a_thousand_clients_at_once_are_all_served(port: Clients, dealer: Callable[[], zmq.Socket]) -> None:
    crowd = [dealer() for _ in range(1_000)]
    for client in crowd:
        client.send(encode(Hello()))
        client.send(encode(OpenTurn("t")))
    assert len(set(take(port, 1_000))) == 1_000
    assert all(isinstance(told(client), Ready) for client in crowd)


def test_bytes_that_are_no_message_end_their_client_alone(port: Clients, dealer: Callable[[], zmq.Socket]) -> None:
    broken, other = dealer(), dealer()
    for client in (broken, other):
        client.send_multipart([encode(Hello())])
        client.send(encode(OpenTurn("t")))
    opened = take(port, 2)
    broken.send_multipart([b"non", b"sense"])
    (closing,) = take(port, 1)
    assert isinstance(closing, CloseTurn)
    assert OpenTurn(closing.id) in opened
    other.send(encode(Cancel("a")))
    assert isinstance(take(port, 1)[0], Cancel)


def test_the_lifeline_ends_the_engine(port: Clients, lifeline: tuple[int, int]) -> None:
    os.write(lifeline[1], b" ")
    assert port.receive(None) == [Close()]

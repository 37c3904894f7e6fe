"""One connection of the Realtime protocol over asyncio: send what a user does, read what the server says.

Owns the socket and the JSON; holds no conversation of its own (see `clients.python.talk`). Works against any server of the protocol.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from clients.errors import ClientError
from clients.python.audio import Wave, from_pcm16, to_pcm16

Event = dict[str, Any]  #: one event of the wire; `type` is always there

DEFAULT_URL = "ws://127.0.0.1:8000/v1/realtime"


@dataclass
class Answer:
    """One response, as far as it has come."""

    id: str = ""
    item_id: str = ""
    status: str = "in_progress"  #: completed, cancelled, incomplete or failed once it is done
    reason: str | None = None  #: why it is not completed
    text: str = ""
    pcm: list[Wave] = field(default_factory=list)
    timings: Event | None = None  #: `omni.response.timings`, where the server sends it
    usage: Event | None = None

    @property
    def audio(self) -> Wave:
        """All samples so far, 24 kHz mono."""
        return np.concatenate(self.pcm) if self.pcm else np.zeros(0, np.float32)

    def add(self, event: Event) -> Wave | None:
        """Take one event of this response; returns the samples it brought."""
        match event["type"]:
            case "response.created":
                self.id = event["response"]["id"]
            case "response.output_item.added":
                self.item_id = event["item"]["id"]
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                self.text += event["delta"]
            case "response.output_audio.delta":
                try:
                    samples = from_pcm16(base64.b64decode(event["delta"], validate=True))
                except (binascii.Error, ValueError) as error:
                    raise ClientError(f"the server sent audio that is no base64 of 16-bit samples ({error}); is it of this protocol?") from error
                self.pcm.append(samples)
                return samples
            case "omni.response.timings":
                self.timings = event
            case "response.done":
                response = event["response"]
                self.status = response["status"]
                self.usage = response.get("usage")
                details = response.get("status_details") or {}
                self.reason = details.get("reason") or (details.get("error") or {}).get("message") or (details.get("error") or {}).get("code")
            case _:
                pass
        return None


class RealtimeClient:
    """An open connection. Make one with `async with RealtimeClient.connect(url) as client`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.session: Event = {}  #: the server's last word on the session

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str = DEFAULT_URL, *, api_key: str | None = None, extensions: bool = False) -> AsyncIterator[Self]:
        """Connect and wait for `session.created`. `extensions` asks for the events that only this server has."""
        socket = await open_socket(url, api_key=api_key, extensions=extensions)
        async with socket:
            client = cls(socket)
            first = await client.receive()
            if first["type"] != "session.created":
                raise ClientError(f"{url}: expected session.created, got {first['type']}; is this a Realtime server?")
            yield client

    async def send(self, event_type: str, /, **fields: Any) -> str:
        """Send one event; returns the id it was sent with."""
        event_id = f"event_{next(self._ids)}"
        try:
            await self._socket.send(json.dumps({"type": event_type, "event_id": event_id, **fields}))
        except ConnectionClosed as error:
            raise connection_closed(error) from error
        return event_id

    async def receive(self) -> Event:
        """The next event; raises ClientError when the connection is gone."""
        try:
            message = await self._socket.recv()
        except ConnectionClosed as error:
            raise connection_closed(error) from error
        event = read_event(message)
        if event["type"] in ("session.created", "session.updated"):
            self.session = event["session"]
        return event

    async def events(self) -> AsyncIterator[Event]:
        """Every event until the caller leaves or the connection is gone."""
        while True:
            yield await self.receive()

    async def update_session(self, **session: Any) -> None:
        """Change the session: only what is given changes."""
        await self.send("session.update", session={"type": "realtime", **session})

    async def end_turns_by_hand(self) -> None:
        """Turn detection off: from here `commit` and `create_response` end a turn."""
        await self.update_session(audio={"input": {"turn_detection": None}})

    async def append(self, wave: Wave) -> None:
        """More of what the microphone hears: 24 kHz mono."""
        await self.send("input_audio_buffer.append", audio=base64.b64encode(to_pcm16(wave)).decode())

    async def commit(self) -> None:
        """End the turn by hand. Starts no response."""
        await self.send("input_audio_buffer.commit")

    async def create_response(self, **response: Any) -> None:
        """Ask for an answer."""
        await self.send("response.create", **({"response": response} if response else {}))

    async def cancel_response(self) -> None:
        """Stop the answer that is being generated."""
        await self.send("response.cancel")

    async def truncate(self, item_id: str, heard_ms: int) -> str:
        """Say how much of an answer was heard; returns the event's id."""
        return await self.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=heard_ms)

    async def retrieve(self, item_id: str) -> str:
        """Ask for an item of the conversation, which comes as `conversation.item.retrieved`; returns the event's id."""
        return await self.send("conversation.item.retrieve", item_id=item_id)

    async def send_text(self, text: str) -> None:
        """Add a written message of the user. Starts no response."""
        await self.send("conversation.item.create", item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})

    async def send_image(self, data: bytes, mime: str = "image/jpeg") -> None:
        """Show a picture; the next turn sees the newest one. Starts no response."""
        url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
        await self.send("conversation.item.create", item={"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": url}]})

    async def collect(self) -> Answer:
        """Read until the current or next response is done. Raises ClientError on an error event."""
        answer = Answer()
        async for event in self.events():
            if event["type"] == "error":
                raise ClientError(f"the server says: {event['error'].get('message')}")
            answer.add(event)
            if event["type"] == "response.done":
                return answer
        raise AssertionError("events() ends by an exception only")


async def open_socket(url: str, *, api_key: str | None = None, extensions: bool = False) -> ClientConnection:
    """A connected WebSocket, nothing read from it yet. ClientError when the server can't be reached or refuses."""
    address = _with_query(url, "extensions", "omni") if extensions else url
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        # Deltas of audio are far over the default limit of 1 MiB only if a server sends a whole answer at once; allow it.
        return await connect(address, additional_headers=headers, max_size=64 << 20, compression=None, proxy=None if _is_local(url) else True)
    except InvalidStatus as error:
        status = error.response.status_code
        raise ClientError(f"{url}: the server refused with HTTP {status}{_HINTS.get(status, '')}") from error
    except (OSError, TimeoutError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise ClientError(f"{url}: no server answers there ({reason}); start one with `omni serve`, or give --url") from error
    except (InvalidURI, InvalidHandshake, ValueError) as error:
        raise ClientError(f"{url}: is no Realtime address ({error}); it looks like {DEFAULT_URL}") from error


_HINTS = {
    401: ": give a valid key with --api-key",
    403: ": this server does not take connections from here",
    404: ": the path is wrong, it ends in /v1/realtime",
    503: ": it is busy or still loading, try again in a moment",
}


def connection_closed(error: ConnectionClosed) -> ClientError:
    """What an ended connection was ended for."""
    code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "no closing handshake")
    hint = "; it is full, try again in a moment" if code == 1013 else ""
    return ClientError(f"the server closed the connection (code {code}{': ' + reason if reason else ''}){hint}")


def _with_query(url: str, key: str, value: str) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True)) | {key: value}
    return urlunsplit(parts._replace(query=urlencode(query)))


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_event(message: str | bytes) -> dict[str, Any]:
    """A server's message. Raises ClientError for what is no event."""
    try:
        event = json.loads(message)
    except ValueError as error:
        raise ClientError(f"the server sent something that is no JSON ({error}); is this a Realtime server?") from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise ClientError("the server sent an event without a type; is this a Realtime server?")
    return event

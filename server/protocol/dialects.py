"""The beta dialect of the Realtime protocol, translated at the edge: the session speaks GA alone.

Beta has a flat session, `audio` and `text` where GA has `output_audio` and `output_text`, and one `conversation.item.created`
where GA has two events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.protocol.errors import ProtocolError
from server.protocol.server_events import ServerEvent

HEADER, HEADER_VALUE = "openai-beta", "realtime=v1"
SUBPROTOCOL = "openai-beta.realtime-v1"  #: in browsers, which can't set headers

#: beta's key of a session or a response -> where GA has it
_PLACES: dict[str, tuple[str, ...]] = {
    "modalities": ("output_modalities",),
    "max_response_output_tokens": ("max_output_tokens",),
    "input_audio_format": ("audio", "input", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "output_audio_format": ("audio", "output", "format"),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
}
#: what only GA has
_GA_KEYS = ("type", "audio", "output_modalities", "max_output_tokens", "truncation", "prompt")
_FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_FORMAT_NAMES = {format["type"]: name for name, format in _FORMATS.items()}
#: GA's event -> beta's
_EVENTS = {
    "conversation.item.added": "conversation.item.created",
    **{f"response.output_{kind}.{part}": f"response.{kind}.{part}" for kind in ("audio", "audio_transcript", "text") for part in ("delta", "done")},
}
_UNKNOWN_EVENTS = {"conversation.item.done", "input_audio_buffer.timeout_triggered"}
_CONTENT_TYPES = {"output_audio": "audio", "output_text": "text"}
_USUAL_TEMPERATURE = 0.8


class Dialect:
    """One connection's dialect: GA, until the client shows that it speaks beta."""

    def __init__(self, beta: bool = False) -> None:
        self.beta = beta
        self._temperature: float = _USUAL_TEMPERATURE  # GA has none; beta clients want theirs back

    @classmethod
    def of(cls, header: str | None, subprotocols: Sequence[str] = ()) -> Dialect:
        """As the handshake says: the value of `OpenAI-Beta`, the offered subprotocols."""
        return cls(beta=HEADER_VALUE in (header or "") or SUBPROTOCOL in subprotocols)

    def incoming(self, event: dict[str, Any]) -> dict[str, Any]:
        """A client's event in GA. A flat `session.update` is beta, and so is everything from then on. Raises ProtocolError for an unknown format."""
        match event:
            case {"type": "session.update", "session": dict(session)}:
                self.beta = self.beta or (any(key in _PLACES for key in session) and not any(key in _GA_KEYS for key in session))
                if self.beta:
                    if isinstance(session.get("temperature"), float | int):
                        self._temperature = session["temperature"]
                    return {**event, "session": _nested(session, "session")}
            case {"type": "response.create", "response": dict(response)} if self.beta:
                return {**event, "response": _nested(response, "response")}
        return event

    def outgoing(self, event: ServerEvent) -> list[ServerEvent]:
        """What a client is told instead of this GA event: nothing, where its dialect has no such event."""
        if not self.beta:
            return [event]
        if event["type"] in _UNKNOWN_EVENTS:
            return []
        told = {**event, "type": _EVENTS.get(event["type"], event["type"])}
        if "session" in told:
            told["session"] = self._flat(told["session"])
        if "response" in told:
            told["response"] = self._flat(told["response"])
            told["response"]["max_output_tokens"] = told["response"].pop("max_response_output_tokens")  # the one name that a response shares with GA
            told["response"]["output"] = [_item(item) for item in told["response"]["output"]]
        if "item" in told:
            told["item"] = _item(told["item"])
        if "error" in told:
            told["error"] = _error(told["error"])
        return [told]

    def _flat(self, nested: dict[str, Any]) -> dict[str, Any]:
        """A session or response of GA as beta has it."""
        flat = {key: value for key, value in nested.items() if key not in _GA_KEYS}
        for key, place in _PLACES.items():
            found: Any = nested
            for step in place:
                found = found.get(step, _ABSENT) if isinstance(found, dict) else _ABSENT
            if found is _ABSENT:
                continue
            if key == "modalities" and found == ["audio"]:
                found = ["audio", "text"]
            flat[key] = _FORMAT_NAMES[found["type"]] if place[-1] == "format" else found
        return {**flat, "temperature": self._temperature}


_ABSENT = object()


def _nested(flat: dict[str, Any], param: str) -> dict[str, Any]:
    """A session or response of beta as GA has it; one that is GA's already stays."""
    if "audio" in flat:
        return flat
    nested = {key: value for key, value in flat.items() if key not in _PLACES}
    for key, place in _PLACES.items():
        if key not in flat:
            continue
        value = flat[key]
        if place[-1] == "format" and value is not None:
            value = _format(value, f"{param}.{key}")
        inner = nested
        for step in place[:-1]:
            inner = inner.setdefault(step, {})
        inner[place[-1]] = value
    return nested


def _format(name: Any, param: str) -> dict[str, Any]:
    if not isinstance(name, str) or name not in _FORMATS:
        raise ProtocolError("unsupported_audio_format", f"{param} {name!r} is not served: use {', '.join(_FORMATS)}", param=param)
    return _FORMATS[name]


def _item(item: dict[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return item
    return {**item, "content": [{**part, "type": _CONTENT_TYPES.get(part["type"], part["type"])} for part in item["content"]]}


def _error(error: dict[str, Any]) -> dict[str, Any]:
    """With the names that the client wrote."""
    told = dict(error)
    for key, place in _PLACES.items():
        for field in ("param", "message"):
            if told.get(field):
                told[field] = told[field].replace(".".join(place), key)
    return told

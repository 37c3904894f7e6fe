"""The session object of the wire: its defaults, its partial update, and which values are legal.

What this server has no use for (tools, tracing, truncation, noise reduction, speed, unknown transcription models) is
accepted and echoed, because refusing it drops stock clients' sessions; what changes behaviour is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from server.protocol.errors import ProtocolError
from server.protocol.media import SAMPLE_RATE

Modality = Literal["text", "audio"]
OutputTokens = Annotated[int, Field(ge=1)] | Literal["inf"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PcmFormat(_Part):
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = SAMPLE_RATE


class G711Format(_Part):
    """A telephone's: one byte per sample, 8 kHz."""

    type: Literal["audio/pcmu", "audio/pcma"]


def _with_type(value: Any) -> Any:
    return {"type": "audio/pcm", **value} if isinstance(value, dict) else value


AudioFormat = Annotated[PcmFormat | G711Format, Field(discriminator="type"), BeforeValidator(_with_type)]


class ServerVad(_Part):
    """Endpointing by silence. The effective value is always shown with an explicit `interrupt_response`: stock clients read it."""

    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5_000)
    silence_duration_ms: int = Field(default=500, ge=0, le=30_000)
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: int | None = Field(default=None, ge=5_000, le=30_000)


class SemanticVad(_Part):
    """Endpointing by meaning; here eagerness chooses a silence (`session.turns`)."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class AudioInput(_Part):
    format: AudioFormat = PcmFormat()
    transcription: dict[str, Any] | None = None
    noise_reduction: dict[str, Any] | None = None
    turn_detection: TurnDetection | None = ServerVad()


class AudioOutput(_Part):
    format: AudioFormat = PcmFormat()
    voice: str | dict[str, Any] = "omni"
    speed: float = Field(default=1.0, gt=0.0)


class Audio(_Part):
    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class SessionObject(_Part):
    """The whole effective session, as `session.created` and `session.updated` show it."""

    type: Literal["realtime"] = "realtime"
    object: Literal["realtime.session"] = "realtime.session"
    id: str
    expires_at: int
    model: str
    output_modalities: list[Modality] = Field(default=["audio"], min_length=1, max_length=1)
    instructions: str = ""
    tools: list[dict[str, Any]] = []
    tool_choice: str = "auto"
    max_output_tokens: OutputTokens = "inf"
    truncation: Any = "auto"
    tracing: Any = None
    prompt: dict[str, Any] | None = None
    include: list[str] | None = None
    audio: Audio = Audio()

    @field_validator("tool_choice", mode="before")
    @classmethod
    def _tool_choice_is_a_string(cls, value: Any) -> Any:
        return value if value in ("none", "auto", "required") else "auto"  # a named tool has no effect; pipecat wants a string in the echo

    @field_validator("output_modalities", mode="before")
    @classmethod
    def _audio_brings_its_text(cls, value: Any) -> Any:
        return ["audio"] if value in (["text", "audio"], ["audio", "text"]) else value  # speech always has a transcript

    @property
    def speaks(self) -> bool:
        """Answers are speech."""
        return self.output_modalities == ["audio"]

    def updated(self, patch: Mapping[str, Any]) -> SessionObject:
        """This session with `patch` merged in (`session.update`: what is absent stays; `""`, `[]` and null clear).

        Raises ProtocolError naming the first bad value.
        """
        if patch.get("type", "realtime") != "realtime":
            raise ProtocolError("invalid_value", f"session.type {patch['type']!r} is not served: use 'realtime'", param="session.type")
        kept = {key: value for key, value in patch.items() if key not in ("id", "object", "expires_at", "model")}
        try:
            return SessionObject.model_validate(_merged(self.model_dump(), kept))
        except ValidationError as error:
            raise _refusal(error) from None


#: values that may be null; for others null restores the default
_NULLABLE = {"transcription", "noise_reduction", "turn_detection", "tracing", "prompt", "include", "idle_timeout_ms"}


def _merged(old: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in patch.items():
        before = old.get(key)
        if value is None and key not in _NULLABLE:
            merged.pop(key, None)
        elif key == "turn_detection" and isinstance(value, dict) and isinstance(before, dict):
            kind = value.get("type", before["type"])
            # Settings of one kind of turn detection mean nothing to another.
            merged[key] = {"type": kind, **(before if kind == before["type"] else {}), **_present(value)}
        elif isinstance(value, dict) and isinstance(before, dict) and key in ("audio", "input", "output"):
            merged[key] = _merged(before, value)
        elif key == "turn_detection" and isinstance(value, dict):
            merged[key] = {"type": "server_vad", **_present(value)}
        else:
            merged[key] = value
    return merged


def _present(value: dict[str, Any]) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if inner is not None}


#: pydantic puts the branch of a union it took into the path; no client wrote it
_UNION_BRANCHES = {"server_vad", "semantic_vad", "constrained-int", "audio/pcm", "audio/pcmu", "audio/pcma"}


def _refusal(error: ValidationError) -> ProtocolError:
    first = error.errors(include_url=False, include_context=False)[0]
    path = ".".join(["session", *(str(part) for part in first["loc"] if part not in _UNION_BRANCHES)])
    if path.endswith(("format", "format.rate")):
        served = f"audio/pcm at {SAMPLE_RATE}, audio/pcmu or audio/pcma"
        return ProtocolError("unsupported_audio_format", f"{path} {first['input']!r} is not served: use {served}", param=path)
    return ProtocolError("invalid_value", f"{path}: {first['msg']} (got {first['input']!r})", param=path)

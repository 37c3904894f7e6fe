"""Configuration: frozen dataclasses, strict readers, no defaults that belong to one particular model.

Owns the shape of `config.json` of our own checkpoint format. Token ids and offsets are not here: see `tokens.layout`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from omni_core.errors import ConfigError

T = TypeVar("T")

FORMAT = "omni-duplex/1"


@dataclass(frozen=True)
class LayoutConfig:
    """Sizes of the joint vocabulary (model-facts section 2); ids follow from them in `tokens.layout`."""

    text_tokens: int  #: ids the tokenizer may produce; the special text ids start here
    text_rows: int  #: rows of the text part of the embedding, specials and padding included
    codes: int  #: codec integers per layer; the special audio ids start here
    audio_rows: int  #: rows per audio layer, specials and padding included


@dataclass(frozen=True)
class BackboneConfig:
    """A Qwen2-class decoder."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    mlp: int  #: hidden width of the gated MLP
    rope_base: float
    norm_eps: float
    max_positions: int  #: prompt and answer together


@dataclass(frozen=True)
class ModelConfig:
    """The language model with its adapters."""

    name: str
    layout: LayoutConfig
    backbone: BackboneConfig
    audio_features: int  #: width of the audio encoder's features
    vision_features: int | None  #: width of the vision encoder's features; None: no vision adapter
    adapter_mlp: int  #: hidden width of the adapters
    image_overwrites_input: bool  #: True: VA prompts as released weights were trained (features over input_a)


@dataclass(frozen=True)
class ChunkedEncoderConfig:
    """nano's chunk-causal audio encoder (`encoders.chunked`)."""

    mels: int  #: log-mel bands at 100 Hz with a fixed floor
    width: int
    layers: int
    heads: int
    mlp: int
    features_per_s: int  #: rate of the features that leave the encoder
    chunk_features: int  #: features per chunk; a chunk sees itself and what came before
    left_chunks: int  #: earlier chunks that attention may see
    ctc_vocabulary: int  #: rows of the CTC head used in training and for checks; 0: none kept


@dataclass(frozen=True)
class CausalCodecConfig:
    """nano's causal codec (`codec.causal`): SNAC's three levels, strides 4/2/1, hop 512 at 24 kHz."""

    codes: int  #: entries of each codebook
    code_dim: int  #: width in which codes are looked up
    mels: int  #: bands of the encoder's log-mel input
    encoder_width: int
    encoder_layers: int  #: at 46.9 Hz
    latent: int  #: width between encoder and decoder, in which the levels' residuals add up
    decoder_width: int
    frame_layers: int  #: decoder layers at 46.9 Hz, before upsampling
    decoder_layers: int  #: decoder layers at the head's rate
    expansion: int  #: hidden width of a layer over its width
    fft: int  #: window of the iSTFT head
    hop: int  #: its hop
    delay: int  #: samples held back until the next frame (or the flush), so that no window is centred beyond what its frame knows


@dataclass(frozen=True)
class WhisperConfig:
    """Whisper's encoder (`encoders.whisper`), as far as OpenAI's `dims` describe it."""

    mels: int
    positions: int  #: features of the 30 s window
    width: int
    heads: int
    layers: int


@dataclass(frozen=True)
class ClipConfig:
    """CLIP's vision tower (`encoders.clip`)."""

    resolution: int  #: pixels of the square it looks at
    patch: int  #: pixels of one patch's side
    width: int
    heads: int
    layers: int
    features: int  #: width of the features after the projection


@dataclass(frozen=True)
class ListenerConfig:
    """How a checkpoint's trained irq / n-irq ids are to be read (`omni_core.listener`)."""

    band_frames: int  #: newest frames that attention sees, in training as in serving
    margin: float  #: irq is said when its logit passes that of n-irq by more than this


@dataclass(frozen=True)
class VisionConfig:
    """nano's vision encoder (`encoders.patches`): convolutions down to a grid of features, then attention over them."""

    resolution: int  #: pixels of the square it looks at, a multiple of 16
    stem_width: int  #: at a quarter of the resolution
    middle_width: int  #: at an eighth
    middle_layers: int
    width: int  #: at a sixteenth, and of the features
    layers: int
    attention_layers: int
    heads: int
    mlp: int  #: hidden width of an attention layer


@dataclass(frozen=True)
class ReadAloudConfig:
    """How a checkpoint is asked to say a text that is given, in place of answering it."""

    prompt: str  #: with {text} where the text goes: "Repeat after me: {text}"
    words: int  #: that it was trained to say at once; a longer text is read in pieces

    def __post_init__(self) -> None:
        if "{text}" not in self.prompt or self.words < 1:
            raise ConfigError(f"read_aloud: prompt {self.prompt!r} needs {{text}} in it, and words {self.words} must be at least 1")


@dataclass(frozen=True)
class BundleConfig:
    """`config.json` of a model directory in our own format. A part that is None is not there.

    nano brings `audio_encoder`, `vision` and `codec`; released weights `whisper`, `clip` and, as a folder with its own configuration, SNAC.
    """

    format: str
    model: ModelConfig
    listener: ListenerConfig | None  #: None: the irq / n-irq ids are untrained
    audio_encoder: ChunkedEncoderConfig | None = None
    codec: CausalCodecConfig | None = None
    whisper: WhisperConfig | None = None  #: in place of `audio_encoder`
    clip: ClipConfig | None = None
    vision: VisionConfig | None = None  #: in place of `clip`
    memory_turns: int = 0  #: earlier turns of the conversation that it was trained to find in its prompt; 0: none, as the released weights
    end_of_turn: bool = False  #: it brings `end_of_turn.safetensors` (`models.ending`)
    read_aloud: ReadAloudConfig | None = None  #: None: it answers every text, as the released weights

    def __post_init__(self) -> None:
        if self.memory_turns < 0:
            raise ConfigError(f"memory_turns {self.memory_turns} is negative: use 0 for a model without memory")


@dataclass(frozen=True)
class SamplingParams:
    """How a token is drawn from logits. The default is greedy (the reference's top_k = 1)."""

    temperature: float = 0.0  #: 0: greedy
    top_k: int = 0  #: 0: no limit
    top_p: float = 1.0  #: 1: no limit
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 10.0:
            raise ConfigError(f"temperature {self.temperature} is out of range: use 0 (greedy) to 10")
        if self.top_k < 0:
            raise ConfigError(f"top_k {self.top_k} is negative: use 0 for no limit")
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"top_p {self.top_p} is out of range: use a value above 0, up to 1")


class Precision(StrEnum):
    """What the language model and Whisper's encoder calculate in; codec, nano's encoder and CLIP stay in float32."""

    AUTO = "auto"  #: bfloat16 on an accelerator; on a CPU whichever a measurement finds fastest
    FLOAT32 = "float32"
    BFLOAT16 = "bf16"
    INT8 = "int8"  #: weights of 8 bits; CPUs alone


@dataclass(frozen=True)
class EngineConfig:
    """Sizes of the engine."""

    slots: int = 8  #: responses at once, two rows each
    queue: int = 32  #: responses that may wait for a slot; one more is refused with EngineBusy
    max_wait_s: float = 15.0  #: in the queue; then it is refused with EngineBusy
    max_ahead_s: float = 1.0  #: audio a paced response may be ahead of its playback, and a frame
    prompt_piece: int = 128  #: positions of a prompt that are read between two steps of those who speak
    precision: Precision = Precision.AUTO  #: that the model is served in


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """Read dataclass `cls` from parsed JSON, strictly.

    Raises ConfigError naming the key (as `where.key`) when one is unknown, missing, or of the wrong type.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected an object with the keys of {cls.__name__}, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}; known keys are {', '.join(fields)}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in data:
            if field.default is dataclasses.MISSING:
                raise ConfigError(f"{where}: key {name!r} is missing")
            continue
        values[name] = _read(hints[name], data[name], f"{where}.{name}")
    return cls(**values)


def to_dict(config: Any) -> dict[str, Any]:
    """The JSON object that `from_dict` reads back."""
    return dataclasses.asdict(config)


def _read(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, types.UnionType):
        if value is None and type(None) in typing.get_args(kind):
            return None
        kind = next(a for a in typing.get_args(kind) if a is not type(None))
    if dataclasses.is_dataclass(kind):
        return from_dict(kind, value, where)  # type: ignore[arg-type]
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected names with values, got {value!r}")
        return {name: _read(typing.get_args(kind)[1], item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if value not in list(kind):
            raise ConfigError(f"{where}: must be one of {', '.join(kind)}, got {value!r}")
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value

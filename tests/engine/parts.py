"""Small parts to build engines from: random ones, and a model that says what a script tells it and notes what it was fed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers

from omni_core.config import BackboneConfig, LayoutConfig, ModelConfig
from omni_core.errors import AudioError
from omni_core.models import OmniModel
from omni_core.tokens import AUDIO_LAYERS, STREAMS, TEXT_STREAM, Tokenizer, TokenLayout, apply_delay

CONFIG = ModelConfig(
    name="tiny",
    layout=LayoutConfig(text_tokens=256, text_rows=264, codes=16, audio_rows=24),
    backbone=BackboneConfig(layers=2, width=32, heads=4, kv_heads=2, head_size=8, mlp=48, rope_base=10_000.0, norm_eps=1e-6, max_positions=160),
    audio_features=6,
    vision_features=5,
    adapter_mlp=16,
    image_overwrites_input=False,
)
AFTER_EOT = 7  #: what a script goes on saying after eot: it must not matter
LAYOUT = TokenLayout.from_config(CONFIG.layout)


def make_tokenizer() -> Tokenizer:
    """Ids are bytes."""
    vocabulary = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return Tokenizer(inner)


class Ear:
    """An audio encoder of one feature per 160 samples; a wave that starts at 0.5 can't be heard."""

    sample_rate, features_per_s, width = 16_000, 100.0, 6

    def __init__(self, max_audio_s: float | None = None) -> None:
        self.max_audio_s = max_audio_s

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        if wave[0] == 0.5:
            raise AudioError("this wave can't be heard")
        return wave[: len(wave) // 160 * 160].view(-1, 160)[:, :6] * 4


@dataclass
class Voice:
    """A codec whose frame is 2048 samples of (its first code + 1) / 100, final once `lag` more frames are there."""

    lag: int = 0
    sample_rate: int = 24_000
    frame_samples: int = 2048
    codes: int = 16

    @property
    def first_audio_frames(self) -> int:
        return self.lag + 1

    def stream(self) -> VoiceStream:
        return VoiceStream(self)


@dataclass
class VoiceStream:
    voice: Voice
    held: torch.Tensor = field(default_factory=lambda: torch.zeros(0, AUDIO_LAYERS, dtype=torch.int64))

    def push(self, frames: torch.Tensor) -> torch.Tensor:
        assert int(frames.max()) < self.voice.codes, "an id that is no code reached the codec"
        self.held = torch.cat([self.held, frames])
        ready = len(self.held) - self.voice.lag
        out, self.held = self.held[: max(0, ready)], self.held[max(0, ready) :]
        return self._samples(out)

    @staticmethod
    def push_all(streams: Sequence[VoiceStream], frames: torch.Tensor) -> list[torch.Tensor]:
        return [stream.push(own) for stream, own in zip(streams, frames, strict=True)]

    def flush(self) -> torch.Tensor:
        out, self.held = self.held, self.held[:0]
        return self._samples(out)

    def _samples(self, frames: torch.Tensor) -> torch.Tensor:
        return ((frames[:, :1] + 1) / 100).float().repeat(1, 2048).flatten()


class ScriptedModel:
    """Says column k of `script` ([8, steps], local ids) in step k, in whatever row; `fed` holds (row, position, [8] local ids) of every step."""

    config, layout, device, dtype = CONFIG, LAYOUT, torch.device("cpu"), torch.float32

    def __init__(self, script: np.ndarray) -> None:
        self.script = torch.as_tensor(script)
        self.fed: list[tuple[int, int, list[int]]] = []
        self._starts: dict[int, int] = {}
        self.broken = False

    def adapt_audio(self, features: torch.Tensor) -> torch.Tensor:
        return features.new_zeros(len(features), CONFIG.backbone.width)

    adapt_image = adapt_audio

    def embed(self, tokens: torch.Tensor, features: Any = None, mask: Any = None) -> torch.Tensor:
        return tokens.transpose(1, 2)  # [R, T, 8]

    def __call__(self, x: torch.Tensor, positions: torch.Tensor, cache: Any, rows: torch.Tensor, length: int) -> torch.Tensor:
        if self.broken:
            raise RuntimeError("the device fell off")
        if x.shape[1] > 1:
            self._starts[int(rows[0]) // 2] = x.shape[1]
        else:
            for row, position, column in zip(rows.tolist(), positions[:, 0].tolist(), x[:, 0], strict=True):
                self.fed.append((row, position, (column - torch.as_tensor(LAYOUT.offsets)).tolist()))
        starts = torch.tensor([self._starts[row // 2] for row in rows.tolist()])
        return (positions - starts[:, None]).clamp(0, self.script.shape[1] - 1)[..., None]  # the step, as a hidden state [R, T, 1]

    def text_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(self.script[TEXT_STREAM][hidden[..., 0]], LAYOUT.text_rows).float()

    def audio_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        ids = self.script[:TEXT_STREAM].T[hidden[..., 0]]  # [..., 7]
        return torch.nn.functional.one_hot(ids, LAYOUT.audio_rows).float()


def script(text: str, frames: np.ndarray) -> np.ndarray:
    """The columns [8, steps] of an answer: `text`, eot, then whatever; frames [F, 7] behind their delay, then eoa."""
    audio = apply_delay(frames, LAYOUT)
    ids = [*make_tokenizer().encode(text), LAYOUT.eot]
    columns = np.zeros((STREAMS, max(len(ids), audio.shape[1])), np.int64)
    columns[:TEXT_STREAM] = LAYOUT.pad_a
    columns[:TEXT_STREAM, : audio.shape[1]] = audio
    columns[TEXT_STREAM] = AFTER_EOT
    columns[TEXT_STREAM, : len(ids)] = ids
    return columns


def make_frames(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, LAYOUT.codes, (count, AUDIO_LAYERS))


def make_bundle(model: Any, **parts: Any) -> Any:
    """A bundle with every part; name one to change it."""
    every = {"tokenizer": make_tokenizer(), "audio_encoder": Ear(), "vision_encoder": None, "codec": Voice(), "memory_turns": 0}
    trained = {"listener": None, "end_of_turn": None, "read_aloud": None}
    return SimpleNamespace(model=model, name="tiny", **(every | trained | parts))


def make_model(config: ModelConfig = CONFIG) -> OmniModel:
    """A real model whose logits are spread enough that greedy choices are not ties."""
    torch.manual_seed(3)
    model = OmniModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=1.5 / parameter.shape[1] ** 0.5)
    return model


def wave(seconds: float = 0.3, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(int(24_000 * seconds)) * 0.2).astype(np.float32)

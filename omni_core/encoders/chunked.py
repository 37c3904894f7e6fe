"""nano's audio encoder: chunk-causal, so that it keeps pace with speech and a stream gives what the whole clip gives.

Mel frames at 100 Hz, two causal convolutions of stride 2 to 25 Hz, then pre-norm transformer layers with rotary positions in
which a feature sees its own chunk (320 ms) and `left_chunks` chunks before. The last chunk of an utterance may be partial.
Pre-trained with CTC over characters (`training.encoders`); the CTC head is kept in training checkpoints only.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from omni_core.config import ChunkedEncoderConfig
from omni_core.encoders.mel import HISTORY, HOP, SAMPLE_RATE, LogMel
from omni_core.errors import AudioError, ConfigError

_SUBSAMPLING = 4  # 100 Hz to 25 Hz
_KERNEL = 4  # of both convolutions, in frames of their input
FEATURE_SAMPLES = HOP * _SUBSAMPLING
CTC_PER_FEATURE = 2  #: CTC steps per feature: fast speech has more letters a second than 25
_ROPE_BASE = 10_000.0

KeyValue = tuple[torch.Tensor, torch.Tensor]  # each [1, heads, kept, head size]


class ChunkedEncoder(nn.Module):
    """See the module. Satisfies `encoders.base.AudioEncoder`."""

    sample_rate = SAMPLE_RATE
    max_audio_s: float | None = None

    def __init__(self, config: ChunkedEncoderConfig) -> None:
        super().__init__()
        if config.features_per_s * FEATURE_SAMPLES != SAMPLE_RATE:
            raise ConfigError(f"audio_encoder.features_per_s is {config.features_per_s}: this encoder gives {SAMPLE_RATE // FEATURE_SAMPLES}")
        if config.width % (2 * config.heads):
            raise ConfigError(f"audio_encoder.width {config.width} must be a multiple of 2 * heads ({config.heads})")
        self.config = config
        self.features_per_s: float = config.features_per_s
        self.width = config.width
        self.mel = LogMel(config.mels)
        self.first = nn.Linear(_KERNEL * config.mels, config.width)
        self.second = nn.Linear(_KERNEL * config.width, config.width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.ctc = nn.Linear(config.width, CTC_PER_FEATURE * config.ctc_vocabulary) if config.ctc_vocabulary else None

    @torch.inference_mode()
    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """Features [ceil(N / 640), width] at 25 Hz of `wave` [N] float32 at 16 kHz; N is filled up with silence to whole features.

        Raises AudioError when `wave` is empty, not one-dimensional, or holds NaN or infinite samples.
        """
        wave = self._checked(wave)
        mel = self.mel(F.pad(wave, (0, -len(wave) % FEATURE_SAMPLES)))
        return self.forward(mel[None])[0]

    def begin_as_nothing(self, first: int) -> tuple[str, ...]:
        """Let the layers from number `first` on add nothing as yet, for weights that know only those before; gives the prefixes of their names."""
        for layer in list(self.layers)[first:]:
            assert isinstance(layer, _Layer)
            for last in (layer.out, layer.down):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        return tuple(f"layers.{number}." for number in range(first, len(self.layers)))

    def feature_count(self, samples: int) -> int:
        """Features of a waveform of `samples`: ceil(samples / 640)."""
        return -(-samples // FEATURE_SAMPLES)

    def stream(self) -> EncoderStream:
        """A stream to push samples into as they arrive."""
        return EncoderStream(self)

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Features [B, T / 4, width] of log-mel `mel` [B, T, mels], T a multiple of 4; `lengths` [B]: features that are real, for padded batches."""
        x = self._subsample(mel, None)
        steps = torch.arange(x.shape[1], device=x.device)
        mask = self.chunk_mask(steps, steps)[None, None]  # [1, 1, L, L]
        if lengths is not None:
            # Padding inside the last chunk is hidden; the diagonal stays, for a row that sees nothing would be NaN.
            mask = mask & ((steps < lengths[:, None])[:, None, None, :] | (steps[:, None] == steps))
        rope = _rope(steps, self.width // self.config.heads)
        for layer in self.layers:
            x, _ = layer(x, rope, mask, ())
        return self.norm(x)

    def ctc_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Character logits [B, 2 L, ctc_vocabulary] at 50 Hz of `features` [B, L, width]. Raises ConfigError without a CTC head."""
        if self.ctc is None:
            raise ConfigError("this encoder was saved without its CTC head: load with_ctc.safetensors, ctc_vocabulary > 0")
        return self.ctc(features).unflatten(-1, (CTC_PER_FEATURE, -1)).flatten(1, 2)

    def chunk_mask(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Who sees whom: bool [Q, K] for feature numbers `queries` [Q] and `keys` [K]."""
        behind = (queries // self.config.chunk_features)[:, None] - keys // self.config.chunk_features
        return (behind >= 0) & (behind <= self.config.left_chunks)

    def _subsample(self, mel: torch.Tensor, before: list[torch.Tensor] | None) -> torch.Tensor:
        """[B, T, mels] to [B, T / 4, width]; `before`, the two last input frames of each convolution, is updated in place."""
        x = mel
        for index, layer in enumerate((self.first, self.second)):
            past = x.new_zeros((x.shape[0], _KERNEL - 2, x.shape[2])) if before is None else before[index]
            x = torch.cat([past, x], dim=1)
            if before is not None:
                before[index] = x[:, -(_KERNEL - 2) :]
            frames = x.unfold(1, _KERNEL, 2).transpose(2, 3).flatten(2)  # [B, T / 2, kernel * channels]: a convolution as one matmul
            x = F.gelu(layer(frames))
        return x

    def _checked(self, wave: torch.Tensor) -> torch.Tensor:
        if wave.ndim != 1 or not len(wave):
            raise AudioError(f"audio must be one channel of at least one sample, got shape {tuple(wave.shape)}")
        wave = wave.to(self.mel.window.device, torch.float32)
        if not torch.isfinite(wave).all():
            raise AudioError("audio holds NaN or infinite samples: check the decoder or microphone that made it")
        return wave


class EncoderStream:
    """Encodes one utterance as it arrives. `push` and `finish` together give exactly what `encode` gives at once."""

    def __init__(self, encoder: ChunkedEncoder) -> None:
        config = encoder.config
        self._encoder = encoder
        self._device = encoder.mel.window.device
        self._waiting = torch.zeros(0, device=self._device)
        self._history = torch.zeros(HISTORY, device=self._device)
        self._before = [torch.zeros((1, _KERNEL - 2, channels), device=self._device) for channels in (config.mels, config.width)]
        self._chunks: tuple[tuple[KeyValue, ...], ...] = ()  # of the newest chunks that attention may see, by layer
        self._features = 0

    def fork(self) -> EncoderStream:
        """A second stream that goes on from here by itself. What both have kept so far they share."""
        other = copy.copy(self)
        other._before = list(self._before)
        return other

    @torch.inference_mode()
    def push(self, wave: torch.Tensor) -> torch.Tensor:
        """Features [k * chunk_features, width] of the chunks that `wave` [N] (N may be 0) completes. Raises AudioError for NaN samples."""
        if wave.numel():
            self._waiting = torch.cat([self._waiting, self._encoder._checked(wave)])
        config = self._encoder.config
        chunk = config.chunk_features * FEATURE_SAMPLES
        done = [self._chunk(self._take(chunk)) for _ in range(len(self._waiting) // chunk)]
        return torch.cat(done) if done else torch.zeros((0, config.width), device=self._device)

    @torch.inference_mode()
    def finish(self) -> torch.Tensor:
        """Features [L, width] of the partial last chunk, L = 0 when there is none. The stream can't be used afterwards."""
        waiting = len(self._waiting)
        if not waiting:
            return torch.zeros((0, self._encoder.width), device=self._device)
        return self._chunk(F.pad(self._take(waiting), (0, -waiting % FEATURE_SAMPLES)))

    def _take(self, samples: int) -> torch.Tensor:
        taken, self._waiting = self._waiting[:samples], self._waiting[samples:]
        return taken

    def _chunk(self, wave: torch.Tensor) -> torch.Tensor:
        encoder = self._encoder
        mel = encoder.mel(wave, self._history)
        self._history = torch.cat([self._history, wave])[-HISTORY:].clone()  # a view would keep the whole chunk alive
        x = encoder._subsample(mel[None], self._before)
        rope = _rope(torch.arange(self._features, self._features + x.shape[1], device=x.device), encoder.width // encoder.config.heads)
        own: list[KeyValue] = []
        for index, layer in enumerate(encoder.layers):
            x, (keys, values) = layer(x, rope, None, [chunk[index] for chunk in self._chunks])
            own.append((keys, values.clone()))
        self._chunks = (*self._chunks, tuple(own))[-encoder.config.left_chunks :] if encoder.config.left_chunks else ()
        self._features += x.shape[1]
        return encoder.norm(x)[0]


class _Layer(nn.Module):
    def __init__(self, config: ChunkedEncoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.mlp)
        self.down = nn.Linear(config.mlp, config.width)

    def forward(self, x: torch.Tensor, rope: KeyValue, mask: torch.Tensor | None, before: Sequence[KeyValue]) -> tuple[torch.Tensor, KeyValue]:
        """`x` [B, L, width]; `before`: rotated keys and values of what came before, all of which it sees. Returns the output and its own of both."""
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, L, head]
        q, k = _rotate(q, rope), _rotate(k, rope)
        own = k, v
        if before:
            k, v = (torch.cat(parts, dim=2) for parts in zip(*before, own, strict=True))
        scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5  # spelt out: 1.6 times faster to train on a CPU than torch's fused one
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e4)
        x = x + self.out((scores.softmax(-1).to(v.dtype) @ v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x)))), own


def _rope(positions: torch.Tensor, head_size: int) -> KeyValue:
    """Cosine and sine [L, head_size / 2] of the rotary angles."""
    frequencies = _ROPE_BASE ** (-torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float64) / head_size)
    angles = positions[:, None] * frequencies  # float64: a stream may be hours long
    return angles.cos().float(), angles.sin().float()


def _rotate(x: torch.Tensor, rope: KeyValue) -> torch.Tensor:
    cosine, sine = (part.to(x.dtype) for part in rope)
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], dim=-1)

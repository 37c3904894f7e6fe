"""nano's codec: causal at the frame level, so a microphone's frame is encoded the moment it is complete and answers stream exactly.

A frame's 2048 samples become a log-mel of 4 hops; a causal convolutional encoder and residual vector quantisation with SNAC's strides 4/2/1
make 7 codes of it. The decoder lets the hops of one frame see each other, then runs causal convolutions and an inverse-STFT head (as Vocos,
arXiv 2306.00814). Every part keeps its left context in its stream's state, zero at the start; decoding at once is one long push, and any streams
are pushed in one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from omni_core.codec.base import FRAME_SAMPLES, SAMPLE_RATE
from omni_core.codec.frames import pack_frames, unpack_frames
from omni_core.codec.framing import FrameEncoder
from omni_core.codec.state import StateLayout, joined
from omni_core.config import CausalCodecConfig
from omni_core.errors import AudioError

ENCODER_HOP = 512
ENCODER_WINDOW = 1024
STRIDES = (4, 2, 1)  #: of the three levels, in encoder hops
KERNEL = 3
LOG_FLOOR = 1e-4  #: of the encoder's mel magnitudes: fixed, so that a clip's level never depends on its future


def mel_filters(bands: int, fft: int, sample_rate: int = SAMPLE_RATE, low: float = 0.0, high: float | None = None) -> torch.Tensor:
    """Triangular mel filters (HTK scale, peak 1 or narrower, from `low` to `high` Hz, default Nyquist) [fft/2+1, bands] float32."""
    def to_hz(mel: torch.Tensor) -> torch.Tensor:
        return 700 * (10 ** (mel / 2595) - 1)

    bottom, top = (2595 * math.log10(1 + hertz / 700) for hertz in (low, sample_rate / 2 if high is None else high))
    edges = to_hz(torch.linspace(bottom, top, bands + 2, dtype=torch.float64))
    bins = torch.linspace(0, sample_rate / 2, fft // 2 + 1, dtype=torch.float64)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rise, fall).clamp(min=0)
    return (filters / filters.sum(0).clamp(min=1.0)).float()


class ConvLayer(nn.Module):
    """Residual layer: normalise, causal convolution (kernel 3) as one wide matrix product, GELU, projection back."""

    def __init__(self, width: int, hidden: int, dilation: int, layout: StateLayout) -> None:
        super().__init__()
        self.dilation = dilation
        self.kept = layout.keep((KERNEL - 1) * dilation, width)
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(KERNEL * width, hidden)
        self.back = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """x [B, T, width] -> the same shape; `state` [B, layout's size] holds the layer's left context and is updated."""
        y, length = self.norm(x), x.shape[1]
        if state is None:
            y = F.pad(y, (0, 0, self.kept.shape[0], 0))
        else:
            past = self.kept.of(state)
            y = torch.cat((past, y), 1)
            past.copy_(y[:, length:])
        shifts = [y[:, k * self.dilation:k * self.dilation + length] for k in range(KERNEL)]
        return x + self.back(F.gelu(self.wide(torch.cat(shifts, -1)), approximate="tanh"))


class Quantizer(nn.Module):
    """One level: pools the residual by its stride, looks it up on the unit sphere, and gives it back at the hop rate."""

    mean: torch.Tensor
    scale: torch.Tensor
    codebook: torch.Tensor

    def __init__(self, width: int, codes: int, code_dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.inward = nn.Linear(width, code_dim)
        self.outward = nn.Linear(code_dim, width)
        self.register_buffer("mean", torch.zeros(code_dim))  # of what `inward` gives, followed in training: keeps the sphere in use
        self.register_buffer("scale", torch.ones(code_dim))
        self.register_buffer("codebook", F.normalize(torch.randn(codes, code_dim), dim=-1))

    def project(self, residual: torch.Tensor) -> torch.Tensor:
        """[B, T, width] -> [B, T/stride, code_dim], on the unit sphere."""
        return self.to_sphere(self.pool(residual))

    def pool(self, residual: torch.Tensor) -> torch.Tensor:
        """[B, T, width] -> [B, T/stride, code_dim]: the means over the stride, not yet centred."""
        return self.inward(residual.unflatten(1, (-1, self.stride)).mean(2)).float()

    def to_sphere(self, pooled: torch.Tensor) -> torch.Tensor:
        """Centre, scale and normalise [..., code_dim]."""
        return F.normalize((pooled - self.mean) / self.scale, dim=-1)

    def lookup(self, projected: torch.Tensor) -> torch.Tensor:
        """The nearest entry's index: [..., code_dim] -> [...] int64."""
        return (projected.float() @ self.codebook.t().float()).argmax(-1)

    def expand(self, vectors: torch.Tensor) -> torch.Tensor:
        """[B, T/stride, code_dim] -> [B, T, width]."""
        return self.outward(vectors).repeat_interleave(self.stride, 1)


class CausalEncoder(nn.Module):
    """Waveform frames to latents, one per 512 samples."""

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(self, config: CausalCodecConfig) -> None:
        super().__init__()
        width, layout = config.encoder_width, StateLayout()
        self.register_buffer("window", torch.hann_window(ENCODER_WINDOW), persistent=False)
        self.register_buffer("filters", mel_filters(config.mels, ENCODER_WINDOW), persistent=False)
        self.inward = nn.Linear(config.mels, width)
        self.layers = nn.ModuleList(ConvLayer(width, width * config.expansion, 1 + n % 2, layout) for n in range(config.encoder_layers))
        hops = STRIDES[0]
        self.outward = nn.Linear(width, config.latent)
        self.frame = nn.Linear(hops * config.latent, hops * config.latent)  # the hops of a frame see each other
        self.norm = nn.LayerNorm(config.latent)
        self.kept = layout.keep(ENCODER_WINDOW - ENCODER_HOP)  # samples
        self.state_size = layout.size  #: numbers that a stream keeps

    def log_mel(self, wave: torch.Tensor, state: torch.Tensor | None) -> torch.Tensor:
        """[B, N] (N a multiple of 512) -> [B, N/512, mels]; each window ends where its hop ends."""
        if state is None:
            wave = F.pad(wave, (self.kept.shape[0], 0))
        else:
            past, length = self.kept.of(state), wave.shape[1]
            wave = torch.cat((past, wave), 1)
            past.copy_(wave[:, length:])
        spectrum = torch.fft.rfft(wave.unfold(-1, ENCODER_WINDOW, ENCODER_HOP) * self.window)
        mel = spectrum.abs() @ self.filters
        return (torch.log(mel.clamp(min=LOG_FLOOR * ENCODER_WINDOW)) - math.log(LOG_FLOOR * ENCODER_WINDOW)) / 4 - 1

    def forward(self, wave: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """[B, F*2048] float32 -> latents [B, 4F, latent]; `state` [B, state_size] makes it one push of B streams, and is updated."""
        x = self.inward(self.log_mel(wave, state))
        for layer in self.layers:
            x = layer(x, state)
        x = self.outward(x)
        x = x + self.frame(x.reshape(x.shape[0], -1, STRIDES[0] * x.shape[-1])).view_as(x)
        return self.norm(x)


class CausalDecoder(nn.Module):
    """Quantised latents to waveform."""

    window: torch.Tensor

    def __init__(self, config: CausalCodecConfig) -> None:
        super().__init__()
        self.config = config
        inner, width, hops = config.latent, config.decoder_width, STRIDES[0]
        hidden, layout = width * config.expansion, StateLayout()
        self.ratio = ENCODER_HOP // config.hop
        self.frame = nn.Linear(hops * inner, hops * width)
        self.frame_layers = nn.ModuleList(ConvLayer(width, hidden, 1 + n % 2, layout) for n in range(config.frame_layers))
        self.upsample = nn.Linear(width, self.ratio * width)
        self.layers = nn.ModuleList(ConvLayer(width, hidden, (1, 2, 4)[n % 3], layout) for n in range(config.decoder_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.fft + 2)
        self.register_buffer("window", torch.hann_window(config.fft), persistent=False)
        self.tail = layout.keep(config.fft - config.hop)  # of the newest segments, to which the next ones add
        self.state_size = layout.size  #: numbers that a stream keeps
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def windows(self, latents: torch.Tensor, state: torch.Tensor | None) -> torch.Tensor:
        """[B, 4F, latent] -> windowed segments [B, 4F*512/hop, fft]."""
        batch, _, inner = latents.shape
        x = self.frame(latents.reshape(batch, -1, STRIDES[0] * inner)).view(batch, -1, self.config.decoder_width)
        for layer in self.frame_layers:
            x = layer(x, state)
        x = self.upsample(x).view(batch, -1, self.config.decoder_width)
        for layer in self.layers:
            x = layer(x, state)
        magnitude, phase = self.head(self.norm(x)).float().chunk(2, -1)
        size = torch.exp(magnitude.clamp(max=6.0))
        spectrum = torch.complex(size * phase.cos(), size * phase.sin())  # on a CPU half the time that torch.polar takes
        return torch.fft.irfft(spectrum, n=self.config.fft) * self.window

    def forward(self, latents: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """Latents [B, 4F, latent] -> samples [B, F*2048], `delay` samples behind; `state` [B, state_size] makes it one push of B streams."""
        segments = self.windows(latents, state)
        hop, overlap = self.config.hop, self.config.fft - self.config.hop
        samples = segments.shape[1] * hop
        total = F.fold(segments.transpose(1, 2), (1, samples + overlap), (1, self.config.fft), stride=(1, hop)).flatten(1)
        if state is not None:
            tail = self.tail.of(state)
            total[:, :overlap] += tail
            tail.copy_(total[:, samples:])
        return total[:, :samples] / self.overlap

    @property
    def overlap(self) -> float:
        """Sum of the squared windows over one sample: a constant for a Hann window of at least 3 hops."""
        return self.config.fft / self.config.hop * 3 / 8


class CausalCodec(nn.Module):
    """`codec.base.Codec`: 24 kHz mono, 2048 samples per frame, causal at the frame level.

    Decoded samples leave `config.delay` samples behind their frame: the first push gives 2048 - delay samples per stream, the flush gives the rest.
    """

    sample_rate = SAMPLE_RATE
    frame_samples = FRAME_SAMPLES
    first_audio_frames = 1

    def __init__(self, config: CausalCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.codes = config.codes
        self.encoder = CausalEncoder(config)
        self.quantizers = nn.ModuleList(Quantizer(config.latent, config.codes, config.code_dim, stride) for stride in STRIDES)
        self.decoder = CausalDecoder(config)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.levels[0].codebook.device

    @property
    def levels(self) -> list[Quantizer]:
        """The three levels, coarse to fine."""
        return cast("list[Quantizer]", list(self.quantizers))

    @torch.no_grad()
    def code_vectors(self) -> tuple[torch.Tensor, ...]:
        """What each code of the three levels adds to the latents: [codes, latent] each."""
        return tuple(quantizer.outward(quantizer.codebook) for quantizer in self.levels)

    # Batched parts, shared by training, encoding and streaming.

    def quantize(self, latents: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Latents [B, 4F, latent] -> (their quantised sum [B, 4F, latent], the levels' indices [B, F], [B, 2F], [B, 4F])."""
        total, levels = torch.zeros_like(latents), []
        for quantizer in self.levels:
            index = quantizer.lookup(quantizer.project(latents - total))
            total = total + quantizer.expand(quantizer.codebook[index])
            levels.append(index)
        return total, tuple(levels)

    def dequantize(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames [B, F, 7] int64 -> latents [B, 4F, latent]."""
        one, two, three = (quantizer.expand(quantizer.codebook[index]) for quantizer, index in zip(self.levels, unpack_frames(frames), strict=True))
        return one + two + three

    @torch.inference_mode()
    def encode_batch(self, wave: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """[B, F*2048] float32 -> frames [B, F, 7] int64; with a `state` [B, encoder.state_size] the next call goes on where this one ended."""
        return pack_frames(*self.quantize(self.encoder(wave, state))[1])

    # The Codec protocol.

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """[N] float32 -> frames [ceil(N / 2048), 7] int64. AudioError when the wave isn't one-dimensional or not finite."""
        if wave.ndim != 1:
            raise AudioError(f"the codec takes one channel of samples [N], got shape {tuple(wave.shape)}")
        if not torch.isfinite(wave).all():
            raise AudioError("the audio holds NaN or infinite samples")
        if not len(wave):
            return torch.zeros(0, 7, dtype=torch.int64, device=wave.device)
        return self.encode_batch(F.pad(wave.float(), (0, -len(wave) % FRAME_SAMPLES))[None])[0]

    def decode(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames [F, 7] int64, every id a code -> [F * 2048] float32."""
        stream = self.stream()
        return torch.cat((stream.push(frames), stream.flush()))

    def stream(self) -> CausalStream:
        """A decoder for one stream of frames."""
        return CausalStream(self)

    def stream_encoder(self) -> CausalStreamEncoder:
        """An encoder for one stream of samples; gives the codes that `encode` gives."""
        return CausalStreamEncoder(self)


class CausalStream:
    """`codec.base.StreamDecoder` of a `CausalCodec`."""

    def __init__(self, codec: CausalCodec) -> None:
        self._codec = codec
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next push starts a new stream."""
        self._state: torch.Tensor | None = None  # from the first frame on
        self._skip = self._codec.config.delay  # samples before time 0, still to be dropped

    def push(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames [k, 7] int64 -> the samples [n] float32 that are final now."""
        return self.push_all([self], frames[None])[0]

    @staticmethod
    @torch.inference_mode()
    def push_all(streams: Sequence[CausalStream], frames: torch.Tensor) -> list[torch.Tensor]:
        """Push frames [B, k, 7] to B streams of one codec in one pass; gives what each one's `push` would give."""
        codec = streams[0]._codec
        frames = frames.to(codec.device)
        if not frames.shape[1]:
            return [torch.zeros(0, device=frames.device) for _ in streams]
        for stream in streams:
            if stream._state is None:
                stream._state = torch.zeros(codec.decoder.state_size, device=frames.device)
        with joined([stream._state for stream in streams if stream._state is not None]) as state:
            samples = codec.decoder(codec.dequantize(frames), state)
        pushed = [row[stream._skip :] for stream, row in zip(streams, samples, strict=True)]
        for stream in streams:
            stream._skip = 0
        return pushed

    @torch.inference_mode()
    def flush(self) -> torch.Tensor:
        """The `config.delay` samples that are still owed, once."""
        if self._state is None:
            return torch.zeros(0)
        decoder, state = self._codec.decoder, self._state
        self._state = None
        return decoder.tail.of(state[None])[0, : self._codec.config.delay] / decoder.overlap


class CausalStreamEncoder(FrameEncoder):
    """`codec.base.StreamEncoder` of a `CausalCodec`; gives what `encode` gives."""

    def __init__(self, codec: CausalCodec) -> None:
        self._codec = codec
        super().__init__(codec.device)

    def _restart(self) -> None:
        self._state = torch.zeros(self._codec.encoder.state_size, device=self._device)

    @classmethod
    def _encode(cls, streams: Sequence[CausalStreamEncoder], wave: torch.Tensor) -> torch.Tensor:
        with joined([stream._state for stream in streams]) as state:
            return streams[0]._codec.encode_batch(wave, state)

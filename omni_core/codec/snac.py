"""SNAC at 24 kHz, the codec of released weights: its own network for encoding, its decoder run as a stream.

The decoder is not causal: an output sample depends on about 2.3 frames on either side. A stream therefore trails its input and speaks
first after `first_audio_frames` frames; the end is flushed. One-shot decoding is a stream with one push, so the two can't differ.

Its decoder adds noise, shaped by the signal, as it was trained to. Here the noise is drawn from a seed in order of sample position:
two decodings of the same codes are equal, however they were cut. `noise=False` leaves it out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from snac import SNAC
from snac.layers import DecoderBlock, NoiseBlock, ResidualUnit, Snake1d
from torch import Tensor, nn
from torch.nn.utils import parametrize

from omni_core.codec.base import FRAME_CODES, FRAME_SAMPLES, SAMPLE_RATE
from omni_core.codec.frames import pack_frames, unpack_frames
from omni_core.codec.streaming import Chain, Convolution, Noise, Pointwise, Residual, StreamLayer, Upsampling
from omni_core.errors import CheckpointError, ConfigError

_STRIDES = [4, 2, 1]  # codes of the three levels per frame: 1, 2, 4
_LATENTS = 4  # decoder inputs per frame
_WINDOW = 4  # frames that a microphone's newest one is encoded with, itself included: the encoder sees about 2.3 to its left
_AT_ONCE = 32  # windows in one pass


class SnacCodec:
    """`codec.base.Codec` around the `snac` package's network."""

    sample_rate = SAMPLE_RATE
    frame_samples = FRAME_SAMPLES

    def __init__(self, network: SNAC, *, noise: bool = True, seed: int = 0) -> None:
        """Take over `network`: its weight norms are folded.

        Raises ConfigError unless it is a SNAC of 24 kHz, hop 512 and strides 4/2/1, without attention.
        """
        found = (network.sampling_rate, int(network.hop_length), list(network.vq_strides), network.attn_window_size)
        if found != (SAMPLE_RATE, FRAME_SAMPLES // _LATENTS, _STRIDES, None):
            raise ConfigError(f"SNAC: expected 24000 Hz, hop 512, strides [4, 2, 1] and attn_window_size null, got {found}")
        for module in network.modules():
            if parametrize.is_parametrized(module):
                parametrize.remove_parametrizations(module, "weight")
        self._network = network.eval().requires_grad_(False)
        self._noise, self._seed = noise, seed
        self.codes: int = network.codebook_size
        decoder = self._decoder()
        self.first_audio_frames = next(n for n in range(1, 64) if decoder.ready(n * _LATENTS) > 0)

    @classmethod
    def load(cls, directory: str | Path, device: str | torch.device = "cpu", *, noise: bool = True) -> SnacCodec:
        """Read a directory that holds `config.json` and `pytorch_model.bin`, as `hubertsiuzdak/snac_24khz` does.

        Raises CheckpointError when a file is missing or unreadable or its tensors do not fit, ConfigError for an unusable configuration.
        """
        folder = Path(directory)
        try:
            config: dict[str, Any] = json.loads((folder / "config.json").read_text())
            weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise CheckpointError(f"SNAC: {error.filename} is missing") from None
        except Exception as error:
            raise CheckpointError(f"SNAC: {folder} is unreadable ({error})") from error
        try:
            network = SNAC(**{**config, "attn_window_size": None})
        except TypeError as error:
            raise ConfigError(f"{folder / 'config.json'}: {error}") from None
        try:
            network.load_state_dict(weights)
        except (RuntimeError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{folder / 'pytorch_model.bin'}: {error}") from None
        return cls(network.to(device), noise=noise)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self._network.parameters()).device

    @torch.inference_mode()
    def encode(self, wave: Tensor) -> Tensor:
        """[N] float32 at 24 kHz -> frames [F, 7] int64; the tail is zero-padded to a whole frame."""
        samples = torch.as_tensor(wave, dtype=torch.float32, device=self.device)
        if not len(samples):
            return torch.zeros(0, FRAME_CODES, dtype=torch.int64, device=self.device)
        c1, c2, c3 = (level[0] for level in self._network.encode(samples[None, None]))
        return pack_frames(c1, c2, c3)

    @torch.no_grad()
    def code_vectors(self) -> tuple[Tensor, ...]:
        """What each code of the three levels adds to the latents: [codes, latent] each."""
        levels: Any = self._network.quantizer.quantizers
        return tuple(level.out_proj(level.codebook.weight.t()[None])[0].t() for level in levels)

    def decode(self, frames: Tensor) -> Tensor:
        """Frames [F, 7] int64 -> [F * 2048] float32."""
        stream = self.stream()
        return torch.cat([stream.push(frames), stream.flush()])

    def stream(self) -> SnacStream:
        """A decoder for one answer."""
        return SnacStream(self._network, self._decoder, self.device)

    def stream_encoder(self) -> SnacStreamEncoder:
        """An encoder for one microphone."""
        return SnacStreamEncoder(self._network, self.device)

    def _decoder(self) -> Chain:
        """The decoder network as a chain of streaming layers with fresh state."""
        seeds = (self._seed, 0)

        def layers(modules: Iterator[nn.Module]) -> Iterator[StreamLayer]:
            nonlocal seeds
            for module in modules:
                match module:
                    case nn.Conv1d(kernel_size=(1,)) | nn.Tanh():
                        yield Pointwise(module)
                    case nn.Conv1d():
                        yield Convolution(module)
                    case nn.ConvTranspose1d():
                        yield Upsampling(module)
                    case Snake1d():
                        yield Pointwise(_snake(module))
                    case ResidualUnit():
                        yield Residual(layers(module.block.children()))
                    case DecoderBlock():
                        yield from layers(module.block.children())
                    case NoiseBlock():
                        seeds = (self._seed, seeds[1] + 1)
                        if self._noise:
                            yield Noise(Pointwise(module.linear), seeds)
                    case _:
                        raise ConfigError(f"SNAC: a decoder layer {type(module).__name__} can't be streamed")

        return Chain(layers(self._network.decoder.model.children()))


class SnacStream:
    """`codec.base.StreamDecoder`: frames in, the samples that no later frame can change out."""

    def __init__(self, network: SNAC, new_decoder: Callable[[], Chain], device: torch.device) -> None:
        self._network, self._new_decoder, self._device = network, new_decoder, device
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next push starts a new stream."""
        self._decoder = self._new_decoder()
        self._frames = 0

    def push(self, frames: Tensor) -> Tensor:
        """Frames [k, 7] int64 -> the samples [n] float32 that are final now: none, or not even a multiple of a frame."""
        if not len(frames):
            return torch.zeros(0, device=self._device)
        self._frames += len(frames)
        return self._run(torch.as_tensor(frames, dtype=torch.int64, device=self._device), last=False)

    def flush(self) -> Tensor:
        """The rest [n] float32: now 2048 samples were given for each frame pushed. Afterwards only `reset` may follow."""
        if not self._frames:
            return torch.zeros(0, device=self._device)
        return self._run(torch.zeros(0, FRAME_CODES, dtype=torch.int64, device=self._device), last=True)

    @torch.inference_mode()
    def _run(self, frames: Tensor, last: bool) -> Tensor:
        if len(frames):
            latents = self._network.quantizer.from_codes([level[None] for level in unpack_frames(frames)])  # [1, latent_dim, 4k]
        else:
            latents = torch.zeros(1, self._network.latent_dim, 0, device=self._device)
        return self._decoder.push(latents, last)[0, 0]


class SnacStreamEncoder:
    """`codec.base.StreamEncoder`: each newest frame is encoded at once, in a fixed window that ends with it.

    The network would look 190 ms ahead; waiting for that costs more than the codes' accuracy is worth to a listener (model-facts section 5).
    """

    def __init__(self, network: SNAC, device: torch.device) -> None:
        self._network, self._device = network, device
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next push starts a new stream."""
        self._samples = torch.zeros((_WINDOW - 1) * FRAME_SAMPLES, device=self._device)  # left context, then what is no whole frame yet

    @torch.inference_mode()
    def push(self, wave: Tensor) -> Tensor:
        """Samples [N] float32 at 24 kHz, any N -> frames [k, 7] int64."""
        samples = torch.cat([self._samples, torch.as_tensor(wave, dtype=torch.float32, device=self._device)])
        count = len(samples) // FRAME_SAMPLES - (_WINDOW - 1)
        self._samples = samples[count * FRAME_SAMPLES :]
        frames = [torch.zeros(0, FRAME_CODES, dtype=torch.int64, device=self._device)]
        if count:
            windows = samples.unfold(0, _WINDOW * FRAME_SAMPLES, FRAME_SAMPLES)  # [count, window]
            frames += [pack_frames(*self._network.encode(part[:, None]))[:, -1] for part in windows.split(_AT_ONCE)]
        return torch.cat(frames)

    def flush(self) -> Tensor:
        """The last frame [0 or 1, 7], zero-padded, and a fresh start."""
        frames = self.push(torch.zeros(-len(self._samples) % FRAME_SAMPLES))
        self.reset()
        return frames


def _snake(module: Snake1d) -> nn.Module:
    """Snake1d without the package's TorchScript function, which recompiles for new lengths."""
    return _Snake(module.alpha)


class _Snake(nn.Module):
    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.alpha = alpha
        self.scale = (alpha + 1e-9).reciprocal()

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(x, self.scale, torch.sin(self.alpha * x).square())

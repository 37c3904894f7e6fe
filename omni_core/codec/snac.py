"""SNAC at 24 kHz, the codec of released weights: its own network for encoding, its decoder run as a stream.

The decoder is not causal: an output sample depends on about 2.3 frames on either side. A stream therefore trails its input and speaks
first after `first_audio_frames` frames; the end is flushed. One-shot decoding is a stream with one push, so the two can't differ.

Its decoder adds noise, shaped by the signal, as it was trained to. Here the noise follows from a seed and the position in the stream: two
decodings of the same codes are equal, however they were cut and whoever was decoded with them. `noise=False` leaves it out.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from snac import SNAC
from snac.layers import DecoderBlock, NoiseBlock, ResidualUnit, Snake1d
from torch import Tensor, nn
from torch.nn.utils import parametrize

from omni_core.codec.base import FRAME_CODES, FRAME_SAMPLES, SAMPLE_RATE
from omni_core.codec.frames import pack_frames
from omni_core.codec.snac_streams import SnacStream, SnacStreamEncoder
from omni_core.codec.streaming import Convolution, Mix, Network, Noise, Pointwise, Residual, StreamLayer, Timeline, Upsampling
from omni_core.errors import CheckpointError, ConfigError

_STRIDES = [4, 2, 1]  # codes of the three levels per frame: 1, 2, 4
_LATENTS = 4  # decoder inputs per frame


class SnacCodec:
    """`codec.base.Codec` around the `snac` package's network."""

    sample_rate = SAMPLE_RATE
    frame_samples = FRAME_SAMPLES

    def __init__(self, network: SNAC, *, noise: bool = True, seed: int = 0) -> None:
        """Take over `network`: its weight norms are folded, and its decoder is put together anew.

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
        self._decoder = self._put_together(network.decoder)
        del network.decoder  # what its layers still need, those of the stream hold
        self.first_audio_frames = self._decoder.delay // FRAME_SAMPLES + 1

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
        return SnacStream(self._network.quantizer, self._decoder, self.device)

    def stream_encoder(self) -> SnacStreamEncoder:
        """An encoder for one microphone."""
        return SnacStreamEncoder(self._network, self.device)

    def _put_together(self, decoder: Any) -> Network:
        """The decoder as layers that any streams share."""
        timeline, seeds = Timeline(_LATENTS), itertools.count(self._seed)

        def layers(modules: Iterable[Any]) -> Iterator[StreamLayer]:
            for module in modules:
                match module:
                    case nn.Conv1d(kernel_size=(1,)):
                        yield Mix(module)
                    case nn.Conv1d():
                        yield Convolution(module, timeline)
                    case nn.ConvTranspose1d():
                        yield Upsampling(module, timeline)
                    case Snake1d():
                        yield Pointwise(Snake(module.alpha.view(-1, 1, 1)))
                    case nn.Tanh():
                        yield Pointwise(module)
                    case ResidualUnit():
                        inner: Any = module.block
                        yield Residual(partial(layers, inner.children()), inner[0].alpha.shape[1], timeline)
                    case DecoderBlock():
                        block: Any = module.block
                        yield from layers(block.children())
                    case NoiseBlock():
                        seed = next(seeds)
                        linear: Any = module.linear
                        if self._noise:
                            yield Noise(linear, seed, timeline)
                    case _:
                        raise ConfigError(f"SNAC: a decoder layer {type(module).__name__} can't be streamed")

        return Network(layers(decoder.model.children()), timeline, self.device)


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, without the package's TorchScript function, which recompiles for new lengths."""

    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.alpha, self.scale = alpha, (alpha + 1e-9).reciprocal()

    def forward(self, x: Tensor) -> Tensor:
        wave = (self.alpha * x).sin_()
        return torch.addcmul(x, self.scale, wave.mul_(wave))

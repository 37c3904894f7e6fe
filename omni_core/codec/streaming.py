"""Convolution frame by frame, for many streams in one pass: chunks joined equal the whole at once, and shapes never depend on a stream's age.

A symmetric convolution can't finish its newest outputs before it has seen what lies right of them. Each layer here therefore trails its input
by a fixed delay: a chunk of k frames is always k * rate positions, the first of them `delay` before the chunk's own. Positions before a stream's
begin and after its end are computed like all others and set to zero where a layer looks beside a position, which is what the ordinary layer's
padding means. What a layer needs of the past lies in its stream's state. Tensors are [channels, B, positions], so that a matrix product takes
all streams at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni_core.codec.state import Place, StateLayout
from omni_core.errors import ConfigError

NOISE_FRAMES = 128  #: after which noise repeats: 11 s


class Timeline:
    """Where the outputs of the layers so far lie, and what they keep: each layer moves it on while a network is put together."""

    def __init__(self, rate: int) -> None:
        self.rate = rate  #: positions per frame
        self.delay = 0  #: positions that a chunk lies behind the frames it came with
        self.state = StateLayout()
        self.edges: list[Tensor] = []  #: [rate] each: for every position of a frame's chunk the first frame for which it isn't before the begin

    def edge(self) -> int:
        """Ask for the mask of what lies inside the streams here; its number in `Chunk.inside`."""
        self.edges.append(-((torch.arange(self.rate) - self.delay) // self.rate))
        return len(self.edges) - 1


class Chunk:
    """What one pass is about: the next k frames of each of B streams."""

    def __init__(self, state: Tensor, frames: Tensor, inside: Iterable[Tensor]) -> None:
        self.state = state  #: [B, size], read and written
        self.frames = frames  #: [B, k] int64, their numbers
        self.inside = [mask.flatten(1) for mask in inside]  #: [B, k * rate] float32 each: 1 inside the stream, 0 before its begin and after its end

    def extended(self, x: Tensor, place: Place, mask: Tensor | None = None) -> Tensor:
        """Inputs [C, B, T] after those that the layer kept, [C, B, kept + T]; it keeps the newest of them."""
        kept = place.of(self.state).transpose(0, 1)
        width = kept.shape[-1]
        whole = x.new_empty(*x.shape[:-1], width + x.shape[-1])
        whole[..., :width] = kept
        if mask is None:
            whole[..., width:] = x
        else:
            torch.mul(x, mask, out=whole[..., width:])
        kept.copy_(whole[..., x.shape[-1] :])
        return whole


class StreamLayer(Protocol):
    """One layer, for any streams: what it knows of them comes with each call."""

    def __call__(self, x: Tensor, chunk: Chunk) -> Tensor:
        """Inputs [C, B, T] -> outputs [C', B, T'], as many per frame whatever the streams' ages."""
        ...


class Pointwise:
    """A layer without memory: each output depends on its own input alone."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def __call__(self, x: Tensor, chunk: Chunk) -> Tensor:
        return self._function(x)


class Mix:
    """A Conv1d of kernel 1: one matrix product for all positions of all streams."""

    def __init__(self, layer: nn.Conv1d) -> None:
        self._weight = layer.weight[..., 0]  # [out, in]
        self._bias = self._weight.new_zeros(len(self._weight), 1) if layer.bias is None else layer.bias[:, None]
        if layer.groups != 1 or layer.stride[0] != 1 or layer.padding != (0,):
            raise ConfigError(f"{layer}: only plain convolutions of kernel 1 can be streamed")

    def __call__(self, x: Tensor, chunk: Chunk) -> Tensor:
        return torch.addmm(self._bias, self._weight, x.flatten(1)).unflatten(1, x.shape[1:])


class Convolution:
    """A Conv1d of stride 1 with `dilation * (kernel - 1) / 2` zeros on either side."""

    def __init__(self, layer: nn.Conv1d, timeline: Timeline) -> None:
        reach = layer.dilation[0] * (layer.kernel_size[0] - 1)
        if layer.stride[0] != 1 or layer.padding != (reach // 2,):
            raise ConfigError(f"{layer}: only convolutions of stride 1 that keep the length can be streamed")
        self._layer = layer
        self._kept, self._edge = timeline.state.keep(layer.in_channels, reach), timeline.edge()
        timeline.delay += reach // 2

    def __call__(self, x: Tensor, chunk: Chunk) -> Tensor:
        x = chunk.extended(x, self._kept, chunk.inside[self._edge])
        layer = self._layer  # streams are rows of one picture
        return F.conv2d(x[None], layer.weight[:, :, None], layer.bias, dilation=(1, layer.dilation[0]), groups=layer.groups)[0]


class Upsampling:
    """A ConvTranspose1d of stride s and kernel 2s that gives s outputs per input: block j comes from inputs j and j - 1, by one matrix product."""

    def __init__(self, layer: nn.ConvTranspose1d, timeline: Timeline) -> None:
        stride, crop = layer.stride[0], layer.padding[0]
        assert isinstance(crop, int)
        plain = layer.kernel_size[0] == 2 * stride and layer.dilation[0] == layer.groups == 1
        if not plain or layer.output_padding[0] != 2 * crop - stride:
            raise ConfigError(f"{layer}: only transposed convolutions with kernel = 2 x stride that give stride outputs per input can be streamed")
        newer, older = layer.weight.permute(1, 2, 0).split(stride, 1)  # [out, stride, in] each
        self._weight = torch.cat([newer, older], -1).flatten(0, 1)  # [out * stride, 2 in]
        self._bias = None if layer.bias is None else layer.bias.repeat_interleave(stride)
        self._stride = stride
        self._kept, self._edge = timeline.state.keep(layer.in_channels, 1), timeline.edge()
        timeline.rate, timeline.delay = timeline.rate * stride, timeline.delay * stride + crop

    def __call__(self, x: Tensor, chunk: Chunk) -> Tensor:
        x = chunk.extended(x, self._kept, chunk.inside[self._edge]).permute(1, 2, 0)  # [B, 1 + T, in]
        blocks = F.linear(torch.cat([x[:, 1:], x[:, :-1]], -1), self._weight, self._bias)  # [B, T, out * stride]
        return blocks.unflatten(-1, (-1, self._stride)).permute(2, 0, 1, 3).flatten(2)


class Residual:
    """x + inner(x) where `inner` keeps the length: x waits until its inner output is there."""

    def __init__(self, inner: Callable[[], Iterable[StreamLayer]], channels: int, timeline: Timeline) -> None:
        before = timeline.delay
        self._inner = list(inner())
        self._kept = timeline.state.keep(channels, timeline.delay - before)

    def __call__(self, x: Tensor, chunk: Chunk) -> Tensor:
        y = run(self._inner, x, chunk)
        return y.add_(chunk.extended(x, self._kept)[..., : x.shape[-1]])


class Noise:
    """x + noise * inner(x), one normal number per position, always the same: chunks, companions and devices can't change it."""

    def __init__(self, inner: nn.Conv1d, seed: int, timeline: Timeline) -> None:
        self._inner = Mix(inner)
        count = NOISE_FRAMES * timeline.rate
        numbers = torch.randn(count, generator=torch.Generator("cpu").manual_seed(seed), device="cpu").roll(timeline.delay)
        self._numbers = numbers.view(NOISE_FRAMES, timeline.rate).to(inner.weight)  # those of a chunk of one frame, by its number

    def __call__(self, x: Tensor, chunk: Chunk) -> Tensor:
        return torch.addcmul(x, self._numbers[chunk.frames % NOISE_FRAMES].flatten(1), self._inner(x, chunk))


class Network:
    """Layers one after the other, put together along one timeline."""

    def __init__(self, layers: Iterable[StreamLayer], timeline: Timeline, device: torch.device) -> None:
        """`layers` may be made while it is read; `timeline` then is where the outputs lie."""
        self._inputs = timeline.rate  # per frame
        self._layers = list(layers)
        self.rate, self.delay, self.state_size = timeline.rate, timeline.delay, timeline.state.size
        self._edges, self._rates = torch.cat(timeline.edges).to(device), [len(edge) for edge in timeline.edges]

    def __call__(self, x: Tensor, state: Tensor, first: Tensor, end: Tensor) -> Tensor:
        """The next k frames of B streams: x [C, B, k * inputs per frame] -> [C', B, k * rate], `delay` positions late.

        state [B, state_size] is read and written, zero for a new stream; first [B] int64 is the number of each stream's first frame here; end [B]
        int64 is how many frames it has in all, for one that goes on any number beyond these. No shape and no kernel depends on their values.
        """
        frames = first[:, None] + torch.arange(x.shape[-1] // self._inputs, device=x.device)
        number = frames[..., None]
        inside = (number >= self._edges) & (number - end[:, None, None] < self._edges)  # [B, k, all rates]
        return run(self._layers, x, Chunk(state, frames, inside.to(x.dtype).split(self._rates, -1)))


def run(layers: Iterable[StreamLayer], x: Tensor, chunk: Chunk) -> Tensor:
    """The layers one after the other."""
    for layer in layers:
        x = layer(x, chunk)
    return x

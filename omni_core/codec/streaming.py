"""Convolution chunk by chunk: layers that keep what the next chunk still needs, so that chunks joined equal the whole at once.

A symmetric convolution can't finish its newest outputs before it has seen what lies right of them. Each layer here therefore
trails its input: `push` gives the outputs that are final, `last=True` pads the end with zeros as the ordinary layer does and gives
the rest. State is the layer's own left context, never a decoded window, so every frame is computed once. All tensors are
[1, channels, time], and a chunk may have any length, 0 included. One object serves one stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni_core.errors import ConfigError


class StreamLayer(Protocol):
    """One layer of one stream."""

    def push(self, x: Tensor, last: bool) -> Tensor:
        """Take the next inputs; give the outputs that are final now. After `last` the layer is spent."""
        ...

    def ready(self, count: int) -> int:
        """Outputs that are final once `count` inputs were pushed and none was the last (0 or less: none)."""
        ...


class Pointwise:
    """A layer without memory: each output depends on its own input alone."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def push(self, x: Tensor, last: bool) -> Tensor:
        return self._function(x) if x.shape[-1] else x

    def ready(self, count: int) -> int:
        return count


class Convolution:
    """A Conv1d of stride 1 with `dilation * (kernel - 1) / 2` zeros on either side."""

    def __init__(self, layer: nn.Conv1d) -> None:
        reach = layer.dilation[0] * (layer.kernel_size[0] - 1)
        if layer.stride[0] != 1 or layer.padding != (reach // 2,):
            raise ConfigError(f"{layer}: only convolutions of stride 1 that keep the length can be streamed")
        self._layer, self._reach = layer, reach
        self._kept = layer.weight.new_zeros(1, layer.in_channels, reach // 2)

    def push(self, x: Tensor, last: bool) -> Tensor:
        x = torch.cat([self._kept, x], -1)
        if last:
            x = F.pad(x, (0, self._reach // 2))
        count = max(0, x.shape[-1] - self._reach)
        self._kept = x[..., count:]
        if not count:
            return x.new_zeros(1, self._layer.out_channels, 0)
        return F.conv1d(x, self._layer.weight, self._layer.bias, dilation=self._layer.dilation, groups=self._layer.groups)

    def ready(self, count: int) -> int:
        return count - self._reach // 2


class Upsampling:
    """A ConvTranspose1d of stride s and kernel 2s that gives s outputs per input: block j comes from inputs j and j - 1."""

    def __init__(self, layer: nn.ConvTranspose1d) -> None:
        stride, crop = layer.stride[0], layer.padding[0]
        assert isinstance(crop, int)
        if layer.kernel_size[0] != 2 * stride or layer.output_padding[0] != 2 * crop - stride or layer.dilation[0] != 1:
            raise ConfigError(f"{layer}: only transposed convolutions with kernel = 2 x stride that give stride outputs per input can be streamed")
        self._layer, self._stride, self._crop = layer, stride, crop
        self._previous = layer.weight.new_zeros(1, layer.in_channels, 1)  # before the first input lies nothing
        self._skip = crop  # the whole layer drops that many outputs at its start

    def push(self, x: Tensor, last: bool) -> Tensor:
        x = torch.cat([self._previous, x], -1)
        self._previous = x[..., -1:]
        start, stop = self._stride, self._stride * x.shape[-1]  # block 0 went out with the chunk before
        if last:
            stop += self._crop
        if stop == start:
            return x.new_zeros(1, self._layer.out_channels, 0)
        full = F.conv_transpose1d(x, self._layer.weight, self._layer.bias, stride=self._layer.stride, groups=self._layer.groups)
        skipped, self._skip = self._skip, 0
        return full[..., start + skipped : stop]

    def ready(self, count: int) -> int:
        return count * self._stride - self._crop


class Residual:
    """x + inner(x) where `inner` keeps the length: x waits until its inner output is final."""

    def __init__(self, inner: Iterable[StreamLayer]) -> None:
        self._inner = Chain(inner)
        self._waiting: Tensor | None = None

    def push(self, x: Tensor, last: bool) -> Tensor:
        y = self._inner.push(x, last)
        if self._waiting is not None:
            x = torch.cat([self._waiting, x], -1)
        count = y.shape[-1]
        self._waiting = x[..., count:]
        return x[..., :count] + y

    def ready(self, count: int) -> int:
        return self._inner.ready(count)


class Noise:
    """x + noise * inner(x), one normal number per position drawn in order from a seed, so that chunking can't change it."""

    def __init__(self, inner: StreamLayer, seed: Iterable[int]) -> None:
        self._inner = inner
        self._random = np.random.default_rng(list(seed))

    def push(self, x: Tensor, last: bool) -> Tensor:
        noise = torch.from_numpy(self._random.standard_normal(x.shape[-1], np.float32)).to(x.device)
        return x + noise * self._inner.push(x, last)

    def ready(self, count: int) -> int:
        return count


class Chain:
    """Layers one after the other."""

    def __init__(self, layers: Iterable[StreamLayer]) -> None:
        self._layers = list(layers)

    def push(self, x: Tensor, last: bool) -> Tensor:
        for layer in self._layers:
            x = layer.push(x, last)
        return x

    def ready(self, count: int) -> int:
        for layer in self._layers:
            count = layer.ready(max(0, count))
        return max(0, count)

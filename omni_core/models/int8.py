"""Linear layers with weights of 8 bits, for CPUs: a decode step reads every weight once, so it takes as long as its bytes.

Weights have a scale per output. Activations have one per row, so that what a row gives never depends on its neighbours: a row is divided by its
largest magnitude, and what is left of it, in [-1, 1], is rounded on one fixed grid. Sums are exact integers. Two of torch's kernels, for they
differ by a third: FBGEMM's is the faster one for a step's few rows, oneDNN's for hundreds of positions at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from omni_core.models.layers import TiedHead

_ENGINE = "fbgemm"
_SMALLEST = 1e-8  # a row of zeros stays one
_LONG = 32  # positions of a sequence from which oneDNN's kernel is the faster one


class Int8Linear(nn.Module):
    """x W^T + b, in place of an `nn.Linear`; takes and gives any float type, adds up in float32. Can't be trained, saved or copied."""

    def __init__(self, weight: Tensor, bias: Tensor | None, *, steps: bool = True, sequences: bool = True) -> None:
        """weight: [out, in]. bias: [out]. steps, sequences: what it is for; each has a copy of the weights, laid out for its kernel."""
        super().__init__()
        weight = weight.detach().float()
        scale = (weight.abs().amax(1) / 127).clamp_min(_SMALLEST)
        # Older processors add pairs of products in 16 bits, which 8-bit activations would overflow.
        largest = 127 if torch.cpu._is_vnni_supported() else 63
        self._step = _fbgemm(weight, scale, largest) if steps else None
        self._sequence = _onednn(weight, scale, largest) if sequences else None
        self._bias = None if bias is None else bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]. Second to last are positions of a sequence, if there are several."""
        flat = x.float()
        if x.ndim > 2 and x.shape[-2] >= _LONG:
            size, product = torch.maximum(flat.amax(-1, keepdim=True), -flat.amin(-1, keepdim=True)), self._sequence or self._step
        else:
            size, product = flat.abs().amax(-1, keepdim=True), self._step or self._sequence
        assert product is not None
        y = product(flat, size.clamp_min_(_SMALLEST))
        return (y.mul_(size) if self._bias is None else torch.addcmul(self._bias, y, size, out=y)).to(x.dtype)


def _fbgemm(weight: Tensor, scale: Tensor, largest: int) -> Callable[[Tensor, Tensor], Tensor]:
    """x [..., in], size [..., 1] -> (x / size) W^T, float32."""
    torch.backends.quantized.engine = _ENGINE
    with warnings.catch_warnings():  # torch 2.13 means to drop tensors of 8 bits with a scale; `supported` will say so
        warnings.simplefilter("ignore", UserWarning)
        rounded = torch.quantize_per_channel(weight, scale.double(), torch.zeros(len(weight), dtype=torch.int64), 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(rounded, None)
    multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    return lambda x, size: multiply(x / size, 1 / largest, largest + 1, packed)


def _onednn(weight: Tensor, scale: Tensor, largest: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The same by the other kernel, which is given integers."""
    packed = torch.ops.onednn.qlinear_prepack((weight / scale[:, None]).round_().to(torch.int8), None)
    zeros, middle = torch.zeros(len(weight), dtype=torch.int32), torch.tensor(largest + 1.5)  # half a step: conversion rounds down
    multiply = torch.ops.onednn.qlinear_pointwise

    def product(x: Tensor, size: Tensor) -> Tensor:
        rounded = torch.addcmul(middle, x.flatten(0, -2), (largest / size).flatten(0, -2)).to(torch.uint8)
        y = multiply(rounded, 1 / largest, largest + 1, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], "")
        return y.unflatten(0, x.shape[:-1])

    return product


def supported() -> bool:
    """This machine and this torch have the kernels: x86 with AVX2 at least."""
    return (
        _ENGINE in torch.backends.quantized.supported_engines
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch, "quantize_per_channel")
    )


def quantise(module: nn.Module, *, steps: bool = True) -> None:
    """Put an `Int8Linear` in the place of every linear layer inside `module`. steps: False for what only ever sees whole sequences."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear | TiedHead):
            setattr(module, name, Int8Linear(child.weight, child.bias, steps=steps, sequences=not isinstance(child, TiedHead)))
        else:
            quantise(child, steps=steps)

"""Linear layers with weights of 8 bits, for CPUs: a decode step reads every weight once, so it takes as long as its bytes.

Weights have a scale per output. Activations have one per row, so that what a row gives never depends on its neighbours: a row is divided by its
largest magnitude, and what is left of it, in [-1, 1], is rounded on one fixed grid. Sums are exact integers. Kernels: FBGEMM's, in torch, which
with few rows are a third faster than oneDNN's (`qlinear_pointwise`; with hundreds it is the other way round).
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from omni_core.models.layers import TiedHead

_ENGINE = "fbgemm"
_SMALLEST = 1e-8  # a row of zeros stays one


class Int8Linear(nn.Module):
    """x W^T + b, in place of an `nn.Linear`; takes and gives any float type, adds up in float32. Can't be trained, saved or copied."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """weight: [out, in]. bias: [out]."""
        super().__init__()
        weight = weight.detach().float()
        scale = (weight.abs().amax(1) / 127).clamp_min(_SMALLEST)
        torch.backends.quantized.engine = _ENGINE
        with warnings.catch_warnings():  # torch 2.13 means to drop tensors of 8 bits with a scale; `supported` will say so
            warnings.simplefilter("ignore", UserWarning)
            rounded = torch.quantize_per_channel(weight, scale.double(), torch.zeros(len(weight), dtype=torch.int64), 0, torch.qint8)
            self._packed = torch.ops.quantized.linear_prepack(rounded, None)
        self._bias = None if bias is None else bias.detach().float()
        # Older processors add pairs of products in 16 bits, which 8-bit activations would overflow.
        self._largest = 127 if torch.cpu._is_vnni_supported() else 63

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        flat = x.float()
        size = flat.abs().amax(-1, keepdim=True).clamp_min_(_SMALLEST)
        y = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(flat / size, 1 / self._largest, self._largest + 1, self._packed)
        return (y.mul_(size) if self._bias is None else torch.addcmul(self._bias, y, size)).to(x.dtype)


def supported() -> bool:
    """This machine and this torch have the kernels: x86 with AVX2 at least."""
    return (
        _ENGINE in torch.backends.quantized.supported_engines
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and hasattr(torch, "quantize_per_channel")
    )


def quantise(module: nn.Module) -> None:
    """Put an `Int8Linear` in the place of every linear layer inside `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear | TiedHead):
            setattr(module, name, Int8Linear(child.weight, child.bias))
        else:
            quantise(child)

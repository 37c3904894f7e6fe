"""What a loaded model calculates in: chosen, on a CPU by a measurement of a second at most, and applied."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import logging
import os
import time
from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from omni_core.checkpoint.bundle import Bundle
from omni_core.checkpoint.load import load_bundle, pick_device
from omni_core.config import Precision
from omni_core.encoders.whisper import WhisperEncoder
from omni_core.errors import ConfigError
from omni_core.models import OmniModel, int8
from omni_core.models.backbone import Block

log = logging.getLogger(__name__)

_CONVERT: dict[Precision, Callable[[nn.Module], object]] = {
    Precision.FLOAT32: lambda module: module.float(),
    Precision.BFLOAT16: lambda module: module.bfloat16(),
    Precision.INT8: int8.quantise,
}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MAPPED_FROM, _KEPT = 32 * 2**20, 512 * 2**20  # bytes; glibc takes no higher threshold than the first
_LARGE = 100_000_000  # parameters
_MEASURED_LAYERS = 8  # of the released size 100 MB in 8 bits, more than caches hold
_MEASURED_ROWS = 2  # of one user
_TRIES = 8
_WORTH_IT = 1.2  # times faster, or float32 stays


def load_to_serve(source: str | os.PathLike[str], device: str, precision: Precision, threads: int | None = None) -> tuple[Bundle, Precision]:
    """`load_bundle`, in this precision, and which that is; on a CPU this process's number of threads is set for it (None: `default_threads`).

    Raises what `load_bundle` and `serve_in` raise.
    """
    bundle = load_bundle(source, device, dtype_for(precision, pick_device(device)))
    if bundle.model.device.type == "cpu":
        torch.set_num_threads(threads or default_threads(bundle.model))
        _keep_memory()
    return bundle, serve_in(bundle, precision)


def _keep_memory() -> None:
    """Ask glibc to keep what is freed for what comes next. Otherwise each large intermediate result is new memory, zeroed page by page: a tenth of
    Whisper's time. Elsewhere nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)


def default_threads(model: OmniModel) -> int:
    """Threads of one operation: a small model's are too short to share, a large one's are bound by memory, which two cores reach."""
    return 1 if sum(p.numel() for p in model.parameters()) < _LARGE else 2


def dtype_for(precision: Precision, device: torch.device) -> torch.dtype:
    """What to load weights as."""
    exact = device.type == "cpu" if precision is Precision.AUTO else precision in (Precision.FLOAT32, Precision.INT8)
    return torch.float32 if exact else torch.bfloat16


def serve_in(bundle: Bundle, precision: Precision) -> Precision:
    """Convert the parts of `bundle`, loaded as `dtype_for` says, in place; gives what was chosen.

    Raises ConfigError where this machine can't: 8 bits are for x86 CPUs.
    """
    model = bundle.model
    on_cpu = model.device.type == "cpu"
    if precision is Precision.INT8 and not (on_cpu and int8.supported()):
        raise ConfigError("int8 is for CPUs, x86 with AVX2 at least: use --precision auto, bf16 or float32")
    if precision is Precision.AUTO:
        precision = fastest(model) if on_cpu else Precision.BFLOAT16
    _CONVERT[precision](model)
    if on_cpu and precision is not Precision.FLOAT32 and isinstance(bundle.audio_encoder, WhisperEncoder):
        _convert_whisper(bundle.audio_encoder, precision)
    return precision


def _convert_whisper(encoder: WhisperEncoder, precision: Precision) -> None:
    if precision is Precision.INT8:
        int8.quantise(encoder.tower, steps=False)
    else:
        encoder.tower.bfloat16()
    for layer in encoder.tower.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.float()  # as whisper wants them
    encoder.attend_in_bfloat16()


def fastest(model: OmniModel) -> Precision:
    """float32, or what takes fewer bytes (int8; bfloat16 where there is none) if this CPU runs one user's matrix products faster in it."""
    smaller = Precision.INT8 if int8.supported() else Precision.BFLOAT16
    exact_s, smaller_s = _measure(model, Precision.FLOAT32), _measure(model, smaller)
    log.info("matrix products of a step: float32 %.2f ms, %s %.2f ms", 1e3 * exact_s, smaller.value, 1e3 * smaller_s)
    return smaller if smaller_s * _WORTH_IT < exact_s else Precision.FLOAT32


@torch.inference_mode()
def _measure(model: OmniModel, precision: Precision) -> float:
    """Seconds of some layers' widest matrix products, the quickest of a few tries."""
    layers = nn.ModuleList(cast(Block, copy.deepcopy(block)).mlp for block in list(model.backbone.blocks)[:_MEASURED_LAYERS])
    _CONVERT[precision](layers)
    x = torch.randn(_MEASURED_ROWS, 1, model.config.backbone.width)
    if precision is Precision.BFLOAT16:
        x = x.bfloat16()
    times = []
    for _ in range(_TRIES):
        begin = time.perf_counter()
        for layer in layers:
            layer(x)
        times.append(time.perf_counter() - begin)
    return min(times)

"""The accelerator's kernels: in Triton's interpreter they give what the plain path gives, and they compile for GPUs that need not be here."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from omni_core.config import BackboneConfig
from omni_core.models import KVCache
from omni_core.models.backbone import Backbone
from omni_core.models.fused import can_fuse, fused_step

pytest.importorskip("triton", reason="triton is not installed: it comes with torch for CUDA")

CONFIG = BackboneConfig(layers=2, width=48, heads=6, kv_heads=2, head_size=32, mlp=80, rope_base=1e4, norm_eps=1e-6, max_positions=160)
BAND = 40
CASES = {  # rows 0 and 1 are rings: rows, positions they hold, splits, type, tolerance
    "the first position": ([3], [0], 4, torch.float32, 2e-5),
    "rows at their own positions": ([5, 2, 3], [70, 31, 33], 4, torch.float32, 2e-5),
    "no split": ([5, 2, 3], [70, 31, 33], 1, torch.float32, 2e-5),
    "rings before and after they have come round": ([0, 4, 1], [BAND - 1, 100, 5 * BAND + 7], 2, torch.float32, 2e-5),
    "half precision": ([5, 0, 3], [70, 90, 33], 4, torch.float16, 1e-2),  # the interpreter multiplies no bfloat16
}


def worst_difference(rows: list[int], lengths: list[int], splits: int, kind: torch.dtype) -> float:
    """Of fused steps to the plain path, in hidden states and in the cache, from rows that hold `lengths` positions."""
    from omni_core.models import kernels

    kernels._PROGRAMS = splits * len(rows) * CONFIG.kv_heads
    torch.manual_seed(0)
    backbone = Backbone(CONFIG).requires_grad_(False).to(kind)
    caches = [KVCache(CONFIG, 6, CONFIG.max_positions, kind, rings=2, band=BAND) for _ in range(2)]
    for plain, fused in ((caches[0].k, caches[1].k), (caches[0].v, caches[1].v)):
        fused.copy_(plain.normal_())
    at, positions, worst = torch.tensor(rows), torch.tensor(lengths), 0.0
    for _ in range(2):
        x = torch.randn(len(rows), CONFIG.width).to(kind)
        expected = backbone(x[:, None], positions[:, None], caches[0].view(positions[:, None], at))[:, 0]
        hidden = fused_step(backbone, x, positions, caches[1], at)
        worst = max(worst, *(float((a - b).abs().max()) for a, b in ((hidden, expected), (caches[0].k, caches[1].k), (caches[0].v, caches[1].v))))
        positions += 1
    return worst


@pytest.fixture(scope="module")
def interpreted() -> Iterator[ProcessPoolExecutor]:
    """Another process: whether kernels are interpreted is settled when triton is first imported."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            pool.submit(int).result()  # it starts now
        yield pool


@pytest.mark.parametrize("case", CASES)
def test_fused_steps_are_the_plain_ones(interpreted: ProcessPoolExecutor, case: str) -> None:
    *inputs, tolerance = CASES[case]
    assert interpreted.submit(worst_difference, *inputs).result(timeout=120) < tolerance


BUFFERS = dict.fromkeys(("qkv", "k", "v", "attended", "x", "change", "weight", "normed", "gate_up", "gated"), "*bf16")
INDICES = dict.fromkeys(("rows", "places", "counts"), "*i64")
FLOATS = dict.fromkeys(("cos", "sin", "parts", "weights"), "*fp32")
NUMBERS = {"scale": "fp32", "eps": "fp32", "row_stride": "i32", "head_stride": "i32"}
HEADS = {"GROUP": 7, "LANES": 16, "KV_HEADS": 2, "HALF": 32, "KEYS": 32}


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("_attend", {**HEADS, "SPLITS": 1}),
        ("_attend", {**HEADS, "SPLITS": 16}),
        ("_join", {"SIZE": 64, "SPLITS": 16}),
        ("_add_norm", {"WIDTH": 896, "PADDED": 1024}),
        ("_gate", {"MLP": 4864, "VALUES": 1024}),
    ],
)
def test_kernels_compile_for_the_released_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sizes: dict[str, Any], architecture: int
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from omni_core.models import kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")  # or it warns
    kernel = getattr(kernels, name)
    types = BUFFERS | INDICES | FLOATS | NUMBERS | dict.fromkeys(sizes, "constexpr")
    compiled = triton.compile(ASTSource(kernel, {each: types[each] for each in kernel.arg_names}, sizes), target=GPUTarget("cuda", architecture, 32))
    assert f"sm_{architecture}" in compiled.asm["ptx"]
    assert compiled.metadata.shared <= 48 * 1024  # what every GPU has


def test_a_cpu_takes_the_plain_path() -> None:
    assert not can_fuse(CONFIG, torch.zeros(1, 1, 48))

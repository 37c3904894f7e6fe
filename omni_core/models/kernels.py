"""What a decode step does between its matrix products, as Triton kernels: attention over the cache, a sum with the norm after it, the MLP's gate.

For accelerators; `fused` says when. Imports triton, so it is imported only there. Shapes as in `layers`; a step is one position of each row.
Attention is split along the keys (Dao et al. 2023, "Flash-Decoding"): few rows would leave most of a GPU idle otherwise.
"""

# Triton's language is Python with its own types, which pyright takes for wrong.
# pyright: reportIndexIssue=false, reportOptionalSubscript=false, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_PROGRAMS = 512  # wanted at once: four for each of a large GPU's processors
_MOST_SPLITS = 16
_KEYS = 32  # read at a time
_LANES = 16  # query heads of one key head are padded to so many at least: a matrix product's smallest size
_GATED = 1024  # values per program


def attend(qkv: Tensor, cos: Tensor, sin: Tensor, k: Tensor, v: Tensor, rows: Tensor, places: Tensor, counts: Tensor) -> Tensor:
    """Rotate, put the new key and value into the cache, attend to what its row holds and to the new one. Reads no more of it than is used.

    qkv: [R, (H + 2K) * D], as `layers.Attention` lays it out. cos, sin: [R, D/2] float32. k, v: [rows, K, N, D], one layer of the cache.
    rows: [R]. places, counts: [R], of `KVCache.places`. Returns [R, H * D].
    """
    _, kv_heads, _, size = k.shape
    batch, heads = len(qkv), qkv.shape[1] // size - 2 * kv_heads
    splits = min(_MOST_SPLITS, 1 << (max(1, _PROGRAMS // (batch * kv_heads)).bit_length() - 1))
    attended = qkv.new_empty(batch, heads * size)
    parts, weights = attended, cos  # of one split nothing is put together
    if splits > 1:
        parts = torch.empty(batch, heads, splits, size, dtype=torch.float32, device=qkv.device)
        weights = torch.empty(batch, heads, splits, 2, dtype=torch.float32, device=qkv.device)
    group = heads // kv_heads
    _attend[(batch, kv_heads, splits)](
        qkv, cos, sin, k, v, rows, places, counts, parts, weights, size**-0.5, k.stride(0), k.stride(1),
        GROUP=group, LANES=max(_LANES, triton.next_power_of_2(group)), KV_HEADS=kv_heads, HALF=size // 2, KEYS=_KEYS, SPLITS=splits, num_warps=4,
    )  # fmt: skip
    if splits > 1:
        _join[(batch * heads,)](parts, weights, attended, SIZE=size, SPLITS=splits, num_warps=1)
    return attended


def add_norm(x: Tensor, change: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [R, width] += change, in place; the RMS norm of that is returned."""
    width = x.shape[1]
    normed = torch.empty_like(x)
    _add_norm[(len(x),)](x, change, weight, normed, eps, WIDTH=width, PADDED=triton.next_power_of_2(width), num_warps=4)
    return normed


def gate(gate_up: Tensor) -> Tensor:
    """[R, 2 * mlp], the gate and what it gates -> silu(gate) * up, [R, mlp]."""
    batch, mlp = len(gate_up), gate_up.shape[1] // 2
    gated = gate_up.new_empty(batch, mlp)
    _gate[(batch, triton.cdiv(mlp, _GATED))](gate_up, gated, MLP=mlp, VALUES=_GATED, num_warps=4)
    return gated


@triton.jit
def _attend(
    qkv, cos, sin, k, v, rows, places, counts, parts, weights, scale, row_stride, head_stride,
    GROUP: tl.constexpr, LANES: tl.constexpr, KV_HEADS: tl.constexpr, HALF: tl.constexpr, KEYS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """One row, one key head with its GROUP query heads (lanes), one split of the row's places. The new position is split 0's, straight from qkv, so
    that no program reads what another writes.
    """
    SIZE: tl.constexpr = 2 * HALF
    HEADS: tl.constexpr = GROUP * KV_HEADS
    at, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    half, whole, lane = tl.arange(0, HALF), tl.arange(0, SIZE), tl.arange(0, LANES)
    used = lane < GROUP
    kind = k.dtype.element_ty
    qkv += at * (HEADS + 2 * KV_HEADS) * SIZE
    c, s = tl.load(cos + at * HALF + half), tl.load(sin + at * HALF + half)
    queries = qkv + (head * GROUP + lane[:, None]) * SIZE + half[None, :]
    a = tl.load(queries, mask=used[:, None], other=0.0).to(tl.float32)
    b = tl.load(queries + HALF, mask=used[:, None], other=0.0).to(tl.float32)
    q1, q2 = (a * c - b * s).to(kind), (b * c + a * s).to(kind)  # [LANES, HALF]
    place, count = tl.load(places + at).to(tl.int32), tl.load(counts + at).to(tl.int32)
    base = tl.load(rows + at).to(tl.int64) * row_stride + head * head_stride
    k += base
    v += base
    highest = tl.full([LANES], float("-inf"), tl.float32)
    total = tl.zeros([LANES], tl.float32)
    result = tl.zeros([LANES, SIZE], tl.float32)
    if split == 0:
        own = qkv + (HEADS + head) * SIZE + half
        own_a, own_b = tl.load(own).to(tl.float32), tl.load(own + HALF).to(tl.float32)
        own_k1, own_k2 = (own_a * c - own_b * s).to(kind), (own_b * c + own_a * s).to(kind)  # [HALF]
        own_v = tl.load(qkv + (HEADS + KV_HEADS + head) * SIZE + whole)
        tl.store(k + place * SIZE + half, own_k1)
        tl.store(k + place * SIZE + HALF + half, own_k2)
        tl.store(v + place * SIZE + whole, own_v)
        products = q1.to(tl.float32) * own_k1.to(tl.float32)[None, :] + q2.to(tl.float32) * own_k2.to(tl.float32)[None, :]
        highest = tl.sum(products, 1) * scale
        total = tl.full([LANES], 1.0, tl.float32)
        result = tl.zeros([LANES, SIZE], tl.float32) + own_v.to(tl.float32)[None, :]
    reach = tl.cdiv(tl.cdiv(count, SPLITS), KEYS) * KEYS
    end = tl.minimum(count, (split + 1) * reach)
    for start in range(split * reach, end, KEYS):
        key = start + tl.arange(0, KEYS)
        seen = (key < end) & (key != place)  # a ring's new position takes the place of one that is seen no more
        keys = k + key[None, :] * SIZE + half[:, None]
        k1, k2 = tl.load(keys, mask=seen[None, :], other=0.0), tl.load(keys + HALF, mask=seen[None, :], other=0.0)  # [HALF, KEYS]
        scores = tl.dot(q1, k1, input_precision="ieee") + tl.dot(q2, k2, input_precision="ieee")
        scores = tl.where(seen[None, :], scores * scale, float("-inf"))  # [LANES, KEYS]
        higher = tl.maximum(highest, tl.max(scores, 1))
        finite = tl.where(higher == float("-inf"), 0.0, higher)  # nothing seen so far
        share, kept = tl.exp(scores - finite[:, None]), tl.exp(highest - finite)
        new = tl.load(v + key[:, None] * SIZE + whole[None, :], mask=seen[:, None], other=0.0)  # [KEYS, SIZE]
        total = total * kept + tl.sum(share, 1)
        result = result * kept[:, None] + tl.dot(share.to(kind), new, input_precision="ieee")
        highest = higher
    to = at * HEADS + head * GROUP + lane
    if SPLITS == 1:
        tl.store(parts + to[:, None] * SIZE + whole[None, :], (result / total[:, None]).to(kind), mask=used[:, None])
    else:
        to = to * SPLITS + split
        tl.store(parts + to[:, None] * SIZE + whole[None, :], result, mask=used[:, None])
        tl.store(weights + to * 2, highest, mask=used)
        tl.store(weights + to * 2 + 1, total, mask=used)


@triton.jit
def _join(parts, weights, attended, SIZE: tl.constexpr, SPLITS: tl.constexpr):
    """One row and query head: its splits as one. Split 0 saw a key, so that the highest score is one."""
    at = tl.program_id(0)
    split, whole = tl.arange(0, SPLITS), tl.arange(0, SIZE)
    highest = tl.load(weights + (at * SPLITS + split) * 2)
    total = tl.load(weights + (at * SPLITS + split) * 2 + 1)
    share = tl.exp(highest - tl.max(highest, 0))
    result = tl.load(parts + (at * SPLITS + split[:, None]) * SIZE + whole[None, :])
    result = tl.sum(result * share[:, None], 0) / tl.sum(total * share, 0)
    tl.store(attended + at * SIZE + whole, result.to(attended.dtype.element_ty))


@triton.jit
def _add_norm(x, change, weight, normed, eps, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """One row. The sum is rounded before its norm is taken, as it is where the two are apart."""
    at = tl.program_id(0) * WIDTH
    index = tl.arange(0, PADDED)
    used = index < WIDTH
    kind = x.dtype.element_ty
    added = tl.load(x + at + index, mask=used, other=0.0).to(tl.float32) + tl.load(change + at + index, mask=used, other=0.0).to(tl.float32)
    added = added.to(kind)
    tl.store(x + at + index, added, mask=used)
    wide = added.to(tl.float32)
    wide = wide * tl.rsqrt(tl.sum(wide * wide, 0) / WIDTH + eps) * tl.load(weight + index, mask=used, other=0.0).to(tl.float32)
    tl.store(normed + at + index, wide.to(kind), mask=used)


@triton.jit
def _gate(gate_up, gated, MLP: tl.constexpr, VALUES: tl.constexpr):
    at, index = tl.program_id(0), tl.program_id(1) * VALUES + tl.arange(0, VALUES)
    used = index < MLP
    opening = tl.load(gate_up + at * 2 * MLP + index, mask=used, other=0.0).to(tl.float32)
    up = tl.load(gate_up + at * 2 * MLP + MLP + index, mask=used, other=0.0).to(tl.float32)
    kind = gated.dtype.element_ty
    opened = (opening * tl.sigmoid(opening)).to(kind).to(tl.float32)  # rounded, as it is where the two are apart
    tl.store(gated + at * MLP + index, (opened * up).to(kind), mask=used)

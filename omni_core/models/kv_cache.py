"""Keys and values that attention looks at: a whole cache kept between steps, or the newest of them in a band.

Which row belongs to which response is the engine's business.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from omni_core.config import BackboneConfig


class View(Protocol):
    """What one forward pass reads and writes: T new positions, N keys."""

    def mask(self, groups: int) -> Tensor:
        """Additive mask, broadcastable to [R, K, groups * T, N]; T is the faster of the two."""
        ...

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Take k and v [R, T, K, D] of `layer`; gives all keys and values to attend to, [R, K, N, D] each."""
        ...


class KVCache:
    """`k` and `v`: [layers, rows, kv_heads, places, head_size]; a row's place p holds position p.

    The first `rings` rows are rings of `band` places: position p lies at p % band, over the one that attention has just left behind. They are
    written one position at a time, and may go on for ever.
    """

    def __init__(
        self,
        config: BackboneConfig,
        rows: int,
        max_positions: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        *,
        rings: int = 0,
        band: int = 0,
    ) -> None:
        shape = (config.layers, rows, config.kv_heads, max(max_positions, band), config.head_size)
        # Zeros: a masked position takes part as 0 * value, and memory that was never written may hold NaN.
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.rows = rows
        self._turn = torch.full((rows,), torch.iinfo(torch.int64).max, device=device)  # [rows] after how many positions a row starts over
        self._turn[:rings] = band

    def clear(self, first: int, end: int, length: int) -> None:
        """Zero the first `length` places of rows [first, end): what a row held must not reach who has it next, and 0 * NaN is no 0."""
        self.k[:, first:end, :, :length] = 0
        self.v[:, first:end, :, :length] = 0

    def copy(self, source: int, target: int, length: int) -> None:
        """Give row `target` the first `length` positions of row `source`."""
        self.k[:, target, :, :length] = self.k[:, source, :, :length]
        self.v[:, target, :, :length] = self.v[:, source, :, :length]

    def places(self, positions: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Where `rows` [R] put positions [R], and how many places are to be read with them, their own not counted if it is the last: [R] each."""
        turn = self._turn[rows]
        return positions % turn, torch.minimum(positions, turn)

    def view(self, positions: Tensor, rows: Tensor | None = None, length: int | None = None) -> CacheView:
        """What one forward pass reads and writes.

        positions: [R, T]. rows: [R], None for rows 0..R-1. length: places to read, above all that hold something; None: found out, which on an
        accelerator waits for it.
        """
        turn = (self._turn[: len(positions)] if rows is None else self._turn[rows])[:, None]
        newest = torch.minimum(positions, turn - 1)  # a ring that has come round is seen whole
        return CacheView(self, positions % turn, newest, rows, int(newest.max()) + 1 if length is None else length)


class BandView:
    """Banded attention over a sequence itself: each position sees the newest `band` ones, itself included."""

    def __init__(self, length: int, band: int, dtype: torch.dtype, device: torch.device) -> None:
        at = torch.arange(length, device=device)
        self._mask = band_mask(at[None, :, None], at, band, dtype)

    def mask(self, groups: int) -> Tensor:
        return self._mask.repeat(1, 1, groups, 1)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return k.transpose(1, 2), v.transpose(1, 2)


def band_mask(queries: Tensor, keys: Tensor, band: int, dtype: torch.dtype) -> Tensor:
    """0 where a query sees a key (0 <= query - key < band), -inf elsewhere. queries [R, T, 1] and keys [N] or [R, 1, N] -> [R, 1, T, N]."""
    distance = queries - keys
    blank = torch.zeros(distance.shape, dtype=dtype, device=distance.device)
    return blank.masked_fill_((distance < 0) | (distance >= band), float("-inf"))[:, None]


class CacheView:
    """One forward pass's rows of a cache, with the causal mask that all layers share."""

    def __init__(self, cache: KVCache, places: Tensor, newest: Tensor, rows: Tensor | None, length: int) -> None:
        """places [R, T]: where keys and values go. newest [R, T]: the last place that each position sees."""
        self._cache = cache
        self._places = places
        self._length = length
        self._rows = torch.arange(len(places), device=places.device) if rows is None else rows
        # Neighbouring rows are read in place; others have to be gathered.
        self._start = 0 if rows is None else _first_of_run(rows)
        hidden = torch.arange(length, device=places.device) > newest[:, :, None]  # [R, T, N]
        blank = torch.zeros(hidden.shape, dtype=cache.k.dtype, device=places.device)
        self._mask = blank.masked_fill_(hidden, float("-inf"))[:, None]  # [R, 1, T, N]
        self._grouped: Tensor | None = None

    def mask(self, groups: int) -> Tensor:
        """Additive mask [R, 1, groups * T, N]; T is the faster of the two."""
        if self._mask.shape[2] == 1:
            return self._mask  # one step: every group broadcasts
        if self._grouped is None:
            self._grouped = self._mask.repeat(1, 1, groups, 1)
        return self._grouped

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k and v [R, T, K, D] of `layer` at this pass's positions; returns all keys and values to attend to, [R, K, N, D] each."""
        keys, values = self._cache.k[layer], self._cache.v[layer]
        at = self._rows[:, None]
        keys[at, :, self._places] = k.to(keys.dtype)
        values[at, :, self._places] = v.to(values.dtype)
        return self._read(keys), self._read(values)

    def _read(self, layer: Tensor) -> Tensor:
        if self._start is None:
            return layer[:, :, : self._length].index_select(0, self._rows)
        return layer[self._start : self._start + len(self._rows), :, : self._length]


def _first_of_run(rows: Tensor) -> int | None:
    """The first of `rows` if they are n, n+1, n+2 ...; None if not, or if finding out would wait for an accelerator."""
    if rows.device.type != "cpu":
        return None
    listed = rows.tolist()
    return listed[0] if listed == list(range(listed[0], listed[0] + len(listed))) else None

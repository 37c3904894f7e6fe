"""Sets of clips on disk: WebDataset shards, any clip read in about a millisecond without unpacking.

Owns the format. A set NAME is shards `NAME-00000.tar` with members `000000.flac` (16 bit, mono) and `000000.json` (its row) for each clip, and beside
each shard its index `NAME-00000.jsonl`: a line a clip, the row with where its FLAC lies (`offset`, `size`) and its checksum (`crc`). `NAME.json`, the
manifest, lists the shards that are complete; it is replaced whenever one is done, so that a set may be read while it grows, and
an interrupted one goes on where it was. Doesn't own what is said: see `speech` and `answers`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

from omni_core.errors import DataError, OmniError

FORMAT = "omni-shards/1"
_REMEDY = "delete it and make the set again; what is complete is kept"

Job = TypeVar("Job")


@dataclass(frozen=True)
class Clip:
    """What is written: samples [N] in [-1, 1], and the row that describes them (any JSON object)."""

    wave: NDArray[np.float32]
    row: dict[str, Any]


class ShardSet:
    """The complete shards of the set `name` in `folder`; none of it need be there yet.

    `len`, `rows` (each what was written, with `samples`), `wave(index)`. Damage raises DataError naming shard and member; with `skip_bad`
    everything is checked when it is opened, and what is damaged is left out and counted in `skipped`.
    """

    def __init__(self, folder: str | Path, name: str, *, skip_bad: bool = False) -> None:
        self.folder, self.name, self.skip_bad, self.skipped = Path(folder), name, skip_bad, 0
        self.rate = 0
        self.rows: list[dict[str, Any]] = []
        self._places: list[tuple[str, int, int, int, int]] = []  # shard, member, offset, size, crc
        self._read: set[str] = set()
        self._files: dict[str, int] = {}
        self.refresh()

    def refresh(self) -> int:
        """Take in shards that were completed meanwhile; returns the number of clips."""
        manifest = read_manifest(self.folder, self.name)
        self.rate = manifest["rate"]
        for shard in manifest["shards"]:
            if shard["file"] not in self._read:
                self._read.add(shard["file"])
                self._take(shard)
        return len(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def wave(self, index: int) -> NDArray[np.float32]:
        """Samples [N] of a clip, at `rate`. DataError when they are not what was written."""
        shard, member, offset, size, crc = self._places[index]
        data = os.pread(self._file(shard), size, offset)
        if len(data) != size or zlib.crc32(data) != crc:
            raise DataError(f"{self.folder / shard}: member {member:06d}.flac is damaged: {_REMEDY}")
        samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        return np.asarray(samples, np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}  # another process opens its own

    def __del__(self) -> None:
        for file in getattr(self, "_files", {}).values():
            os.close(file)

    def _take(self, shard: dict[str, Any]) -> None:
        path = self.folder / shard["file"]
        try:
            if path.stat().st_size != shard["bytes"]:
                raise DataError(f"{path}: holds {path.stat().st_size} bytes, not {shard['bytes']}: {_REMEDY}")
            rows = [json.loads(line) for line in path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]
            places = [(row.pop("member"), row.pop("offset"), row.pop("size"), row.pop("crc")) for row in rows]
            if len(rows) != shard["clips"]:
                raise DataError(f"{path.with_suffix('.jsonl')}: has {len(rows)} clips, not {shard['clips']}: {_REMEDY}")
        except DataError:
            if not self.skip_bad:
                raise
            self.skipped += shard["clips"]
            return
        except (OSError, ValueError, KeyError, AttributeError) as error:
            if not self.skip_bad:
                raise DataError(f"{path}: the shard or its index can't be read ({error}): {_REMEDY}") from error
            self.skipped += shard["clips"]
            return
        for row, (member, *place) in zip(rows, places, strict=True):
            self.rows.append(row)
            self._places.append((shard["file"], member, *place))
            if not row["samples"] and not self.skip_bad:
                raise DataError(f"{path}: member {member:06d}.flac is an empty clip: {_REMEDY}")
            if self.skip_bad and not self._sound(len(self.rows) - 1):
                self.rows.pop()
                self._places.pop()
                self.skipped += 1

    def _sound(self, index: int) -> bool:
        try:
            return bool(len(self.wave(index)))
        except DataError:
            return False

    def _file(self, shard: str) -> int:
        if shard not in self._files:
            try:
                self._files[shard] = os.open(self.folder / shard, os.O_RDONLY)
            except OSError as error:
                raise DataError(f"{self.folder / shard}: can't be opened ({error.strerror}): {_REMEDY}") from error
        return self._files[shard]


def read_manifest(folder: Path, name: str) -> dict[str, Any]:
    """The manifest of a set; of one that isn't there, one without shards. DataError when it can't be read."""
    path = folder / f"{name}.json"
    if not path.exists():
        return {"format": FORMAT, "rate": 0, "shards": []}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or any(set(shard) != {"file", "clips", "bytes", "made_of"} for shard in manifest["shards"]):
            raise ValueError(f"not of the format {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no manifest of shards ({error}): delete it and make the set again") from error
    return manifest


class ShardWriter(Generic[Job]):
    """Makes the shards of one set that aren't there yet: shard n is `shards[n]`'s jobs, each made into a clip by `make`.

    A shard is made again when its jobs changed. `make` must give the same clip for the same job; it runs in `workers` threads (default: one a core),
    and what it does should let go of the interpreter: programs, numpy, FLAC. With `skip_bad` a job that fails is left out and counted in `skipped`.
    """

    def __init__(
        self, folder: Path, name: str, rate: int, shards: Sequence[Sequence[Job]], make: Callable[[Job], Clip], *, skip_bad: bool = False
    ) -> None:
        self.folder, self.name, self.rate, self.make = folder, name, rate, make
        self.skip_bad, self.skipped = skip_bad, 0
        self._prints = [hashlib.blake2b(repr(list(jobs)).encode(), digest_size=8).hexdigest() for jobs in shards]
        self._shards = shards
        there = {shard["file"]: shard for shard in read_manifest(folder, name)["shards"]}
        made = [there.get(self._file(number)) for number in range(len(shards))]
        self._made = [shard if shard and shard["made_of"] == sign else None for shard, sign in zip(made, self._prints, strict=True)]

    @property
    def todo(self) -> list[int]:
        """Numbers of the shards that are still to be made."""
        return [number for number, shard in enumerate(self._made) if shard is None]

    @property
    def shards(self) -> int:
        """How many shards the whole set has."""
        return len(self._shards)

    @property
    def clips(self) -> int:
        """How many clips the whole set has."""
        return sum(map(len, self._shards))

    def bar(self, position: int = 0) -> tqdm:
        """A progress bar for `write`, at what is done already."""
        done = sum(len(jobs) for jobs, shard in zip(self._shards, self._made, strict=True) if shard is not None)
        return tqdm(total=self.clips, initial=done, desc=self.name, unit="clip", position=position, smoothing=0, dynamic_ncols=True)

    def write(self, number: int, pool: ThreadPoolExecutor, bar: tqdm) -> None:
        """Make shard `number` and put it into the manifest. DataError when the disk is full, and whatever `make` raises."""
        path = self.folder / self._file(number)
        partial = path.with_suffix(".tar.part")
        index = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
                for encoded in pool.map(self._encode, self._shards[number]):
                    bar.update()
                    if encoded is None:
                        self.skipped += 1
                        continue
                    row, flac = encoded
                    member = len(index)
                    index.append(row | {"member": member, "offset": tar.offset + tarfile.BLOCKSIZE, "size": len(flac), "crc": zlib.crc32(flac)})
                    _add(tar, f"{member:06d}.flac", flac)
                    _add(tar, f"{member:06d}.json", json.dumps(row).encode())
            replace_text(path.with_suffix(".jsonl"), "".join(json.dumps(row) + "\n" for row in index))
            os.replace(partial, path)
            self._made[number] = {"file": path.name, "clips": len(index), "bytes": path.stat().st_size, "made_of": self._prints[number]}
            manifest = {"format": FORMAT, "rate": self.rate, "shards": [shard for shard in self._made if shard is not None]}
            replace_text(self.folder / f"{self.name}.json", json.dumps(manifest, indent=1))
        except OSError as error:
            raise DataError(f"{path}: can't be written ({error.strerror}): make room and run it again; what is complete is kept") from error
        finally:
            partial.unlink(missing_ok=True)

    def _encode(self, job: Job) -> tuple[dict[str, Any], bytes] | None:
        try:
            clip = self.make(job)
            if not len(clip.wave):
                raise DataError(f"{self.name}: {job!r} gave an empty clip; leave it out with skip_bad (`--skip-bad`)")
        except OmniError:
            if not self.skip_bad:
                raise
            return None
        flac = io.BytesIO()
        soundfile.write(flac, clip.wave, self.rate, format="FLAC", subtype="PCM_16")
        return clip.row | {"samples": len(clip.wave)}, flac.getvalue()

    def _file(self, number: int) -> str:
        return f"{self.name}-{number:05d}.tar"


def write_all(writers: Sequence[ShardWriter[Any]], workers: int | None = None) -> int:
    """Make what is missing of several sets, in step with each other, so that training may start on the first of each. Returns the clips skipped."""
    bars = [writer.bar(position) for position, writer in enumerate(writers)]
    turns = sorted((number / writer.shards, place, number) for place, writer in enumerate(writers) for number in writer.todo)
    pool = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)))
    try:
        for _, place, number in turns:
            writers[place].write(number, pool, bars[place])
    finally:
        pool.shutdown(cancel_futures=True)  # else an error would wait for the rest of its shard
        for bar in bars:
            bar.close()
    return sum(writer.skipped for writer in writers)


def split_jobs(jobs: Sequence[Job], size: int) -> list[Sequence[Job]]:
    """`jobs` in runs of `size`, the last one shorter."""
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]


def replace_text(path: Path, text: str) -> None:
    """Write `path` at once or not at all."""
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))

"""People's own recordings, as training takes them: a JSONL manifest, and the published VoiceAssistant-400K Parquet files.

Owns both formats. Audio comes out as float32 [N] at the rate training expects: 16 kHz for questions, 24 kHz for answers.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from omni_core.audio import read_audio, resample
from omni_core.datagen.answers import ANSWER_RATE
from omni_core.datagen.synthesis import SAMPLE_RATE
from omni_core.errors import ConfigError, DataError, InputError

_KEYS = ("audio", "image", "question", "answer", "answer_audio")
_COLUMNS = ("question", "question_audio", "answer", "answer_snac")
_LAYERS = 7
_CODES = 4096
_GROUP_LINES = 64


@dataclass(frozen=True)
class Recording:
    """One question, heard or read, perhaps about a picture, and its answer. What is None was not given."""

    where: str  #: file and line or row, for messages
    question_wave: NDArray[np.float32] | None = None  #: [N] at 16 kHz
    image: bytes | None = None  #: an encoded picture
    question: str | None = None
    answer: str | None = None
    answer_wave: NDArray[np.float32] | None = None  #: [N] at 24 kHz
    answer_frames: NDArray[np.int64] | None = None  #: [F, 7] codes of SNAC, in place of `answer_wave`


@dataclass
class Reading:
    """Counts what a reader left out. Give it to a reader to have bad entries skipped instead of raised."""

    skipped: int = 0
    reasons: list[str] = field(default_factory=list)  #: the first few

    def skip(self, error: Exception) -> None:
        self.skipped += 1
        if len(self.reasons) < 20:
            self.reasons.append(str(error))


class RecordingFile:
    """A file of recordings that is read a group at a time, in any order: `groups` holds how many recordings each group has."""

    def __init__(self, path: Path, groups: Sequence[int]) -> None:
        self.path, self.groups = path, list(groups)

    def __len__(self) -> int:
        return sum(self.groups)

    def entries(self, group: int) -> Iterator[tuple[str, Any]]:
        """Where each recording of a group stands, and what is read of it."""
        raise NotImplementedError

    def parse(self, where: str, entry: Any) -> Recording:
        """One recording. Raises ValueError, InputError or OSError when it can't be used."""
        raise NotImplementedError

    def read(self, group: int, skip_bad: Reading | None = None) -> list[Recording]:
        """The recordings of a group. DataError names file and line or row; with `skip_bad` bad ones are counted there."""
        return list(_read_each(self.entries(group), self.parse, skip_bad))

    def __iter__(self) -> Iterator[Recording]:
        for group in range(len(self.groups)):
            yield from self.read(group)


class JsonLines(RecordingFile):
    """A manifest of JSON lines: objects with any of `audio`, `image`, `question`, `answer`, `answer_audio`: texts, or files beside the manifest.

    A line needs something to answer (`audio` or `question`) and an answer (`answer` or `answer_audio`).
    """

    def __init__(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: can't be read ({error}); give a manifest of JSON lines") from error
        self._lines = [(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
        super().__init__(path, [len(self._lines[start : start + _GROUP_LINES]) for start in range(0, len(self._lines), _GROUP_LINES)])

    def entries(self, group: int) -> Iterator[tuple[str, str]]:
        yield from self._lines[group * _GROUP_LINES : (group + 1) * _GROUP_LINES]

    def parse(self, where: str, entry: str) -> Recording:
        return _recording(where, entry, self.path.parent)


class VoiceAssistant(RecordingFile):
    """A Parquet file in the schema of VoiceAssistant-400K, each row by itself: its columns `question`, `question_audio` {bytes, path}, `answer` and
    `answer_snac`; `split_name`, `index` and `round` are left aside. A group is a row group of the file.

    Raises DataError when it can't be read, ConfigError when pyarrow is missing.
    """

    def __init__(self, path: Path) -> None:
        try:
            from pyarrow import ArrowException, parquet
        except ImportError as error:
            raise ConfigError("Parquet files need pyarrow: pip install 'omni-duplex[train]'") from error
        self._broken = (ArrowException, OSError)
        try:
            self._table = parquet.ParquetFile(path, memory_map=True)
        except self._broken as error:
            raise DataError(f"{path}: can't be read as Parquet ({error}); download it again") from error
        missing = [name for name in _COLUMNS if name not in self._table.schema_arrow.names]
        if missing:
            raise DataError(f"{path}: has no column {', '.join(missing)}; it has {', '.join(self._table.schema_arrow.names)}")
        told = self._table.metadata
        super().__init__(path, [told.row_group(group).num_rows for group in range(told.num_row_groups)])

    def entries(self, group: int) -> Iterator[tuple[str, dict[str, Any]]]:
        first = sum(self.groups[:group])
        try:
            rows = self._table.read_row_group(group, columns=list(_COLUMNS)).to_pylist()
        except self._broken as error:
            raise DataError(f"{self.path}: can't be read as Parquet ({error}); download it again") from error
        yield from ((f"{self.path}, row {first + number}", row) for number, row in enumerate(rows))

    def parse(self, where: str, entry: dict[str, Any]) -> Recording:
        return _voice_assistant_row(where, entry)


def open_recordings(path: Path) -> RecordingFile:
    """A `.parquet` file as VoiceAssistant, any other as JsonLines."""
    return VoiceAssistant(path) if path.suffix == ".parquet" else JsonLines(path)


def snac_frames(text: str) -> NDArray[np.int64]:
    """Codes [F, 7] of `answer_snac`: `# c1 c2 c3 c3 c2 c3 c3 # ...`, a frame after each #, the levels in the order of `codec.frames`.

    ValueError naming the frame (from 0) that is none.
    """
    frames = [part.split() for part in text.strip().strip("#").split("#")]
    for number, frame in enumerate(frames):
        if len(frame) != _LAYERS or not all(re.fullmatch(r"\d{1,4}", code) and int(code) < _CODES for code in frame):
            raise ValueError(f"answer_snac, frame {number}: {' '.join(frame)[:60]!r} is not 7 codes below {_CODES}")
    return np.array(frames, np.int64)


def _read_each(entries: Iterator[tuple[str, Any]], read: Callable[[str, Any], Recording], skip_bad: Reading | None) -> Iterator[Recording]:
    for where, entry in entries:
        try:
            recording = read(where, entry)
        except (InputError, ValueError, OSError) as error:
            bad = DataError(f"{where}: {error}")
        except DataError as error:
            bad = error
        else:
            yield recording
            continue
        if skip_bad is None:
            raise bad
        skip_bad.skip(bad)


def _recording(where: str, line: str, folder: Path) -> Recording:
    row = json.loads(line)
    if not isinstance(row, dict) or not all(isinstance(value, str | None) for value in row.values()):
        raise ValueError(f"needs a JSON object of strings, with some of {', '.join(_KEYS)}")
    if unknown := set(row) - set(_KEYS):
        raise ValueError(f"unknown key {', '.join(sorted(unknown))}; known keys are {', '.join(_KEYS)}")
    if not (row.get("audio") or row.get("question")) or not (row.get("answer") or row.get("answer_audio")):
        raise ValueError("needs `audio` or `question`, and `answer` or `answer_audio`")
    image = row.get("image")
    return Recording(
        where,
        question_wave=_file_wave(folder / row["audio"], SAMPLE_RATE) if row.get("audio") else None,
        image=(folder / image).read_bytes() if image else None,
        question=row.get("question"),
        answer=row.get("answer"),
        answer_wave=_file_wave(folder / row["answer_audio"], ANSWER_RATE) if row.get("answer_audio") else None,
    )


def _file_wave(path: Path, rate: int) -> NDArray[np.float32]:
    wave, own_rate = read_audio(path)
    return resample(wave, own_rate, rate)


def _voice_assistant_row(where: str, row: dict[str, Any]) -> Recording:
    data = (row["question_audio"] or {}).get("bytes")
    if not data:
        raise ValueError("question_audio has no bytes")
    if not row["answer"]:
        raise ValueError("has no answer")
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"question_audio is no readable sound file ({error})") from error
    if not len(samples):
        raise ValueError("question_audio holds no samples")
    return Recording(
        where,
        question_wave=resample(samples.mean(axis=1), rate, SAMPLE_RATE),
        question=row["question"],
        answer=row["answer"],
        answer_frames=snac_frames(row["answer_snac"]) if row["answer_snac"] else None,
    )

"""What is asked: the lines of a manifest.

A manifest is JSON lines. Each holds `expect` (the right answer; of a clip to be transcribed, its words) and `audio` (a file) or `text` (a typed
question), and may hold `image` (a file), `question` (the words that are spoken), `history` ([[question, answer], ...], oldest first), and what
results are broken down by: `skill`, `voice`, `group`, `condition`. Files are looked for beside the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni_core.audio import read_audio
from omni_core.errors import DataError, InputError

OPEN = "open"  #: the skill of clips that are transcribed, not answered
_WORDS = ("expect", "text", "question", "skill", "voice", "group", "condition")


@dataclass(frozen=True)
class Item:
    """One line of a manifest."""

    where: str  #: file and line, for messages
    expect: str
    audio: Path | None = None
    image: Path | None = None
    text: str | None = None  #: a typed question
    question: str = ""  #: its words, spoken or typed
    history: tuple[tuple[str, str], ...] = ()
    skill: str = ""
    voice: str = ""
    group: str = ""  #: the kind of voice
    condition: str = ""

    @property
    def transcript(self) -> str:
        """The words that are spoken in `audio`, where the manifest tells."""
        return self.expect if self.skill in (OPEN, "") and not self.question else self.question

    def wave(self) -> tuple[NDArray[np.float32], int]:
        """The samples [N] of `audio` and their rate, Hz. DataError names the line."""
        assert self.audio is not None
        try:
            return read_audio(self.audio)
        except InputError as error:
            raise DataError(f"{self.where}: {error}") from error


def read_manifest(path: Path) -> list[Item]:
    """The lines of a manifest. DataError names the file and line of a malformed entry or a missing file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a manifest of JSON lines, or make the test material with `omni data test`")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_item(line, path.parent, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def choose(items: Sequence[Item], limit: int | None, seed: int) -> list[Item]:
    """At most `limit` of the items, drawn by `seed`, in their order."""
    if limit is None or limit >= len(items):
        return list(items)
    drawn = np.random.default_rng(seed).permutation(len(items))[:limit]
    return [items[index] for index in sorted(drawn)]


def _item(line: str, folder: Path, where: str) -> Item:
    try:
        row = json.loads(line)
        words = {key: _words(row[key], key) for key in _WORDS if row.get(key) is not None}
        files = {key: folder / _words(row[key], key) for key in ("audio", "image") if row.get(key) is not None}
        history = tuple((_words(question, "history"), _words(answer, "history")) for question, answer in row.get("history") or ())
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: needs a JSON object of strings, `history` a list of [question, answer] ({error})") from error
    if not words.get("expect"):
        raise DataError(f"{where}: has no `expect`, the right answer: write it down")
    if ("audio" in files) == ("text" in words):
        raise DataError(f"{where}: needs either `audio` (a spoken question) or `text` (a typed one)")
    for file in files.values():
        if not file.is_file():
            raise DataError(f"{where}: {file} does not exist")
    return Item(
        where=where,
        expect=words.pop("expect"),
        question=words.pop("question", words.get("text", "")),
        audio=files.get("audio"),
        image=files.get("image"),
        history=history,
        **words,
    )


def _words(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"`{key}` holds {value!r}")
    return value

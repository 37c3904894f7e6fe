"""nano behind the HTTP faces, the unmodified `openai` client in front of them, and recorded questions to ask."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from openai import AsyncOpenAI

from omni_core.checkpoint import Bundle, load_bundle
from tests.server.conftest import Server

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "questions"


@dataclass(frozen=True)
class Question:
    """One that nano understands, with a short answer."""

    words: str
    answer: str
    flac: bytes

    def as_file(self, format: str = "WAV", subtype: str | None = None, *, rate: int | None = None, channels: int = 1) -> bytes:
        """The recording in another format. `rate`: that of the header alone."""
        samples, own_rate = soundfile.read(io.BytesIO(self.flac), dtype="float32")
        buffer = io.BytesIO()
        soundfile.write(buffer, np.stack([samples] * channels, axis=1), rate or own_rate, format=format, subtype=subtype)
        return buffer.getvalue()


@pytest.fixture(scope="session")
def question() -> Question:
    rows = [json.loads(line) for line in (FOLDER / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    row = next(row for row in rows if row["question"] == "What is the capital of Japan?")
    return Question(row["question"], row["expect"], (FOLDER / row["audio"]).read_bytes())


@pytest.fixture(scope="session")
def nano() -> Bundle:
    return load_bundle("nano", "cpu")


Connect = Callable[..., AsyncOpenAI]


@pytest.fixture
def stock() -> Connect:
    """`stock(server)`: OpenAI's client, with no other setting than the address and a key."""

    def connect(server: Server, **options: Any) -> AsyncOpenAI:
        return AsyncOpenAI(**{"api_key": "none-needed", "base_url": f"{server.http}/v1", **options})

    return connect

"""nano behind the HTTP faces, the unmodified `openai` client in front of them, and recorded questions to ask."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import soundfile
from openai import AsyncOpenAI, BaseModel

from omni_core.checkpoint import Bundle, load_bundle
from tests.server.conftest import Server

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "questions"


R = TypeVar("R", bound=BaseModel)


def checked(reply: R) -> R:
    """`reply` as a strict client reads it: the stock one takes what does not fit its types as it comes."""
    return type(reply).model_validate(reply.to_dict())


def same_sound(one: bytes, other: bytes) -> bool:
    """s16le that differs by rounding alone: of answers made at once and one by one the last bits differ."""
    first, second = (np.frombuffer(pcm, "<i2").astype(np.int32) for pcm in (one, other))
    return len(first) == len(second) > 24_000 and int(np.abs(first - second).max()) < 32


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


@pytest.fixture
async def stock(server: Server) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client, with no other setting than the address and a key."""
    async with AsyncOpenAI(api_key="none-needed", base_url=f"{server.http}/v1") as client:
        yield client

"""What users say: as frames of the wire, made once and shared by all of them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clients.errors import ClientError
from clients.python.audio import RATE, edges, load_audio, to_pcm16

CHUNK = 960  #: samples of microphone in a frame: 40 ms
CHUNK_S = CHUNK / RATE

#: What nano answers at length: 14 to 17 s each.
STORIES = ("Tell me a story about a dragon.", "Tell me a story about a castle.", "Tell me a story about a pirate.")


@dataclass(frozen=True)
class Spoken:
    """A question, ready to be sent."""

    frames: tuple[bytes, ...]  #: one for each chunk
    onset_s: float  #: where its speech begins
    end_s: float  #: and ends

    @classmethod
    def load(cls, path: Path) -> Spoken:
        """A sound file. ClientError for one that can't be used."""
        wave = load_audio(path)
        found = edges(wave)
        if found is None:
            raise ClientError(f"{path}: there is no sound in it; give a spoken question")
        wave = np.concatenate([wave, np.zeros(-len(wave) % CHUNK, np.float32)])
        frames = tuple(_append(to_pcm16(part)) for part in wave.reshape(-1, CHUNK))
        return cls(frames, found[0] / RATE, found[1] / RATE)


def _append(pcm: bytes) -> bytes:
    return b'{"type":"input_audio_buffer.append","audio":"' + base64.b64encode(pcm) + b'"}'


SILENCE = _append(bytes(2 * CHUNK))

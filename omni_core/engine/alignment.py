"""How much of an answer's text was said in the audio that was played, by the letters that an audio encoder with a CTC head hears in it.

A chunk at a time, between the engine's steps. Where there is no such head, a transcription decides (`spoken.match`).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.audio import resample
from omni_core.encoders.base import AudioEncoder
from omni_core.encoders.chunked import FEATURE_SAMPLES, ChunkedEncoder
from omni_core.encoders.ctc import Prefixes, character_ids
from omni_core.engine.request import SAMPLE_RATE
from omni_core.engine.spoken import Spoken
from omni_core.errors import EngineBusy, EngineError, OmniError, TaskError

log = logging.getLogger(__name__)


class Alignment:
    """One answer's text beside what was played of it."""

    def __init__(self, encoder: ChunkedEncoder, text: str, pcm: NDArray[np.float32], device: torch.device) -> None:
        """pcm: [n] at 24 kHz, from the answer's beginning. Raises TextError when the text holds no words."""
        self._spoken = Spoken.of(text, len(pcm) / SAMPLE_RATE)
        self._prefixes = Prefixes(character_ids(self._spoken.letters))
        self._encoder = encoder
        wave = torch.from_numpy(resample(pcm, SAMPLE_RATE, encoder.sample_rate)).to(device)
        self._features = self._encode(wave)

    @torch.inference_mode()
    def advance(self) -> bool:
        """Listen to one more chunk; False: there is none."""
        features = next(self._features, None)
        if features is None:
            return False
        logits = self._encoder.ctc_logits(features[None])[0]
        self._prefixes.push(logits.double().log_softmax(-1).cpu().numpy())
        return True

    @property
    def heard(self) -> int:
        """Characters of the text that were said in what it has listened to; whole words."""
        return self._spoken.characters[int(self._prefixes.scores()[list(self._spoken.ends)].argmax())]

    def _encode(self, wave: Tensor) -> Iterator[Tensor]:
        stream = self._encoder.stream()
        for part in wave.split(self._encoder.config.chunk_features * FEATURE_SAMPLES):
            yield stream.push(part)
        yield stream.finish()


class Alignments:
    """Those that are asked for, one after the other. Not thread-safe."""

    def __init__(self, encoder: AudioEncoder | None, device: torch.device, places: int) -> None:
        self._encoder = encoder if isinstance(encoder, ChunkedEncoder) and encoder.ctc is not None else None
        self._device, self._places = device, places
        self._waiting: deque[tuple[str, Alignment]] = deque()
        self._done: list[tuple[str, int | OmniError]] = []

    @property
    def waiting(self) -> bool:
        """There is something to listen to."""
        return bool(self._waiting)

    def start(self, id: str, text: str, pcm: NDArray[np.float32]) -> None:
        """Raises TaskError when the encoder has no CTC head, TextError for a text without words, EngineBusy."""
        if self._encoder is None:
            raise TaskError("the model's audio encoder was saved without its CTC head: match a transcription in its place")
        if len(self._waiting) >= self._places:
            raise EngineBusy(f"{self._places} answers are being aligned: try again later")
        self._waiting.append((id, Alignment(self._encoder, text, pcm, self._device)))

    def advance(self) -> None:
        """Listen to one chunk of the oldest."""
        id, alignment = self._waiting[0]
        try:
            if alignment.advance():
                return
            self._done.append((id, alignment.heard))
        except Exception as error:
            log.error("alignment %s failed", id, exc_info=error)
            self._done.append((id, EngineError(f"what was played could not be heard ({type(error).__name__}: {error})")))
        self._waiting.popleft()

    def results(self) -> list[tuple[str, int | OmniError]]:
        """Those that have ended since the last call: how many characters were heard, or what went wrong."""
        done, self._done = self._done, []
        return done

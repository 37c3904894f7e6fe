"""Turns that are encoded while they are spoken: audio in as it comes, the features of any beginning of it out.

Of a chunk-causal encoder (`encoders.chunked`) each chunk is encoded once, as soon as it is complete, and the state after it is kept: a prompt
may end anywhere in what was said, and only what lies behind its last whole chunk is encoded for it. Other encoders hear the turn at once, when
a prompt asks. Both give what encoding that much audio at once gives.
"""

from __future__ import annotations

import logging
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.audio import resample
from omni_core.encoders.base import AudioEncoder
from omni_core.encoders.chunked import FEATURE_SAMPLES, ChunkedEncoder, EncoderStream
from omni_core.engine.request import SAMPLE_RATE
from omni_core.errors import EngineBusy, EngineError, TaskError

log = logging.getLogger(__name__)

_FILTER = 480  # samples that the resampler may look at on either side of one: it looks at 140
_BACK = 32  # chunks, 10 s: how far before the newest one a prompt may end without the whole turn being encoded for it


class Turn:
    """One turn's audio and what is known of it. Not thread-safe."""

    def __init__(self, encoder: AudioEncoder, device: torch.device) -> None:
        self._encoder, self._device = encoder, device
        self._audio = np.empty(8 * SAMPLE_RATE, np.float32)
        self.pushed = 0  #: samples
        self._features: list[Tensor] = []  # by chunk
        self._streams: deque[EncoderStream] = deque(maxlen=_BACK + 1)  # the last is where the next chunk begins, those before it one chunk less each
        self._chunk = 0  # samples; 0: this encoder has no chunks
        if isinstance(encoder, ChunkedEncoder):
            self._streams.append(encoder.stream())
            self._chunk = encoder.config.chunk_features * FEATURE_SAMPLES * SAMPLE_RATE // encoder.sample_rate
        self._last: tuple[int, Tensor] | None = None  # the answer and its transcript ask for the same

    def push(self, pcm: NDArray[np.float32]) -> None:
        """The next samples, at `SAMPLE_RATE`."""
        end = self.pushed + len(pcm)
        if end > len(self._audio):
            grown = np.empty(max(end, 2 * len(self._audio)), np.float32)
            grown[: self.pushed] = self._audio[: self.pushed]
            self._audio = grown
        self._audio[self.pushed : end] = pcm
        self.pushed = end

    @property
    def ready(self) -> bool:
        """A chunk is complete and not encoded."""
        return self._complete_in(self.pushed)

    def encode_chunk(self) -> None:
        """Encode the next chunk, which is complete."""
        begin = len(self._features) * self._chunk
        wave = self._wave(begin, begin + self._chunk + _FILTER)[: self._chunk * self._encoder.sample_rate // SAMPLE_RATE]
        stream = self._streams[-1].fork()
        self._features.append(stream.push(wave))
        self._streams.append(stream)

    def give_up(self) -> None:
        """Encode nothing ahead any more: who asks for features is told what is wrong."""
        self._chunk = 0

    def features(self, samples: int) -> Tensor:
        """[L, width] of the first `samples` samples. Raises what the encoder raises."""
        if self._last is None or self._last[0] != samples:
            self._last = samples, self._encode(samples)
        return self._last[1]

    def _encode(self, samples: int) -> Tensor:
        while self._complete_in(samples):
            self.encode_chunk()
        whole = max(0, min(len(self._features), (samples - _FILTER) // self._chunk)) if self._chunk else 0
        back = len(self._features) - whole
        if not whole or back >= len(self._streams):
            return self._encoder.encode(self._wave(0, samples))
        stream = self._streams[-1 - back].fork()
        return torch.cat([*self._features[:whole], stream.push(self._wave(whole * self._chunk, samples)), stream.finish()])

    def _complete_in(self, samples: int) -> bool:
        return self._chunk > 0 and (len(self._features) + 1) * self._chunk + _FILTER <= samples

    def _wave(self, begin: int, end: int) -> Tensor:
        """What was said from sample `begin`, a multiple of 3, to `end`, as the encoder takes it; sharp at the beginning, not at the end."""
        start = max(0, begin - _FILTER)
        wave = resample(self._audio[start:end], SAMPLE_RATE, self._encoder.sample_rate)
        return torch.from_numpy(wave[(begin - start) * self._encoder.sample_rate // SAMPLE_RATE :]).to(self._device)


class Turns:
    """The turns that are being spoken."""

    def __init__(self, encoder: AudioEncoder | None, device: torch.device, places: int) -> None:
        self._encoder, self._device, self._places = encoder, device, places
        self._open: dict[str, Turn] = {}

    @property
    def waiting(self) -> bool:
        """A chunk can be encoded."""
        return any(turn.ready for turn in self._open.values())

    def open(self, id: str) -> None:
        """A turn begins. Raises TaskError without an audio encoder, EngineBusy when too many are open."""
        if self._encoder is None:
            raise TaskError("the model was loaded without an audio encoder: it can't hear")
        if id in self._open:
            raise EngineError(f"turn {id!r} is open already: use a new id for each")
        if len(self._open) >= self._places:
            raise EngineBusy(f"{self._places} turns are being heard: close one first, or send the audio with the request")
        self._open[id] = Turn(self._encoder, self._device)

    def push(self, id: str, pcm: NDArray[np.float32]) -> None:
        """More of a turn that is open; of others nothing is heard."""
        if id in self._open:
            self._open[id].push(pcm)

    def close(self, id: str) -> None:
        """Forget a turn; a response that was submitted for it keeps it. An id that is unknown is fine."""
        self._open.pop(id, None)

    def find(self, id: str) -> Turn | None:
        """The turn, if it is open."""
        return self._open.get(id)

    def encode_next(self) -> None:
        """Encode one chunk, of each turn in its turn."""
        id = next((id for id, turn in self._open.items() if turn.ready), None)
        if id is None:
            return
        turn = self._open[id] = self._open.pop(id)  # to the end of the line
        try:
            turn.encode_chunk()
        except Exception as error:
            log.error("turn %s can't be encoded ahead", id, exc_info=error)
            turn.give_up()

"""What is measured in sounds: where speech begins and ends, and which words were heard.

Waves are float32 mono [N] at 24 kHz. Speech lasts from its first to its last sample above -40 dB of its peak; `Aligner`, pocketsphinx's forced
alignment, gives every word its time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from clients.errors import ClientError
from clients.python.audio import RATE, Wave, edges

_EAR_RATE = 16_000  # Hz, of pocketsphinx's model
_EAR_FRAMES_PER_S = 100


@dataclass(frozen=True, eq=False)
class Speech:
    """Something said, and its words where they matter."""

    text: str
    wave: Wave
    onset: int  #: sample
    end: int  #: sample after the last one

    @classmethod
    def of(cls, text: str, wave: Wave) -> Speech:
        """Finds its edges. ClientError for silence."""
        found = edges(wave)
        if found is None:
            raise ClientError(f"{text!r}: there is no sound in it")
        return cls(text, wave, *found)


@dataclass(frozen=True)
class Word:
    """A word of an answer, s from the answer's first sample."""

    begin: float
    end: float


class Aligner:
    """pocketsphinx with its bundled English model. ClientError where it is not installed."""

    def __init__(self) -> None:
        try:
            import pocketsphinx
        except ImportError as error:
            raise ClientError("pocketsphinx is not installed: pip install 'omni-duplex[train]'") from error
        self._decoder: Any = pocketsphinx.Decoder(samprate=_EAR_RATE, loglevel="FATAL", lm=None, bestpath=False)

    def words(self, text: str, wave: Wave) -> list[Word] | None:
        """When each word of `text` is said in `wave`; a word is what stands between blanks.

        None: a word is not in the dictionary, or the sounds don't fit the words.
        """
        spelt = [re.findall(r"[a-z']+", token.lower().replace("’", "'")) for token in text.split()]
        words = [word for token in spelt for word in token]
        if not words or not all(spelt) or any(self._decoder.lookup_word(word) is None for word in words):
            return None
        pcm = (np.clip(soxr.resample(wave, RATE, _EAR_RATE), -1, 1) * 32767).astype(np.int16)
        self._decoder.reinit_feat()
        self._decoder.set_align_text(" ".join(words))
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        if self._decoder.hyp() is None:
            return None
        found = [segment for segment in self._decoder.seg() if re.match(r"[a-z']", segment.word)]
        if len(found) != len(words):
            return None
        times = iter(found)
        spans = [[next(times) for _ in token] for token in spelt]
        return [Word(span[0].start_frame / _EAR_FRAMES_PER_S, (span[-1].end_frame + 1) / _EAR_FRAMES_PER_S) for span in spans]


def words_heard(words: Sequence[Word], seconds: float) -> int:
    """How many of the words had been heard to their end after so long."""
    return sum(word.end <= seconds for word in words)

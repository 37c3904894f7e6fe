"""Metrics: word and character error rate, an independent ear (pocketsphinx), STOI and PESQ.

pocketsphinx, pystoi and pesq come with the `train` extra and are imported when first needed; without them the functions that need them raise
MissingExtra.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni_core.audio import resample
from omni_core.errors import OmniError

_EAR_RATE = 16_000  #: pocketsphinx's model and wide-band PESQ work at this rate
_CLIPS_PER_WORKER = 10  #: fewer are heard sooner than a process has started
_CLOSE_WORDS, _CLOSE_CHARACTERS = 0.2, 0.1  #: error rates up to which an answer counts as nearly right


class MissingExtra(OmniError):
    """A library of the extra `train` is not installed."""


_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def normalise(text: str) -> list[str]:
    """Lower-case words without punctuation; apostrophes stay, whole numbers become words."""
    spelt = re.sub(r"\d+", lambda found: f" {_spell(int(found.group()))} ", text.lower().replace("’", "'"))
    return re.findall(r"[a-z']+", spelt)


def _spell(number: int) -> str:
    """A whole number in words, below a million."""
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            return f"{_spell(number // size)} {name} {_spell(number % size) if number % size else ''}"
    if number < len(_ONES):
        return _ONES[number]
    return f"{_TENS[number // 10]} {_ONES[number % 10] if number % 10 else ''}"


def same_words(a: str, b: str) -> bool:
    """Whether two texts say the same words."""
    return normalise(a) == normalise(b)


def close_words(expected: str, answered: str) -> bool:
    """Whether `answered` is nearly `expected`: at most 20 % word errors, or 10 % character errors."""
    return word_errors(expected, answered).rate <= _CLOSE_WORDS or character_errors(expected, answered).rate <= _CLOSE_CHARACTERS


@dataclass(frozen=True)
class ErrorCount:
    """Edits against a reference; adds up over utterances."""

    errors: int  #: substitutions + deletions + insertions
    words: int  #: words of the reference

    @property
    def rate(self) -> float:
        """Errors per reference word."""
        return self.errors / max(self.words, 1)


def word_errors(reference: str, hypothesis: str) -> ErrorCount:
    """Levenshtein distance over normalised words."""
    return edits(normalise(reference), normalise(hypothesis))


def character_errors(reference: str, hypothesis: str) -> ErrorCount:
    """Levenshtein distance over the characters of normalised words, the spaces between them included."""
    return edits(" ".join(normalise(reference)), " ".join(normalise(hypothesis)))


def edits(reference: Sequence[Any], hypothesis: Sequence[Any]) -> ErrorCount:
    """Levenshtein distance over any sequences."""
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, heard in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(diagonal + (expected != heard), row[j] + 1, row[j - 1] + 1)
    return ErrorCount(row[-1], len(reference))


def substitutions(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """The words of `reference` that became another in `hypothesis`, with that other, along one cheapest alignment."""
    a, b = normalise(reference), normalise(hypothesis)
    cost = np.zeros((len(a) + 1, len(b) + 1), np.int64)  # [i, j]: edits from the first i words to the first j
    cost[:, 0], cost[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i, expected in enumerate(a, 1):
        for j, heard in enumerate(b, 1):
            cost[i, j] = min(cost[i - 1, j - 1] + (expected != heard), cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    i, j, found = len(a), len(b), []
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + (a[i - 1] != b[j - 1]):
            i, j = i - 1, j - 1
            if a[i] != b[j]:
                found.append((a[i], b[j]))
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return found[::-1]


def total(counts: Sequence[ErrorCount]) -> ErrorCount:
    """The corpus-level count."""
    return ErrorCount(sum(c.errors for c in counts), sum(c.words for c in counts))


@lru_cache(maxsize=1)
def _ear() -> Any:
    return _extra("pocketsphinx").Decoder(samprate=_EAR_RATE, loglevel="FATAL")


def transcribe(wave: NDArray[np.float32], sample_rate: int) -> str:
    """What pocketsphinx's bundled English model hears in `wave` [N]."""
    padded = np.pad(resample(wave, sample_rate, _EAR_RATE), int(0.3 * _EAR_RATE))
    pcm = (np.clip(padded, -1, 1) * 32767).astype(np.int16)
    ear = _ear()
    ear.reinit_feat()  # its idea of the noise starts afresh, so that the order of clips does not matter
    ear.start_utt()
    ear.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
    ear.end_utt()
    heard = ear.hyp()
    return heard.hypstr if heard else ""


def transcribe_all(clips: Sequence[tuple[NDArray[np.float32], int]]) -> Iterator[str]:
    """`transcribe` of every (wave, rate), in order, on all cores where there are more than a few."""
    _extra("pocketsphinx")
    workers = min(len(os.sched_getaffinity(0)), len(clips) // _CLIPS_PER_WORKER)
    if workers < 2:
        yield from (transcribe(*clip) for clip in clips)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(transcribe, *zip(*clips, strict=True))


def stoi(clean: NDArray[np.float32], degraded: NDArray[np.float32], sample_rate: int) -> float:
    """Short-time objective intelligibility, 0..1 (Taal 2011)."""
    measure = _extra("pystoi").stoi
    n = min(len(clean), len(degraded))
    return float(measure(clean[:n], degraded[:n], sample_rate))


def pesq(clean: NDArray[np.float32], degraded: NDArray[np.float32], sample_rate: int) -> float:
    """Wide-band PESQ (ITU-T P.862.2), about 1..4.6."""
    measure = _extra("pesq").pesq
    a, b = (resample(w, sample_rate, _EAR_RATE) for w in (clean, degraded))
    n = min(len(a), len(b))
    return float(measure(_EAR_RATE, a[:n], b[:n], "wb"))


def _extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(f"{name} is not installed: pip install 'omni-duplex[train]'") from error

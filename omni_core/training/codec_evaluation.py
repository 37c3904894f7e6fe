"""How well a codec's speech is understood: word error rate of pocketsphinx's English model, STOI and PESQ.

pocketsphinx, pystoi and pesq are extras and imported only here, when used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

from omni_core.codec.base import SAMPLE_RATE, Codec


@dataclass(frozen=True)
class CodecQuality:
    """Means over the clips; word error rates are errors over words of all clips together."""

    wer: float  #: heard by pocketsphinx in the codec's output
    wer_original: float  #: heard by it in the original
    wer_between: float  #: of the output's transcript against the original's
    stoi: float  #: 0 .. 1
    pesq: float  #: wide band, 1 .. 4.64

    def __str__(self) -> str:
        ratio = self.wer / max(self.wer_original, 1e-9)
        return (f"WER {100 * self.wer:.1f} % (original {100 * self.wer_original:.1f} %, {ratio:.2f}x; against the original's transcript "
                f"{100 * self.wer_between:.1f} %), STOI {self.stoi:.3f}, PESQ {self.pesq:.2f}")


def evaluate(codec: Codec, waves: Sequence[np.ndarray], texts: Sequence[str]) -> CodecQuality:
    """Pass each wave ([N] float32, 24 kHz) through the codec and compare it with the wave and with its text."""
    from pesq import NoUtterancesError, pesq
    from pystoi import stoi

    decoder = _ear()
    errors, words, errors_original, errors_between, words_original = 0, 0, 0, 0, 0
    stois, pesqs = [], []
    for wave, text in zip(waves, texts, strict=True):
        output = codec.decode(codec.encode(torch.from_numpy(wave))).numpy()[:len(wave)]
        original, coded = (soxr.resample(w, SAMPLE_RATE, 16000) for w in (wave, output))
        stois.append(stoi(original, coded, 16000))
        try:
            pesqs.append(pesq(16000, original, coded, "wb"))
        except NoUtterancesError:
            pesqs.append(1.0)
        spoken, heard, heard_original = words_of(text), transcribe(decoder, coded), transcribe(decoder, original)
        errors, errors_original, words = errors + distance(spoken, heard), errors_original + distance(spoken, heard_original), words + len(spoken)
        errors_between, words_original = errors_between + distance(heard_original, heard), words_original + len(heard_original)
    between = errors_between / max(1, words_original)
    return CodecQuality(errors / words, errors_original / words, between, float(np.mean(stois)), float(np.mean(pesqs)))


def read_held_out(folder: Path, limit: int | None = None) -> tuple[list[np.ndarray], list[str]]:
    """Waves [N] float32 at 24 kHz and texts of a folder that holds 000.wav, 001.wav ... and texts.json."""
    texts = json.loads((folder / "texts.json").read_text())[:limit]
    return [soundfile.read(folder / f"{n:03d}.wav", dtype="float32")[0] for n in range(len(texts))], texts


def _ear() -> Any:
    from pocketsphinx import Config, Decoder

    return Decoder(Config(loglevel="FATAL"))


def transcribe(decoder: Any, wave: np.ndarray) -> list[str]:
    """The words that pocketsphinx hears in [N] float32 at 16 kHz. Its noise and cepstral state starts afresh, so order doesn't matter."""
    padded = np.pad(wave, 4800)
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw((padded * 32767).clip(-32768, 32767).astype(np.int16).tobytes(), no_search=False, full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return words_of(hypothesis.hypstr) if hypothesis else []


_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation, whole numbers in words."""
    text = re.sub(r"\d+", lambda m: " " + " ".join(_number(int(m.group()))) + " ", text.lower())
    return re.findall(r"[a-z']+", text)


def _number(n: int) -> list[str]:
    if n >= 1000:
        return [*_number(n // 1000), "thousand", *(_number(n % 1000) if n % 1000 else [])]
    if n >= 100:
        return [_ONES[n // 100], "hundred", *(_number(n % 100) if n % 100 else [])]
    if n >= 20:
        return [_TENS[n // 10], *([_ONES[n % 10]] if n % 10 else [])]
    return [_ONES[n]]


def distance(want: Sequence[str], got: Sequence[str]) -> int:
    """Word errors: the least substitutions, deletions and insertions that make `got` of `want`."""
    row = list(range(len(got) + 1))
    for i, word in enumerate(want, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (word != other))
    return row[-1]

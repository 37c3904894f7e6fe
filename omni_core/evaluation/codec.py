"""How well a codec's speech is understood, and how near it is to the original."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from omni_core.audio import read_audio
from omni_core.codec.base import SAMPLE_RATE, Codec
from omni_core.errors import InputError
from omni_core.metrics import pesq, stoi, total, transcribe, word_errors


@dataclass(frozen=True)
class CodecQuality:
    """Means over the clips; word error rates are errors over words of all clips together."""

    clips: int
    wer: float  #: heard by pocketsphinx in the codec's output
    wer_original: float  #: heard by it in the original
    stoi: float  #: 0 .. 1
    pesq: float  #: wide band, 1 .. 4.64


def measure(codec: Codec, waves: Sequence[NDArray[np.float32]], texts: Sequence[str]) -> CodecQuality:
    """Pass each wave [N] at 24 kHz through the codec; compare it with the wave and with its text."""
    coded = [codec.decode(codec.encode(torch.from_numpy(wave))).numpy()[: len(wave)] for wave in waves]
    return CodecQuality(
        clips=len(waves),
        wer=total([word_errors(text, transcribe(wave, SAMPLE_RATE)) for text, wave in zip(texts, coded, strict=True)]).rate,
        wer_original=total([word_errors(text, transcribe(wave, SAMPLE_RATE)) for text, wave in zip(texts, waves, strict=True)]).rate,
        stoi=float(np.mean([stoi(wave, other, SAMPLE_RATE) for wave, other in zip(waves, coded, strict=True)])),
        pesq=float(np.mean([pesq(wave, other, SAMPLE_RATE) for wave, other in zip(waves, coded, strict=True)])),
    )


def read_held_out(folder: Path) -> tuple[list[NDArray[np.float32]], list[str]]:
    """Waves at 24 kHz and texts of a folder that `omni data codec` made (000.wav, 001.wav ... and texts.json). InputError if it is not there."""
    if not (folder / "texts.json").is_file():
        raise InputError(f"{folder}: no held-out sentences there; make them with `omni data codec`")
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    return [read_audio(folder / f"{n:03d}.wav")[0] for n in range(len(texts))], texts

"""How well a codec's speech is understood, how near it is to the original, and how many of its codes it uses. Owns the suite `codec`."""

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
from omni_core.codec.frames import unpack_frames
from omni_core.errors import DataError
from omni_core.evaluation.asking import Track, silent
from omni_core.evaluation.results import Bars, Clip, Figure, Sample, Suite, Table
from omni_core.evaluation.targets import Unit
from omni_core.metrics import normalise, pesq, stoi, total, transcribe, transcribe_all, word_errors

_SAMPLES = 2


@dataclass(frozen=True)
class CodeUsage:
    """How the codes of one level were used."""

    level: int  #: 1 is the coarsest
    used: int  #: different codes that occurred
    of: int  #: codes there are
    perplexity: float  #: as many equally frequent codes would carry as much


@dataclass(frozen=True)
class CodecQuality:
    """Means over the clips; word error rates are errors over words of all clips together."""

    clips: int
    wer: float  #: heard by pocketsphinx in the codec's output
    wer_original: float  #: heard by it in the original
    stoi: float  #: 0 .. 1
    pesq: float  #: wide band, 1 .. 4.64
    usage: tuple[CodeUsage, ...]  #: of each level


def measure(codec: Codec, waves: Sequence[NDArray[np.float32]], texts: Sequence[str], track: Track = silent) -> CodecQuality:
    """Pass each wave [N] at 24 kHz through the codec; compare it with the wave and with its text. Raises MissingExtra without the extra `train`."""
    frames = [codec.encode(torch.from_numpy(wave)) for wave in waves]
    coded = [codec.decode(each).cpu().numpy()[: len(wave)] for each, wave in zip(frames, waves, strict=True)]
    clips = [(wave, SAMPLE_RATE) for wave in (*coded, *waves)]
    heard = list(track(transcribe_all(clips), len(clips), "listening to the codec"))
    errors = [word_errors(text, words) for text, words in zip((*texts, *texts), heard, strict=True)]
    return CodecQuality(
        clips=len(waves),
        wer=total(errors[: len(waves)]).rate,
        wer_original=total(errors[len(waves) :]).rate,
        stoi=float(np.mean([stoi(wave, other, SAMPLE_RATE) for wave, other in zip(waves, coded, strict=True)])),
        pesq=float(np.mean([pesq(wave, other, SAMPLE_RATE) for wave, other in zip(waves, coded, strict=True)])),
        usage=code_usage(torch.cat(frames), codec.codes),
    )


def code_usage(frames: torch.Tensor, codes: int) -> tuple[CodeUsage, ...]:
    """Of frames [F, 7], level by level."""
    usage = []
    for level, ids in enumerate(unpack_frames(frames.cpu()), 1):
        counts = torch.bincount(ids.flatten(), minlength=codes).double()
        frequent = counts[counts > 0] / counts.sum()
        usage.append(CodeUsage(level, len(frequent), codes, float(torch.exp(-(frequent * frequent.log()).sum()))))
    return tuple(usage)


def read_held_out(folder: Path) -> tuple[list[NDArray[np.float32]], list[str]]:
    """Waves at 24 kHz and texts of a folder that `omni data codec` made (000.wav, 001.wav ... and texts.json). DataError if it is not there."""
    if not (folder / "texts.json").is_file():
        raise DataError(f"{folder}: no held-out sentences there; make them with `omni data codec`")
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    return [read_audio(folder / f"{n:03d}.wav")[0] for n in range(len(texts))], texts


def run(codec: Codec, folder: Path, limit: int | None, track: Track, *, listenable: bool) -> Suite:
    """Measure on the first `limit` sentences of `folder`; `listenable` adds samples. Raises DataError or MissingExtra."""
    waves, texts = read_held_out(folder)
    waves, texts = waves[:limit], texts[:limit]
    quality = measure(codec, waves, texts, track)
    words = sum(len(normalise(text)) for text in texts)
    figures = [
        Figure("codec.stoi", quality.stoi, quality.clips, "sentences", Unit.NUMBER),
        Figure("codec.pesq", quality.pesq, quality.clips, "sentences", Unit.NUMBER),
        Figure("codec.wer", quality.wer, words, "words"),
        Figure("codec.original_wer", quality.wer_original, words, "words"),
    ]
    for level in quality.usage:
        figures.append(Figure(f"codec.codes.level_{level.level}", level.used, level.of, "codes", Unit.NUMBER))
        figures.append(Figure(f"codec.perplexity.level_{level.level}", level.perplexity, level.of, "codes", Unit.NUMBER))
    rows = tuple((f"level {level.level}", level.used, level.of, level.used / level.of, level.perplexity) for level in quality.usage)
    units = (None, Unit.NUMBER, Unit.NUMBER, Unit.SHARE, Unit.NUMBER)
    shares = tuple((f"level {level.level}", (level.used / level.of, level.perplexity / level.of)) for level in quality.usage)
    return Suite(
        name="codec",
        title="Codec",
        about="Held-out sentences of the answering voice, coded and decoded. STOI and PESQ compare with the original, word errors with the text.",
        figures=tuple(figures),
        tables=(Table("Codes used", ("level", "used", "of", "share", "perplexity"), rows, units),),
        plots=(Bars("Codes used, and their perplexity, of all codes", ("used", "perplexity"), shares),),
        samples=tuple(_sample(codec, wave, text) for wave, text in zip(waves[:_SAMPLES], texts, strict=False)) if listenable else (),
    )


def _sample(codec: Codec, wave: NDArray[np.float32], text: str) -> Sample:
    coded = codec.decode(codec.encode(torch.from_numpy(wave))).cpu().numpy()[: len(wave)]
    heard = transcribe(coded, SAMPLE_RATE)
    clips = (Clip("coded", coded, SAMPLE_RATE), Clip("original", wave, SAMPLE_RATE))
    return Sample("codec", asked="", expected=text, answered=f"heard: {heard}", right=not word_errors(text, heard).errors, clips=clips)

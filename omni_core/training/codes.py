"""Answers as codes: made once by a frozen codec, kept beside the speech."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from omni_core.codec import Codec
from omni_core.datagen.answers import AnswerSet


def answer_codes(answers: AnswerSet, codec: Codec, folder: Path) -> dict[str, NDArray[np.uint16]]:
    """Codes [F, 7] of every answer, by its text.

    Kept in `folder` in a file named after what the codec makes of a test signal, so that another codec makes its own.
    """
    path = folder / f"codes-{_fingerprint(codec)}.npz"
    known: dict[str, NDArray[np.uint16]] = {}
    if path.is_file():
        with np.load(path) as kept:
            ends, codes = kept["ends"], kept["codes"]
            known = dict(zip(kept["texts"].tolist(), np.split(codes, ends[:-1]), strict=True))
    missing = [text for text in answers.texts if text not in known]
    if missing:
        for text in tqdm(missing, desc="answers into codes", unit="answer", dynamic_ncols=True):
            known[text] = codec.encode(torch.from_numpy(answers.wave(text))).cpu().numpy().astype(np.uint16)
        _write(path, known)
    return {text: known[text] for text in answers.texts}


def _write(path: Path, known: dict[str, NDArray[np.uint16]]) -> None:
    part = path.with_suffix(".part.npz")
    frames = list(known.values())
    np.savez(part, texts=np.array(list(known)), codes=np.concatenate(frames), ends=np.cumsum([len(codes) for codes in frames]))
    os.replace(part, path)


def _fingerprint(codec: Codec) -> str:
    noise = np.random.default_rng(0).standard_normal(2 * codec.sample_rate).astype(np.float32) * 0.1
    return hashlib.sha256(codec.encode(torch.from_numpy(noise)).cpu().numpy().astype(np.uint16).tobytes()).hexdigest()[:12]

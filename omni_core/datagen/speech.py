"""Sets of spoken clips on disk: open sentences, dialogue questions, a held-out set, and nano's answers.

Owns the format: a part is `NAME-00000.npy` (int16 samples of all its clips, 16 kHz, one after another, read by mmap) and
`NAME-00000.jsonl`, a row a clip: `text`, `dialogue` (id or null), `voice` (all its settings), `start`, `samples`. A part is
complete when its .jsonl exists, so a training run may read the folder while it grows, and an interrupted `run` goes on.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from omni_core.datagen import voices
from omni_core.datagen.sentences import load_dialogues, open_sentence
from omni_core.datagen.synthesis import SAMPLE_RATE, speak, speak_all
from omni_core.datagen.voices import Voice

OPEN, QUESTIONS = "open", "questions"
HELD_OUT_ESPEAK, HELD_OUT_FLITE = "heldout-espeak", "heldout-flite"
ANSWER_RATE = 24_000

Job = tuple[str, str | None, Voice]  # text, dialogue id, settled voice


@dataclass(frozen=True)
class SpeechConfig:
    """What `run` makes."""

    folder: str = "data"  #: gets `speech/` and `answers/`
    open_clips: int = 20_000
    takes: int = 100  #: training clips of each wording of each question
    held_out_clips: int = 200  #: of each held-out group; half open sentences, half canonical questions
    part_clips: int = 1000
    flite_share: float = 0.28  #: flite has few training voices and another sound, so it is heard more often than its number says
    seed: int = 1


class SpeechSet:
    """The complete parts of one set in a folder. `len`, `rows`, and `wave(index)` -> float32 [N] at 16 kHz."""

    def __init__(self, folder: str | Path, name: str) -> None:
        self.folder, self.name = Path(folder), name
        self.rows: list[dict[str, Any]] = []
        self._parts: list[np.ndarray] = []
        self._known: set[str] = set()
        self.refresh()

    def refresh(self) -> int:
        """Take in parts that were completed meanwhile; returns the number of clips."""
        for manifest in sorted(self.folder.glob(f"{self.name}-[0-9]*.jsonl")):
            if manifest.name not in self._known:
                self._known.add(manifest.name)
                lines = manifest.read_text(encoding="utf-8").splitlines()
                self.rows.extend(json.loads(line) | {"part": len(self._parts)} for line in lines)
                self._parts.append(np.load(manifest.with_suffix(".npy"), mmap_mode="r"))
        return len(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def wave(self, index: int) -> np.ndarray:
        row = self.rows[index]
        samples = self._parts[row["part"]][row["start"] : row["start"] + row["samples"]]
        return samples.astype(np.float32) / 32768


def run(config: SpeechConfig) -> None:
    """Make every set of `config` that isn't there yet. About 40 clips a second and core. Raises SynthesisError."""
    speech = Path(config.folder) / "speech"
    write_answers(Path(config.folder) / "answers")
    for name, pool in ((HELD_OUT_ESPEAK, voices.EVALUATION_ESPEAK_VOICES), (HELD_OUT_FLITE, voices.EVALUATION_FLITE_VOICES)):
        _write_part(speech, name, 0, _held_out_jobs(config, pool))
    open_parts, question_parts = _parts(config.open_clips, config), _parts(len(_question_list(config)), config)
    for part in range(max(len(open_parts), len(question_parts))):  # in turn, so that training may start on the first of each
        if part < len(open_parts):
            _write_part(speech, OPEN, part, _open_jobs(config, part, len(open_parts[part])))
        if part < len(question_parts):
            _write_part(speech, QUESTIONS, part, _question_jobs(config, part, question_parts[part]))


def write_answers(folder: Path) -> None:
    """Every dialogue's answer by nano's own voice: `ID.flac` (24 kHz mono) and `manifest.jsonl` with `id`, `text`, `audio`, `samples`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for dialogue in load_dialogues():
        wave = soxr.resample(speak(dialogue.answer, voices.ANSWER_VOICE), SAMPLE_RATE, ANSWER_RATE)
        soundfile.write(folder / f"{dialogue.id}.flac", wave, ANSWER_RATE)
        rows.append({"id": dialogue.id, "text": dialogue.answer, "audio": f"{dialogue.id}.flac", "samples": len(wave)})
    _write_lines(folder / "manifest.jsonl", rows)


def training_voice(rng: np.random.Generator, flite_share: float) -> Voice:
    """A training voice with its settings drawn; flite's with probability `flite_share`."""
    pool = voices.TRAIN_FLITE_VOICES if rng.random() < flite_share else voices.TRAIN_ESPEAK_VOICES
    return pool[rng.integers(len(pool))].settled(rng)


def _parts(clips: int, config: SpeechConfig) -> list[range]:
    return [range(start, min(start + config.part_clips, clips)) for start in range(0, clips, config.part_clips)]


def _question_list(config: SpeechConfig) -> list[tuple[str, str]]:
    """(text, dialogue id) of every take, shuffled so that each part holds every question."""
    takes = [(text, dialogue.id) for dialogue in load_dialogues() for text in dialogue.wordings for _ in range(config.takes)]
    order = np.random.default_rng(config.seed).permutation(len(takes))
    return [takes[index] for index in order]


def _open_jobs(config: SpeechConfig, part: int, clips: int) -> Iterator[Job]:
    rng = np.random.default_rng((config.seed, 1, part))
    for _ in range(clips):
        yield open_sentence(rng), None, training_voice(rng, config.flite_share)


def _question_jobs(config: SpeechConfig, part: int, takes: range) -> Iterator[Job]:
    rng = np.random.default_rng((config.seed, 2, part))
    questions = _question_list(config)
    for index in takes:
        yield *questions[index], training_voice(rng, config.flite_share)


def _held_out_jobs(config: SpeechConfig, pool: tuple[Voice, ...]) -> Iterator[Job]:
    rng = np.random.default_rng((config.seed, 3))
    dialogues = load_dialogues()
    for index in range(config.held_out_clips):
        voice = pool[index // 2 % len(pool)].settled(rng)
        dialogue = dialogues[index // 2 % len(dialogues)]
        yield (dialogue.question, dialogue.id, voice) if index % 2 else (open_sentence(rng), None, voice)


def _write_part(folder: Path, name: str, part: int, jobs: Iterator[Job]) -> None:
    manifest = folder / f"{name}-{part:05d}.jsonl"
    if manifest.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    listed = list(jobs)
    waves = speak_all((text, voice, 0) for text, _, voice in listed)
    rows, clips, start = [], [], 0
    for (text, dialogue, voice), wave in zip(listed, tqdm(waves, total=len(listed), desc=manifest.stem, unit="clip"), strict=True):
        clips.append((wave * 32767).round().astype(np.int16))
        row = {"text": text, "dialogue": dialogue, "voice": dataclasses.asdict(voice), "start": start, "samples": len(wave)}
        rows.append(row)
        start += len(wave)
    temporary = manifest.with_suffix(".npy.tmp")
    with temporary.open("wb") as file:
        np.save(file, np.concatenate(clips))
    os.replace(temporary, manifest.with_suffix(".npy"))
    _write_lines(manifest, rows)


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    os.replace(temporary, path)

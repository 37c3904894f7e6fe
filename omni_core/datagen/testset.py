"""The test material: held-out questions in held-out voices, clean and in noise, with one manifest that `omni eval` reads.

Owns what is asked how often. Every line of `manifest.jsonl` has `skill`, `expect`, and `audio` (a file beside it) or `text` (a typed
question); where they apply `question` (the words spoken), `image`, `history` ([[question, answer], ...]), `voice`, `group`, `condition` and
`noise_seed`. The groups of voices are asked the same things; what is heard in noise is the clean clip with noise added.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image
from tqdm import tqdm

from omni_core.datagen import augment, speech, voices
from omni_core.datagen.exchange import Exchange, Split
from omni_core.datagen.sentences import load_dialogues, open_sentence
from omni_core.datagen.shards import replace_text
from omni_core.datagen.skills import SKILLS
from omni_core.datagen.speech import OPEN, TALK, UNCLEAR, Job
from omni_core.datagen.synthesis import SAMPLE_RATE
from omni_core.datagen.voices import Voice
from omni_core.errors import DataError

#: Spoken questions of each skill, for each group of voices and each condition; of `talk`, every dialogue once.
COUNTS = {"sums": 150, "repeat": 60, "memory": 120, "pictures": 120, UNCLEAR: 30, OPEN: 150}
TYPED_PICTURES = 150
GROUPS = {"espeak": voices.EVALUATION_ESPEAK_VOICES, "flite": voices.EVALUATION_FLITE_VOICES}
CLEAN, NOISY = "clean", "10 dB"
NOISE_DB = 10.0
NOISE_SEEDS = (0, 1, 2)
_TALKERS = 16


@dataclass(frozen=True)
class _Clip:
    """One spoken clip, to be written clean and in noise."""

    number: int
    group: str
    job: Job
    row: dict[str, Any]


def make_test(folder: Path, *, scale: float = 1.0, seed: int = 1) -> Path:
    """Make all of it anew, the same every time, and return the manifest, which is written last. Raises SynthesisError and DataError."""
    asked = list(_asked(scale, seed))
    clips = [clip for place, group in enumerate(GROUPS) for clip in _clips(group, asked, len(asked) * place, seed)]
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        for name in ("audio", "images"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        typed = [_typed(folder, number, np.random.default_rng((seed, 1, number))) for number in range(_count(TYPED_PICTURES, scale))]
        _write_images(folder, asked)
        banks = _noises(pool, seed)
        written = pool.map(lambda clip: _write_clip(folder, clip, banks), clips)
        rows = [row for pair in tqdm(written, total=len(clips), desc="test", unit="clip", dynamic_ncols=True) for row in pair]
        manifest = folder / "manifest.jsonl"
        replace_text(manifest, "".join(json.dumps(row) + "\n" for row in (*rows, *typed)))
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(f"{folder}: can't be written ({error}): make room and run it again") from error
    finally:
        pool.shutdown(cancel_futures=True)
    return manifest


def _asked(scale: float, seed: int) -> Iterator[Exchange]:
    """What is asked aloud, in the order of the skills. An open sentence is an exchange without an answer."""
    dialogues = load_dialogues()
    for index in np.linspace(0, len(dialogues) - 1, _count(len(dialogues), scale)).round().astype(int):
        yield Exchange(TALK, dialogues[index].held_out, dialogues[index].answer)
    for name, count in COUNTS.items():
        rng = np.random.default_rng((seed, 0, zlib.crc32(name.encode())))
        for _ in range(_count(count, scale)):
            yield Exchange(OPEN, open_sentence(rng, Split.TEST), "") if name == OPEN else SKILLS[name].draw(rng, Split.TEST)


def _clips(group: str, asked: list[Exchange], start: int, seed: int) -> Iterator[_Clip]:
    rng = np.random.default_rng((seed, 2, len(group)))
    for place, exchange in enumerate(asked):
        voice = GROUPS[group][place % len(GROUPS[group])].settled(rng)
        yield _Clip(start + place, group, _job(exchange, voice, rng), _row(exchange, place) | {"voice": voice.name, "group": group})


def _job(exchange: Exchange, voice: Voice, rng: np.random.Generator) -> Job:
    return speech.unclear_job(rng, Split.TEST, voice) if exchange.skill == UNCLEAR else Job(exchange.question, exchange.skill, voice)


def _row(exchange: Exchange, place: int) -> dict[str, Any]:
    if exchange.skill == OPEN:
        return {"skill": OPEN, "expect": exchange.question}
    row: dict[str, Any] = {"skill": exchange.skill, "expect": exchange.answer, "question": "" if exchange.skill == UNCLEAR else exchange.question}
    if exchange.history:
        row["history"] = [[turn.question, turn.answer] for turn in exchange.history]
    if exchange.picture is not None:
        row["image"] = f"images/spoken-{place:04d}.png"
    return row


def _write_clip(folder: Path, clip: _Clip, banks: list[list[np.ndarray]]) -> list[dict[str, Any]]:
    wave = speech.make_clip(clip.job).wave
    noise_seed = NOISE_SEEDS[clip.number % len(NOISE_SEEDS)]
    rng = np.random.default_rng((noise_seed, clip.number))
    bank = banks[noise_seed]
    noisy = augment.add_noise(wave, bank[rng.integers(len(bank))], NOISE_DB, rng)
    rows = []
    noisy *= min(1.0, 0.99 / float(np.abs(noisy).max()))
    for condition, samples, more in ((CLEAN, wave, {}), (NOISY, noisy, {"noise_seed": noise_seed})):
        name = f"audio/{clip.number:05d}-{clip.group}-{clip.row['skill']}-{condition.replace(' ', '').lower()}.flac"
        soundfile.write(folder / name, samples, SAMPLE_RATE, subtype="PCM_16")
        rows.append(clip.row | {"audio": name, "condition": condition} | more)
    return rows


def _noises(pool: ThreadPoolExecutor, seed: int) -> list[list[np.ndarray]]:
    """A bank of noises for each of NOISE_SEEDS: colours, and babble of held-out voices."""
    rng = np.random.default_rng((seed, 3))
    jobs = [
        Job(open_sentence(rng, Split.TEST), OPEN, voice.settled(rng))
        for voice in (*voices.EVALUATION_ESPEAK_VOICES, *voices.EVALUATION_FLITE_VOICES)[:_TALKERS]
    ]
    talkers = [clip.wave for clip in pool.map(speech.make_clip, jobs)]
    return [augment.noise_bank(talkers, np.random.default_rng((seed, 4, noise_seed))) for noise_seed in NOISE_SEEDS]


def _typed(folder: Path, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A picture with a typed question about it."""
    exchange = SKILLS["pictures"].draw(rng, Split.TEST)
    name = f"images/typed-{number:04d}.png"
    _save(folder / name, exchange)
    return {"skill": exchange.skill, "expect": exchange.answer, "text": exchange.question, "question": exchange.question, "image": name}


def _write_images(folder: Path, asked: list[Exchange]) -> None:
    for place, exchange in enumerate(asked):
        if exchange.picture is not None:
            _save(folder / f"images/spoken-{place:04d}.png", exchange)


def _save(path: Path, exchange: Exchange) -> None:
    assert exchange.picture is not None
    Image.fromarray(exchange.picture.render()).save(path)


def _count(number: int, scale: float) -> int:
    return max(1, round(number * scale))

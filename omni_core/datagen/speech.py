"""The sets of spoken questions that training hears: open sentences, and what each skill may be asked.

Owns the sets' names and sizes, and which voice says what; where a clip lies on disk is `shards`'. A clip's row has `text` (empty: not
to be transcribed), `skill`, `voice` (all its settings) and `samples`. Its answer is drawn when an example is made (`skills`), and it is
distorted then too (`augment`).
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omni_core.datagen import augment, voices
from omni_core.datagen.exchange import Split
from omni_core.datagen.sentences import load_dialogues, open_sentence
from omni_core.datagen.shards import Clip, ShardSet, ShardWriter, split_jobs, write_all
from omni_core.datagen.skills import SKILLS
from omni_core.datagen.synthesis import SAMPLE_RATE, level, speak
from omni_core.datagen.voices import Voice
from omni_core.errors import ConfigError

OPEN, TALK, UNCLEAR = "open", "talk", "unclear"

#: Clips of each set at scale 1; of `talk`, takes of each wording.
SIZES = {OPEN: 60_000, TALK: 40, "sums": 14_000, "repeat": 8_000, "memory": 6_000, "pictures": 6_000, UNCLEAR: 1_500}

SpeechSet = ShardSet  #: read as `SpeechSet(folder, name)`: 16 kHz

PLAIN, GIBBERISH = "plain", "gibberish"
_UNINTELLIGIBLE = ("reversed", "babble", "noise", GIBBERISH)
_BABBLE_DB = -10.0
_BABBLE_TALKERS = 5
_NOISE_S = (0.5, 3.0)


@dataclass(frozen=True)
class SpeechConfig:
    """What `make_speech` makes."""

    folder: str = "data"  #: gets `speech/`
    scale: float = 1.0  #: times SIZES
    sets: tuple[str, ...] = tuple(SIZES)
    shard_clips: int = 1000
    flite_share: float = 0.28  #: flite has few training voices and another sound, so it is heard more often than its number says
    seed: int = 1
    skip_bad: bool = False  #: leave out and count what can't be spoken

    def __post_init__(self) -> None:
        if unknown := set(self.sets) - set(SIZES):
            raise ConfigError(f"unknown set {', '.join(sorted(unknown))}; there are {', '.join(SIZES)}")


@dataclass(frozen=True)
class Job:
    """One clip to be made."""

    text: str
    skill: str
    voice: Voice  #: settled
    kind: str = PLAIN  #: or what is done to it so that nobody can understand it
    seed: int = 0  #: of what is done to it


def make_speech(config: SpeechConfig) -> int:
    """Make every set of `config` that isn't there yet; returns the number of clips that were skipped. Raises SynthesisError and DataError."""
    writers = [
        ShardWriter(Path(config.folder) / "speech", name, SAMPLE_RATE, _shards(config, name), make_clip, skip_bad=config.skip_bad)
        for name in config.sets
    ]
    return write_all(writers)


def make_clip(job: Job) -> Clip:
    """Speak it."""
    row = {"text": job.text if job.kind == PLAIN else "", "skill": job.skill, "voice": dataclasses.asdict(job.voice)}
    return Clip(_wave(job), row)


def training_voice(rng: np.random.Generator, flite_share: float) -> Voice:
    """A training voice with its settings drawn; flite's with probability `flite_share`."""
    pool = voices.TRAIN_FLITE_VOICES if rng.random() < flite_share else voices.TRAIN_ESPEAK_VOICES
    return pool[rng.integers(len(pool))].settled(rng)


def unclear_job(rng: np.random.Generator, split: Split, voice: Voice) -> Job:
    """A clip without meaning: speech backwards, speech under louder speech, noise, or gibberish."""
    kind = _UNINTELLIGIBLE[rng.integers(len(_UNINTELLIGIBLE))]
    text = SKILLS[UNCLEAR].spoken(rng, split) if kind == GIBBERISH else open_sentence(rng, split)
    return Job(text, UNCLEAR, voice, kind, int(rng.integers(2**31)))


def _shards(config: SpeechConfig, name: str) -> list[Sequence[Job]]:
    """The jobs of every shard of a set. A shard depends on the seed and its number, so a larger scale adds shards."""
    if name == TALK:
        texts = list(_takes(config))
        return [list(_talk_jobs(config, number, part)) for number, part in enumerate(split_jobs(texts, config.shard_clips))]
    clips = max(1, round(SIZES[name] * config.scale))
    return [list(_jobs(config, name, number, len(part))) for number, part in enumerate(split_jobs(range(clips), config.shard_clips))]


def _jobs(config: SpeechConfig, name: str, number: int, clips: int) -> Iterator[Job]:
    rng = np.random.default_rng((config.seed, zlib.crc32(name.encode()), number))
    for _ in range(clips):
        voice = training_voice(rng, config.flite_share)
        if name == UNCLEAR:
            yield unclear_job(rng, Split.TRAIN, voice)
        else:
            yield Job(open_sentence(rng) if name == OPEN else SKILLS[name].spoken(rng, Split.TRAIN), name, voice)


def _takes(config: SpeechConfig) -> Iterator[str]:
    """Every training wording of every dialogue, once in each take, shuffled."""
    wordings = [text for dialogue in load_dialogues() for text in dialogue.wordings]
    for take in range(max(1, round(SIZES[TALK] * config.scale))):
        for index in np.random.default_rng((config.seed, take)).permutation(len(wordings)):
            yield wordings[index]


def _talk_jobs(config: SpeechConfig, number: int, texts: Sequence[str]) -> Iterator[Job]:
    rng = np.random.default_rng((config.seed, zlib.crc32(TALK.encode()), number))
    for text in texts:
        yield Job(text, TALK, training_voice(rng, config.flite_share))


def _wave(job: Job) -> np.ndarray:
    rng = np.random.default_rng(job.seed)
    if job.kind == "noise":
        samples = int(rng.uniform(*_NOISE_S) * SAMPLE_RATE)
        return level(augment.coloured_noise(samples, rng.uniform(0, 2), rng))
    wave = speak(job.text, job.voice)
    if job.kind == "reversed":
        return wave[::-1].copy()
    if job.kind == "babble":
        pool = [voice for voice in voices.TRAIN_ESPEAK_VOICES if voice.speaker != job.voice.speaker]
        if job.voice in voices.EVALUATION_VOICES:
            pool = list(voices.EVALUATION_ESPEAK_VOICES)
        talkers = [speak(open_sentence(rng), pool[rng.integers(len(pool))].settled(rng)) for _ in range(_BABBLE_TALKERS)]
        return level(augment.add_noise(wave, augment.babble(talkers, len(wave), rng), _BABBLE_DB, rng))
    return wave

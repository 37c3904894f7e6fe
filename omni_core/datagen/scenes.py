"""What interruption scenes are made of, and the scenes themselves, on disk.

Owns the sets' names and sizes. `FOLDER/speech` gets phrases (16 kHz): `commands`, `near-misses`, and for each split's test counterpart `NAME-test` in
held-out voices, with `others-test`, sentences for their beds (training takes those of `open`). `FOLDER/scenes` gets scenes (24 kHz), whose rows hold
`irq_at` (s or null), `near_misses` ([text, end in s] each), `bed` and `echo_db`.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from omni_core.datagen import voices
from omni_core.datagen.answers import AnswerSet
from omni_core.datagen.exchange import Split
from omni_core.datagen.interruptions import SAMPLE_RATE, Material, SceneConfig, draw_scene, holds_command
from omni_core.datagen.sentences import open_sentence
from omni_core.datagen.shards import Clip, ShardSet, ShardWriter, split_jobs, write_all
from omni_core.datagen.speech import OPEN, Job, make_clip, training_voice
from omni_core.datagen.synthesis import SAMPLE_RATE as CLIP_RATE
from omni_core.datagen.voices import Voice
from omni_core.errors import ConfigError, DataError

COMMANDS, NEAR_MISSES, OTHERS, SCENES = "commands", "near-misses", "others", "scenes"
SIZES = {
    Split.TRAIN: {COMMANDS: 9000, NEAR_MISSES: 6000},
    Split.TEST: {COMMANDS: 400, NEAR_MISSES: 480, OTHERS: 800},
}
#: What training stores: short scenes, so that commands are many; sequences join them (`training.listening`).
TRAINING_SCENES = SceneConfig(seconds=(4.0, 10.0), command_share=0.6, near_misses=3, warp=0.12, tilt_db=12.0)
_FLITE_SHARE = 0.35
_SHARD_CLIPS, _SHARD_SCENES = 500, 100


@dataclass(frozen=True)
class Phrases:
    """`skills/interruptions.yaml`."""

    commands: tuple[str, ...]
    near_misses: tuple[str, ...]
    held_out_near_misses: tuple[str, ...]


@functools.cache
def phrases(path: Path = Path(__file__).parent / "skills" / "interruptions.yaml") -> Phrases:
    """Read the file. ConfigError when a list is missing, or a near miss holds the command."""
    lists = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = [field.name for field in dataclasses.fields(Phrases)]
    if not isinstance(lists, dict) or set(lists) != set(names) or not all(lists.values()):
        raise ConfigError(f"{path.name}: needs exactly the lists {', '.join(names)}, none empty")
    for name, texts in lists.items():
        for text in texts:
            if holds_command(text) is not (name == "commands"):
                raise ConfigError(f'{path.name}, {name}: {text!r} must {"" if name == "commands" else "not "}hold "stop omni"')
    return Phrases(**{name: tuple(texts) for name, texts in lists.items()})


def make_phrases(folder: Path, scale: float = 1.0, seed: int = 1, *, skip_bad: bool = False) -> int:
    """Speak what scenes are made of, both splits, some 50 clips a second and core; what is there is kept.

    Returns the clips skipped. Raises SynthesisError and DataError.
    """
    writers = []
    for split, sizes in SIZES.items():
        for name, size in sizes.items():
            jobs = list(phrase_jobs(name, split, max(1, round(size * scale)), seed))
            shards = split_jobs(jobs, _SHARD_CLIPS)
            writers.append(ShardWriter(folder / "speech", set_name(name, split), CLIP_RATE, shards, make_clip, skip_bad=skip_bad))
    return write_all(writers)


def make_scenes(folder: Path, count: int, seed: int = 1, split: Split = Split.TRAIN, config: SceneConfig = TRAINING_SCENES) -> None:
    """Make `count` scenes from the speech and answers in `folder`, 100 to 200 times real time on one core; what is there is kept. Raises DataError.

    Many are needed: 1,500 were learned by heart in 300 steps of 6 sequences, and half of the commands in new scenes missed.
    """
    material = read_material(folder, split)
    jobs = [((seed, zlib.crc32(split.value.encode()), number), config) for number in range(count)]

    def make(job: tuple[tuple[int, ...], SceneConfig]) -> Clip:
        scene = draw_scene(np.random.default_rng(job[0]), material, job[1])
        near = [[phrase.text, phrase.end] for phrase in scene.near_misses]
        return Clip(scene.wave, {"irq_at": scene.irq_at, "near_misses": near, "bed": scene.bed, "echo_db": scene.echo_db})

    write_all([ShardWriter(folder / "scenes", set_name(SCENES, split), SAMPLE_RATE, split_jobs(jobs, _SHARD_SCENES), make)])


def read_material(folder: Path, split: Split) -> Material:
    """What scenes of `split` are made of. DataError names a set that isn't there."""
    names = (OPEN if split is Split.TRAIN else set_name(OTHERS, split), set_name(COMMANDS, split), set_name(NEAR_MISSES, split))
    talk, commands, near_misses = (ShardSet(folder / "speech", name) for name in names)
    for found in (talk, commands, near_misses):
        if not len(found):
            command = "omni data speech" if found.name == OPEN else "omni data scenes"
            raise DataError(f"{found.folder}: no clips of {found.name}: make them with `{command}`")
    return Material(talk, commands, near_misses, AnswerSet(folder / "answers"))


def set_name(name: str, split: Split) -> str:
    """Of a set on disk."""
    return name if split is Split.TRAIN else f"{name}-test"


def phrase_jobs(name: str, split: Split, count: int, seed: int) -> Iterator[Job]:
    """The first `count` clips of a set."""
    rng = np.random.default_rng((seed, zlib.crc32(set_name(name, split).encode())))
    texts = _texts(name, split)
    for number in range(count):
        text = texts[number % len(texts)] if texts else open_sentence(rng, split)
        yield Job(text, name, training_voice(rng, _FLITE_SHARE) if split is Split.TRAIN else _held_out_voice(rng))


def _texts(name: str, split: Split) -> Sequence[str]:
    """What a set says, in turn; nothing for open sentences."""
    listed = phrases()
    return {COMMANDS: listed.commands, NEAR_MISSES: listed.near_misses if split is Split.TRAIN else listed.held_out_near_misses, OTHERS: ()}[name]


def _held_out_voice(rng: np.random.Generator) -> Voice:
    """A held-out voice, espeak-ng's at any rate and pitch that training has."""
    pool = voices.EVALUATION_FLITE_VOICES if rng.random() < _FLITE_SHARE else voices.EVALUATION_ESPEAK_VOICES
    voice = pool[int(rng.integers(len(pool)))]
    return (dataclasses.replace(voice, rate=None, pitch=None) if voice.engine == voices.ESPEAK else voice).settled(rng)

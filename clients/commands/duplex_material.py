"""What `omni eval duplex` says, in voices that no model was trained on. Everything follows from the seed.

Questions come from a manifest; what is said over answers is spoken here by espeak-ng and flite, commands and near misses as `omni data scenes` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clients.commands.demo import QUESTIONS
from clients.duplex.evaluation import LEFT_S, Material
from clients.duplex.sound import Speech
from omni_core.audio import resample
from omni_core.datagen import augment, interruptions
from omni_core.datagen.exchange import Split
from omni_core.datagen.interruptions import AFTER_S, BEDS, SAMPLE_RATE, SceneConfig, draw_scene
from omni_core.datagen.manifest import Item, choose, read_manifest
from omni_core.datagen.scenes import COMMANDS, NEAR_MISSES, OTHERS, phrase_jobs
from omni_core.datagen.speech import TALK
from omni_core.datagen.synthesis import SAMPLE_RATE as CLIP_RATE
from omni_core.datagen.synthesis import level, speak_all
from omni_core.datagen.voices import EVALUATION_ESPEAK_VOICES
from omni_core.errors import DataError
from omni_core.training.ending import cut_between_words

PAUSE_S = 0.7
NOISE_DB = 10.0  #: of a command over what else is heard
#: said with espeak-ng, whose phonemes stand in double brackets
BACKCHANNELS = {"mm-hm": "[[m'mh'm]]", "uh-huh": "uh-huh", "yeah": "yeah", "okay": "okay", "right": "right", "hmm": "hmm", "I see": "I see"}
COUGH = "(cough)"

_SCENE = SceneConfig(command_share=1, near_misses=0, beds=BEDS[:-1], echo_share=0, snr_db=(NOISE_DB, NOISE_DB))
_TALKERS = 40  # clips of other people, for what is heard beside commands
_LONG_SHARE = 4  # one question of so many is one whose expected answer is long


class _Spoken:
    """Clips in memory, as scenes want them."""

    rate = CLIP_RATE

    def __init__(self, name: str, count: int, seed: int) -> None:
        jobs = list(phrase_jobs(name, Split.TEST, count, seed))
        self.rows: list[dict[str, Any]] = [{"text": job.text} for job in jobs]
        self._waves = list(speak_all((job.text, job.voice, 0) for job in jobs))

    def __len__(self) -> int:
        return len(self._waves)

    def wave(self, index: int) -> np.ndarray:
        return self._waves[index]


class _NoAnswers:
    """The assistant is not heard in these scenes: its real answer is."""

    texts: Sequence[str] = ()

    def wave(self, text: str) -> np.ndarray:
        raise KeyError(text)


def make_material(manifest: Path | None, data: Path, cases: int, seed: int) -> Material:
    """As much as `cases` of each scene need. Raises DataError, and SynthesisError where espeak-ng or flite is missing."""
    rng = np.random.default_rng((seed, 0))
    items = _choose(_usable(manifest, data), cases, seed)
    waves = [resample(wave, rate, CLIP_RATE) for wave, rate in (item.wave() for item in items)]
    questions = [_said(item.transcript, wave) for item, wave in zip(items, waves, strict=True)]
    half = -(-cases // 2)
    near_misses = _Spoken(NEAR_MISSES, half, seed)
    return Material(
        questions=questions,
        paused=[_paused(item.transcript, wave, rng) for item, wave in zip(items, waves, strict=True)],
        interruptions=[questions[index] for index in rng.permutation(len(questions))],
        command=_commands(cases, seed),
        backchannels=_backchannels(half, rng),
        near_misses=[_said(row["text"], near_misses.wave(index)) for index, row in enumerate(near_misses.rows)],
    )


def _usable(manifest: Path | None, data: Path) -> list[Item]:
    """Spoken questions that need no picture, no earlier turn, and no ear for noise."""
    path = manifest or data / "test" / "manifest.jsonl"
    if manifest is None and not path.is_file():
        path = QUESTIONS / "manifest.jsonl"
    found = [
        item
        for item in read_manifest(path)
        if item.audio and not item.image and not item.history and item.skill in ("", TALK) and item.condition in ("", "clean")
    ]
    if not found:
        raise DataError(f"{path}: holds no spoken question without a picture and earlier turns; give another --manifest")
    return found


def _choose(items: list[Item], cases: int, seed: int) -> list[Item]:
    """At most `cases` of them, those with the longest expected answers among them: answers are to be interrupted."""
    longest = sorted({item.expect: item for item in items}.values(), key=lambda item: len(item.expect), reverse=True)[: 1 + cases // _LONG_SHARE]
    others = choose([item for item in items if item not in longest], max(0, cases - len(longest)), seed)
    return [item for item in items if item in longest or item in others][:cases]


def _said(text: str, wave: np.ndarray) -> Speech:
    """A clip of 16 kHz as it is said."""
    return Speech.of(text, resample(wave, CLIP_RATE, SAMPLE_RATE))


def _paused(text: str, wave: np.ndarray, rng: np.random.Generator) -> Speech:
    """`wave` with a pause between two words."""
    cut = len(cut_between_words(wave, rng))
    return _said(text, np.insert(wave, cut, np.zeros(round(PAUSE_S * CLIP_RATE), np.float32)))


def _commands(count: int, seed: int) -> Callable[[int, float], Speech]:
    """`count` voices that say the command over talk, babble, music or noise; where the phrase begins is not known."""
    spoken = _Spoken(COMMANDS, count, seed)
    material = interruptions.Material(_Spoken(OTHERS, _TALKERS, seed), spoken, spoken, _NoAnswers())

    def command(number: int, seconds: float) -> Speech:
        # A scene leaves AFTER_S behind its command: so much of it may lie behind the answer.
        config = dataclasses.replace(_SCENE, seconds=(seconds - LEFT_S + AFTER_S,) * 2)
        scene = draw_scene(np.random.default_rng((seed, 1, number)), material, config)
        assert scene.irq_at is not None
        end = round(scene.irq_at * SAMPLE_RATE)
        return Speech(f"stop omni, over {scene.bed}", scene.wave, end, end)

    return command


def _backchannels(count: int, rng: np.random.Generator) -> list[Speech]:
    kinds = [*BACKCHANNELS, COUGH]
    names = [kinds[number % len(kinds)] for number in range(count)]
    voices = [EVALUATION_ESPEAK_VOICES[int(rng.integers(len(EVALUATION_ESPEAK_VOICES)))] for _ in names]
    words = [(BACKCHANNELS[name], voice, 0) for name, voice in zip(names, voices, strict=True) if name != COUGH]
    spoken = speak_all(words)
    return [_said(name, _cough(rng) if name == COUGH else next(spoken)) for name in names]


def _cough(rng: np.random.Generator) -> np.ndarray:
    """Two bursts of noise that die away, [N] at 16 kHz."""
    bursts = []
    for seconds in rng.uniform(0.12, 0.2, 2):
        samples = int(seconds * CLIP_RATE)
        fall = np.exp(-np.linspace(0, 5, samples)) * np.minimum(1, np.arange(samples) / (0.005 * CLIP_RATE))
        bursts += [augment.coloured_noise(samples, 0.7, rng) * fall, np.zeros(int(0.12 * CLIP_RATE))]
    return level(np.concatenate(bursts[:-1]).astype(np.float32))

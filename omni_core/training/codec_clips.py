"""Speech for codec training: the answer voice saying varied English, with a share of other voices.

Owns the sentences, and the folder of FLAC shards and held-out WAV files that `training.codec` reads.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
import yaml
from tqdm import tqdm

from omni_core.codec.base import SAMPLE_RATE
from omni_core.datagen import synthesis, voices
from omni_core.datagen.voices import Voice

SHARD_S = 60.0
LOUDNESS = 2.0  #: clips are this much louder than answers; training turns them down and up again
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@functools.cache
def _words() -> dict[str, list[str]]:
    data = yaml.safe_load((Path(__file__).parent / "configs" / "codec_sentences.yaml").read_text(encoding="utf-8"))
    return {name: value if isinstance(value, list) else value.split() for name, value in data.items()}


def sentence(rng: random.Random) -> str:
    """One English sentence from templates and word lists; many are nonsense, which spreads the sounds evenly."""
    words = _words()
    any_word = words["nouns"] + words["adjectives"] + words["verbs"] + words["adverbs"]

    def draw(category: str) -> str:
        return rng.choice(words[category])

    def noun() -> str:
        return draw("nouns")

    def phrase() -> str:
        article = rng.choice(["the", "a", "my", "your", "that", "this", "every", "our"])
        return f"{article} " + f"{draw('adjectives')} " * rng.choice((0, 1, 1)) + noun()

    def number() -> int:
        return rng.choice((rng.randint(0, 20), rng.randint(10, 100), rng.randint(0, 1000), rng.randint(1000, 2100)))

    def date() -> str:
        return f"{rng.choice(MONTHS)} {rng.randint(1, 31)}, {rng.randint(1700, 2030)}"

    def refusal() -> str:
        return f"I {rng.choice(['would', 'could', 'can', 'will', 'should', 'did', 'do'])} not {draw('verbs').rstrip('s')}"

    def command() -> str:
        return rng.choice(["stop", "wait", "hold on", "listen", "continue", "okay", "thank you", "please", "hello", "goodbye"])

    kinds = (
        lambda: f"{phrase()} {draw('verbs')} {phrase()}.",
        lambda: f"{phrase()} {draw('verbs')} {phrase()} {draw('positions')} {noun()}.",
        lambda: f"{draw('names')} {draw('verbs')} {phrase()} {draw('adverbs')}.",
        lambda: f"{draw('names')} and {draw('names')} went from {draw('places')} to {draw('places')} on {rng.choice(DAYS)}.",
        lambda: f"{number()} {rng.choice(['plus', 'minus', 'times', 'divided by'])} {number()} is {number()}.",
        lambda: f"there are {number()} {draw('units')} {draw('positions')} {noun()}.",
        lambda: f"the {noun()} is {number()} {draw('units')} away from {draw('places')}.",
        lambda: f"it was {date()}, when {draw('names')} {draw('verbs')} {phrase()}.",
        lambda: f"it is {rng.randint(1, 12)} {rng.choice(['o clock', 'thirty', 'fifteen', 'forty five', 'ten', 'twenty'])} on {rng.choice(DAYS)}.",
        lambda: f"is {phrase()} {draw('adjectives')} or {draw('adjectives')}?",
        lambda: f"why is {phrase()} {draw('positions')} {noun()} so {draw('adjectives')}?",
        lambda: f"{draw('openers')} {phrase()} is {rng.choice(['not ', 'very ', 'quite ', ''])}{draw('adjectives')}.",
        lambda: f"{draw('openers')} {refusal()} {phrase()}.",
        lambda: f"the opposite of {draw('adjectives')} is {draw('adjectives')}, and {noun()} comes after {noun()}.",
        lambda: f"the {rng.choice(['capital', 'name', 'color', 'size', 'age', 'king', 'center'])} of {draw('places')} is {draw('places')}.",
        lambda: f"{command()}, {draw('names')}.",
        lambda: " ".join(rng.choice(any_word) for _ in range(rng.randint(4, 10))) + ".",
        lambda: "the letters are " + ", ".join(rng.choice(LETTERS) for _ in range(rng.randint(3, 8))) + ".",
        lambda: "the numbers are " + ", ".join(str(number()) for _ in range(rng.randint(3, 6))) + ".",
        lambda: f"{noun()}s, {noun()}s and {noun()}s are {draw('adjectives')}, but {noun()}s are {draw('adjectives')}.",
    )  # fmt: skip
    text = rng.choice(kinds)()
    return text[0].upper() + text[1:]


def sentences(rng: random.Random) -> Iterator[str]:
    """Endless sentences; none of `held_out()` is among them."""
    apart = set(held_out())
    while True:
        text = sentence(rng)
        if text not in apart:
            yield text


def held_out(count: int = 60) -> list[str]:
    """The evaluation sentences: never trained on."""
    rng, given = random.Random("held out"), _words()["held_out"]
    return given + [sentence(rng) for _ in range(count - len(given))]


def synthesise(voice: Voice, text: str, seed: int = 0) -> np.ndarray:
    """`text` in `voice`: [N] float32 at 24 kHz, twice as loud as nano's answers unless that would clip."""
    wave = soxr.resample(synthesis.speak(text, voice, seed), synthesis.SAMPLE_RATE, SAMPLE_RATE)
    return (wave * min(LOUDNESS, 0.95 / np.abs(wave).max())).astype(np.float32)


def make_clips(folder: Path, minutes: float, other_share: float = 0.2, seed: int = 1) -> None:
    """Write FLAC shards of about a minute, and `held_out/` with WAV files and `texts.json`; shards that are there already are kept.

    `other_share` of the shards is spoken by training voices, a new one each sentence.
    """
    (folder / "held_out").mkdir(parents=True, exist_ok=True)
    texts = held_out()
    for n, text in enumerate(texts):
        if not (path := folder / "held_out" / f"{n:03d}.wav").exists():
            soundfile.write(path, synthesise(voices.ANSWER_VOICE, text), SAMPLE_RATE, subtype="PCM_16")
    (folder / "held_out" / "texts.json").write_text(json.dumps(texts, indent=1))
    others = round(minutes * other_share)
    for shard in tqdm(range(round(minutes)), desc="codec clips", unit="min"):
        voice = "other" if shard < others else voices.ANSWER_VOICE.name
        if not (path := folder / f"{voice}-{shard:03d}.flac").exists():
            _write(path, list(_shard(random.Random(f"{seed} {shard}"), other=shard < others)))


def _shard(rng: random.Random, other: bool) -> Iterator[np.ndarray]:
    source, seconds = sentences(rng), 0.0
    while seconds < SHARD_S:
        voice = rng.choice(voices.TRAIN_VOICES) if other else voices.ANSWER_VOICE
        wave = synthesise(voice, next(source), rng.randrange(2**31))
        yield wave
        yield np.zeros(rng.randint(0, SAMPLE_RATE // 2), np.float32)
        seconds += len(wave) / SAMPLE_RATE


def _write(path: Path, waves: list[np.ndarray]) -> None:
    partial = path.with_name(path.name + ".partial")
    soundfile.write(partial, np.concatenate(waves), SAMPLE_RATE, subtype="PCM_16", format="FLAC")
    partial.replace(path)

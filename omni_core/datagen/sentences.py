"""What is said: the dialogues nano knows, and endless open sentences that teach the encoder to read any words.

Owns `dialogues/*.yaml` and `words.txt`, and which sentences are held out.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from omni_core.datagen.exchange import Split
from omni_core.errors import ConfigError

_FOLDER = Path(__file__).parent
_KEYS = ("id", "question", "paraphrases", "held_out", "answer")
LEAST_PARAPHRASES = 5
_HELD_OUT_SENTENCES = 0.05


@dataclass(frozen=True)
class Dialogue:
    """One question that nano knows, and its answer."""

    id: str
    question: str  #: the canonical wording
    paraphrases: tuple[str, ...]  #: asked in training as well
    held_out: str  #: the wording that evaluation asks: never trained on
    answer: str

    @property
    def wordings(self) -> tuple[str, ...]:
        """Every way to ask it in training, the canonical one first."""
        return (self.question, *self.paraphrases)


@functools.cache
def load_dialogues(folder: Path = _FOLDER / "dialogues") -> tuple[Dialogue, ...]:
    """The dialogues of `folder`'s YAML files, in the order of the files' names and of each file.

    Raises ConfigError naming the file and the entry that is malformed, or whose id or wording was there before.
    """
    dialogues: list[Dialogue] = []
    seen: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        entries = read_yaml(path)
        if not isinstance(entries, list):
            raise ConfigError(f"{path}: must be a list of entries with the keys {', '.join(_KEYS)}")
        for number, entry in enumerate(entries, 1):
            dialogue = _dialogue(entry, f"{path}, entry {number}")
            where = f"{path}, entry {number} ({dialogue.id})"
            for text in (f"id {dialogue.id}", *map(spoken_form, (*dialogue.wordings, dialogue.held_out))):
                if text in seen:
                    raise ConfigError(f"{where}: {text!r} is in {seen[text]} already; every id and wording must be its own")
                seen[text] = where
            dialogues.append(dialogue)
    if not dialogues:
        raise ConfigError(f"{folder}: holds no dialogues; it should have YAML files of entries with the keys {', '.join(_KEYS)}")
    return tuple(dialogues)


def _dialogue(entry: Any, where: str) -> Dialogue:
    if not isinstance(entry, dict) or set(entry) != set(_KEYS):
        raise ConfigError(f"{where}: needs exactly the keys {', '.join(_KEYS)}")
    paraphrases = entry["paraphrases"]
    if not isinstance(paraphrases, list) or len(paraphrases) < LEAST_PARAPHRASES:
        raise ConfigError(f"{where} ({entry['id']}): needs at least {LEAST_PARAPHRASES} paraphrases")
    dialogue = Dialogue(entry["id"], entry["question"], tuple(paraphrases), entry["held_out"], entry["answer"])
    for text in (dialogue.id, *dialogue.wordings, dialogue.held_out, dialogue.answer):
        if not isinstance(text, str) or not text or re.search(r"\d", text):
            raise ConfigError(f"{where} ({entry['id']}): {text!r} must be text, with numbers spelt out (quote words like yes and no)")
    return dialogue


def read_yaml(path: Path) -> Any:
    """The parsed file. Raises ConfigError naming it (and the line of a mistake)."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: can't be read as YAML ({error})") from error


@functools.cache
def words() -> dict[str, tuple[str, ...]]:
    """Words by category, as `words.txt` lists them."""
    categories: dict[str, list[str]] = {}
    current: list[str] = []
    for line in (_FOLDER / "words.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = categories.setdefault(line.strip("[] \n"), [])
        elif not line.startswith("#"):
            current.extend(line.split())
    return {name: tuple(members) for name, members in categories.items()}


def spoken_form(text: str) -> str:
    """`text` as the encoder's CTC head should read it: lower-case letters, apostrophes inside words, single spaces."""
    return " ".join(re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower().replace("’", "'")))


def stable_share(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone, the same on every machine: keys below a share s are the held-out share s."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest()) / 2**48


def split_of(key: str, share: float) -> Split:
    """TEST for `share` of all keys, for ever the same ones."""
    return Split.TEST if stable_share(key) < share else Split.TRAIN


TEMPLATES = (
    "what is the {noun} of {country}", "which {noun} is the {adjective} one", "who {past} the {noun}", "how many {noun}s are there in {country}",
    "where is the {adjective} {noun}", "why is the {noun} so {adjective}", "why did the {animal} {verb}", "when does the {noun} {verb}",
    "how do {animal}s {verb}", "how can i {verb} a {noun}", "do you {verb} the {noun}", "do you like {food} or {food}", "can you {verb} me a {noun}",
    "tell me about the {noun} in {capital}", "tell me a {noun} about a {animal}", "please {verb} the {noun}", "please tell me the {noun}",
    "the {adjective} {animal} {past} the {noun}", "my {noun} is {adjective} and {adjective}", "i want to {verb} {adverb}", "i am very {adjective}",
    "i feel {adjective} and {adjective}", "i am {form} to {capital} {time}", "{capital} is the capital of {country}", "name a {adjective} {animal}",
    "the {colour} {noun} is {number} years old", "{number} {animal}s {past} near the {noun}", "{name} {past} {number} {food}s",
    "{name} and {name} {verb} in {country}", "we {past} a {noun} on {time}", "is the {noun} a {noun} or a {noun}", "are you a {adjective} {noun}",
    "what happens when a {noun} {past}", "what should i {verb} when i am {adjective}", "what colour is the {noun}", "what time is the {noun}",
    "is it {adjective} in {capital}", "will it be {adjective} {time}", "they {adverb} {past} the {food}", "she said that {name} would {verb}",
    "he {past} {adverb} at {number} o'clock", "could you {verb} that {noun} {adverb}", "{phrase} {name} how are you", "{phrase} my name is {name}",
    "thank you for the {noun}", "give me {number} {noun}s", "see you {time} {name}", "there are {number} {noun}s in a {noun}",
    "how old is your {noun}", "i would like a {adjective} {noun}", "the {noun} in the {noun} is {colour}", "{animal}s have {number} legs",
    "who is the {adjective} {noun}", "do you know any {noun}s", "the {form} {noun} in the world", "i don't know the {noun}",
    "let's {verb} the {noun}",
)  # fmt: skip


def open_sentence(rng: np.random.Generator, split: Split = Split.TRAIN) -> str:
    """A sentence of 2 to about 9 words: half of them from templates, half random words. Not always grammar, always speakable.

    TEST draws only the held-out sentences (5 % of all there are), TRAIN only the others.
    """
    while True:
        sentence = _any_sentence(rng)
        if split_of(sentence, _HELD_OUT_SENTENCES) is split:
            return sentence


def _any_sentence(rng: np.random.Generator) -> str:
    by_category = words()

    def draw(category: str) -> str:
        members = by_category[category]
        return members[rng.integers(len(members))]

    if rng.random() < 0.5:
        return re.sub(r"\{(\w+)\}", lambda match: draw(match[1]), TEMPLATES[rng.integers(len(TEMPLATES))])
    return " ".join(_random_words(rng, draw))


def _random_words(rng: np.random.Generator, draw: Callable[[str], str]) -> list[str]:
    categories, shares = _categories()
    return [draw(categories[index]) for index in shares.searchsorted(rng.random(rng.integers(2, 9)), side="right")]


@functools.cache
def _categories() -> tuple[tuple[str, ...], np.ndarray]:
    """The categories, and the cumulated shares that random words have of each: by the square root of its size, so that small ones are not rare."""
    shares = np.sqrt([len(members) for members in words().values()]).cumsum()
    return tuple(words()), shares / shares[-1]

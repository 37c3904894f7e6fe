"""What is said: the dialogues nano knows, and endless open sentences that teach the encoder to read any words.

Owns `dialogues.yaml` and `words.txt`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from omni_core.errors import ConfigError

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Dialogue:
    """One question that nano knows, and its answer."""

    id: str
    question: str  #: the canonical wording: what evaluation asks
    paraphrases: tuple[str, ...]  #: asked in training as well
    answer: str

    @property
    def wordings(self) -> tuple[str, ...]:
        """Every way to ask it, the canonical one first."""
        return (self.question, *self.paraphrases)


def load_dialogues(path: Path = _FOLDER / "dialogues.yaml") -> tuple[Dialogue, ...]:
    """The dialogues in the file's order. Raises ConfigError naming the entry that is malformed, or an id or wording used twice."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    dialogues, seen = [], set()
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or set(entry) != {"id", "question", "paraphrases", "answer"}:
            raise ConfigError(f"{path.name}, entry {number}: needs exactly the keys id, question, paraphrases, answer")
        dialogue = Dialogue(entry["id"], entry["question"], tuple(entry["paraphrases"]), entry["answer"])
        for text in (dialogue.id, *map(spoken_form, dialogue.wordings)):
            if text in seen:
                raise ConfigError(f"{path.name}, entry {dialogue.id!r}: {text!r} is there twice; every id and wording must be its own")
            seen.add(text)
        dialogues.append(dialogue)
    return tuple(dialogues)


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


def open_sentence(rng: np.random.Generator) -> str:
    """A sentence of 2 to about 9 words: half of them from templates, half random words. Not always grammar, always speakable."""
    by_category = words()

    def draw(category: str) -> str:
        members = by_category[category]
        return members[rng.integers(len(members))]

    if rng.random() < 0.5:
        return re.sub(r"\{(\w+)\}", lambda match: draw(match[1]), TEMPLATES[rng.integers(len(TEMPLATES))])
    return " ".join(_random_words(rng, draw))


def _random_words(rng: np.random.Generator, draw: Callable[[str], str]) -> list[str]:
    categories = list(words())
    weights = np.sqrt([len(members) for members in words().values()])  # small categories would be rare otherwise
    weights /= weights.sum()
    return [draw(categories[index]) for index in rng.choice(len(categories), size=rng.integers(2, 9), p=weights)]

"""A text as it sounds, and how much of it a transcription holds: to cut a transcript at the word that was being spoken.

Every beginning of the text that ends with a word is weighed; `alignment` weighs them by what an audio encoder hears. No tensor in here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from omni_core.errors import EngineError, TextError
from omni_core.metrics import normalise

_FASTEST = 40  # characters a second: what lies further on can't have been said, and need not be looked at
_CHARACTERS = 100  # and so many in any case
_UNLIKE = 0.4  # share of a transcription's letters that are wrong, from which on it is of something else


@dataclass(frozen=True)
class Spoken:
    """A text as it sounds: lower-case letters, numbers in words."""

    letters: str
    ends: tuple[int, ...]  #: how many of `letters` the first k words of the text have, from k = 0
    characters: tuple[int, ...]  #: and how many characters of the text

    @classmethod
    def of(cls, text: str, seconds: float) -> Spoken:
        """Of `text`, as much as can be said in so many seconds. Raises TextError when it holds nothing that can be read aloud."""
        letters, ends, characters = "", [0], [0]
        for word in re.finditer(r"\S+", text):
            sounds = " ".join(normalise(word.group()))
            if len(letters) > _CHARACTERS + _FASTEST * seconds:
                break
            letters += " " + sounds if letters and sounds else sounds
            ends.append(len(letters))
            characters.append(word.end())
        if not letters:
            raise TextError(f"{text[:40]!r} holds no word that can be heard: estimate by time what was said of it")
        return cls(letters, tuple(ends), tuple(characters))


def match(text: str, transcript: str, seconds: float) -> int:
    """Characters of `text` that `transcript`, of its first `seconds` seconds as they were spoken, holds; whole words.

    It is the beginning with the fewest letters to add, drop or change. Raises TextError when the text holds no words, EngineError when the
    transcription is nothing like it: a model that can't read its own voice knows less than the clock.
    """
    spoken = Spoken.of(text, seconds)
    wanted = np.frombuffer(spoken.letters.encode(), np.uint8)
    places = np.arange(len(wanted) + 1)
    cost = places.copy()  # [j]: edits from what was read of the transcript to the first j letters
    read = " ".join(normalise(transcript)).encode()
    for letter in read:
        changed = np.concatenate([[cost[0] + 1], np.minimum(cost[:-1] + (wanted != letter), cost[1:] + 1)])
        cost = np.minimum.accumulate(changed - places) + places
    words = cost[list(spoken.ends)]
    if not read or words.min() > _UNLIKE * len(read):
        raise EngineError(f"the transcription {transcript[:40]!r} is nothing like the text: estimate by time what was said of it")
    return spoken.characters[int(words.argmin())]

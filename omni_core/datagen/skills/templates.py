"""What the skills' template files have in common: texts with {gaps}, filled in one direction and read in the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omni_core.datagen.sentences import read_yaml, spoken_form
from omni_core.errors import ConfigError

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def read_templates(name: str, keys: Sequence[str]) -> dict[str, Any]:
    """The template file `name` beside this module. Raises ConfigError naming it when its keys are not `keys`."""
    path = Path(__file__).parent / name
    data = read_yaml(path)
    if not isinstance(data, dict) or set(data) != set(keys):
        raise ConfigError(f"{path}: needs exactly the keys {', '.join(keys)}")
    return data


def pattern(template: str) -> re.Pattern[str]:
    """What finds the gaps of `template` in the spoken form of a text that was made from it."""
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile(" ?".join(f"(?P<{part}>[a-z' ]+?)" if index % 2 else re.escape(spoken_form(part)) for index, part in enumerate(parts)) + "$")


def number_words(number: int) -> str:
    """0 to 199 in words: twenty one, one hundred and five."""
    if number >= 100:
        return "one hundred" + (f" and {number_words(number - 100)}" if number > 100 else "")
    if number < 20:
        return _SMALL[number]
    return _TENS[number // 10 - 2] + (f" {_SMALL[number % 10]}" if number % 10 else "")


def sentence_case(text: str) -> str:
    """`text` with a capital at its start and a full stop at its end."""
    return text[:1].upper() + text[1:] + ("" if text[-1:] in {".", "?", "!"} else ".")

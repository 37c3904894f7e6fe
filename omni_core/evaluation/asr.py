"""Does the model write down what it hears? Owns the suite `asr`: A1T1 on the clips of a manifest whose words are known."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from omni_core.datagen.manifest import OPEN, Item
from omni_core.errors import DataError
from omni_core.evaluation.asking import Asker, Track
from omni_core.evaluation.breakdown import bars, cells, heatmap, key_of, pick, sample
from omni_core.evaluation.results import Figure, Plot, Suite, Table
from omni_core.evaluation.targets import Unit
from omni_core.metrics import character_errors, substitutions, total, word_errors

_SAMPLES = 3
_SHOWN = 12


def clips_of(items: Sequence[Item]) -> list[Item]:
    """What is to be transcribed: the skill "open", or of a manifest without skills all that is spoken. `expect` becomes what is spoken."""
    spoken = [item for item in items if item.audio and item.skill == OPEN] or [item for item in items if item.audio and not item.skill]
    if not spoken:
        raise DataError("the manifest holds no clip to be transcribed (of skill `open`, or `audio` without a skill)")
    return [dataclasses.replace(item, expect=item.transcript) for item in spoken]


def run(asker: Asker, items: Sequence[Item], track: Track, *, seed: int, listenable: bool) -> Suite:
    """Transcribe every clip of `items`; `listenable` adds samples. Raises DataError for a file that can't be read."""
    replies = asker.ask(items, "T1", track, "transcribing")
    found = {("", "", ""): replies} | cells(replies, lambda item: "")
    figures, rows, rates = [], [], {}
    for where, mine in found.items():
        words = total([word_errors(reply.item.expect, reply.text) for reply in mine])
        characters = total([character_errors(reply.item.expect, reply.text) for reply in mine])
        figures += [
            Figure(key_of("asr", *where, "wer"), words.rate, words.words, "words"),
            Figure(key_of("asr", *where, "cer"), characters.rate, characters.words, "characters"),
        ]
        rows.append((where[1] or "all", where[2] or "all", len(mine), words.words, words.rate, characters.rate))
        rates[where[1], "", where[2]] = words.rate
    if len(rates) > 1:
        del rates["", "", ""]
    errors = Table(
        "Errors",
        ("voices", "condition", "clips", "words", "word error rate", "character error rate"),
        tuple(rows),
        (None, None, Unit.NUMBER, Unit.NUMBER, Unit.SHARE, Unit.SHARE),
    )
    taken = [pair for reply in replies for pair in substitutions(reply.item.expect, reply.text)]
    most = tuple((*pair, count) for pair, count in Counter(taken).most_common(_SHOWN))
    confused = heatmap(taken, "Words taken for others", "spoken", "written")
    plots: list[Plot] = [bars("Word error rate", rates, top=max(0.1, *rates.values())), *([confused] if confused else [])]
    return Suite(
        name="asr",
        title="Transcription",
        about="Sentences written down as they are heard (A1T1). Errors are substituted, missing and added words or characters over those spoken.",
        figures=tuple(figures),
        tables=(errors, Table("Words most often taken for others", ("spoken", "written", "times"), most, (None, None, Unit.NUMBER))),
        plots=tuple(plots),
        samples=tuple(sample(asker, reply, "") for reply in pick(replies, lambda item: item.group, _SAMPLES, seed)) if listenable else (),
    )

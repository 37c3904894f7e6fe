"""Does the model see? Owns the suite `vision`: every question of a manifest about a picture, spoken (VA1T2) or typed (VT1T2)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from omni_core.datagen.manifest import Item
from omni_core.datagen.skills.pictures import PictureSkill
from omni_core.errors import DataError
from omni_core.evaluation.asking import Asker, Track
from omni_core.evaluation.breakdown import accuracy, aloud, confusions, heatmap, key_of, mistakes, pick, sample, share
from omni_core.evaluation.results import Figure, Plot, Suite

_SAMPLES = 4


def kind_of(item: Item) -> str:
    """What a question about a picture asks for, where it is one that training data know."""
    try:
        return _skill().kind_of(item.question)
    except KeyError:
        return "other"


@functools.cache
def _skill() -> PictureSkill:
    return PictureSkill()


def questions_of(items: Sequence[Item]) -> list[Item]:
    """What this suite asks. DataError when there is nothing of the kind."""
    if not (asked := [item for item in items if item.image]):
        raise DataError("the manifest holds no question with an `image`")
    return asked


def run(asker: Asker, items: Sequence[Item], track: Track, *, seed: int, listenable: bool) -> Suite:
    """Ask all of `items`; `listenable` adds samples. Raises DataError for a file that can't be read."""
    replies = asker.ask(items, "T2", track, "pictures")
    spoken = [reply for reply in replies if reply.item.audio]
    typed = [reply for reply in replies if not reply.item.audio]
    figures = [Figure(key_of("vision", name), share(mine), len(mine)) for name, mine in (("typed", typed), ("spoken", spoken)) if mine]
    figures += accuracy("vision", spoken, lambda item: "spoken", "asked")[0]
    _, table, bars = accuracy("vision", replies, kind_of, "question")
    confused = heatmap(confusions(replies), "Words taken for others", "expected", "answered")
    plots: list[Plot] = [bars, *([confused] if confused else [])]
    return Suite(
        name="vision",
        title="Pictures",
        about="Questions about drawn pictures, spoken and typed, answered in text. Right answers have the same words as expected.",
        figures=tuple({figure.key: figure for figure in figures}.values()),
        tables=(table, mistakes(replies)),
        plots=tuple(plots),
        samples=tuple(sample(asker, reply, kind_of(reply.item)) for reply in aloud(asker, pick(replies, kind_of, _SAMPLES, seed)))
        if listenable
        else (),
    )

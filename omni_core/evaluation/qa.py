"""Does the model give the right answer to what it is asked?

Owns the suite `qa`: every question of a manifest that is neither a clip to be transcribed nor about a picture. Answers are taken as text (A1T2):
the text of A1A2 is the same, and costs several times as much.
"""

from __future__ import annotations

from collections.abc import Sequence

from omni_core.datagen.manifest import OPEN, Item
from omni_core.errors import DataError
from omni_core.evaluation.asking import Asker, Reply, Track
from omni_core.evaluation.breakdown import accuracy, aloud, by_voice, cells, confusions, heatmap, key_of, mistakes, pick, sample, share
from omni_core.evaluation.results import Figure, Plot, Suite

_SAMPLES = 6


def questions_of(items: Sequence[Item]) -> list[Item]:
    """What this suite asks. DataError when there is nothing of the kind."""
    if not (asked := [item for item in items if item.skill != OPEN and item.image is None]):
        raise DataError("the manifest holds no question without a picture")
    return asked


def run(asker: Asker, items: Sequence[Item], track: Track, *, seed: int, listenable: bool) -> Suite:
    """Ask every question of `items`; `listenable` adds samples. Raises DataError for a file that can't be read."""
    replies = asker.ask(items, "T2", track, "questions")
    by_skill, table, bars = accuracy("qa", replies, _skill, "skill")
    everything = [Figure("qa.all", share(replies), len(replies)), *_over_skills(replies)]
    wrong_sums = confusions(reply for reply in replies if reply.item.skill == "sums")
    sums = heatmap(wrong_sums, "Words taken for others in wrong sums", "expected", "answered")
    plots: list[Plot] = [bars, *([sums] if sums else [])]
    return Suite(
        name="qa",
        title="Questions",
        about="Spoken and typed questions, answered in text. An answer is right when it has the same words as the expected one.",
        figures=tuple({figure.key: figure for figure in (*everything, *by_skill)}.values()),
        tables=(table, mistakes(replies), by_voice(replies)),
        plots=tuple(plots),
        samples=tuple(sample(asker, reply, reply.item.skill) for reply in aloud(asker, pick(replies, _skill, _SAMPLES, seed))) if listenable else (),
    )


def _skill(item: Item) -> str:
    return item.skill


def _over_skills(replies: Sequence[Reply]) -> list[Figure]:
    """All skills together, by group and condition."""
    return [Figure(key_of("qa", *where), share(mine), len(mine)) for where, mine in cells(replies, lambda item: "all").items()]

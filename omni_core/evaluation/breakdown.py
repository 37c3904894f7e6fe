"""Replies sorted by what was asked, who asked it and in what noise: the figures, tables and plots that suites share."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from omni_core.datagen.manifest import Item
from omni_core.evaluation.asking import Asker, Reply, silent, task_of
from omni_core.evaluation.results import Bars, Clip, Figure, Heatmap, Sample, Table
from omni_core.evaluation.targets import Unit
from omni_core.metrics import normalise, substitutions

Cells = dict[tuple[str, str, str], list[Reply]]  #: by kind, group and condition

_SHOWN = 12  #: rows of a table of mistakes, and words of a heatmap


def key_of(*parts: str) -> str:
    """The key of a figure: "qa", "talk", "espeak", "10 dB" -> "qa.talk.espeak.10_db"; an empty part is left out."""
    return ".".join(re.sub(r"[^a-z0-9]+", "_", part.lower()).strip("_") for part in parts if part)


def cells(replies: Iterable[Reply], kind: Callable[[Item], str]) -> Cells:
    """Replies by kind, group ("typed" where nobody speaks) and condition: kinds and groups as they first come, the cleanest condition first."""
    found: Cells = defaultdict(list)
    for reply in replies:
        item = reply.item
        found[kind(item), item.group if item.audio else "typed", item.condition].append(reply)
    kinds, groups = (list(dict.fromkeys(where[place] for where in found)) for place in (0, 1))
    ordered = sorted(found, key=lambda where: (kinds.index(where[0]), groups.index(where[1]), where[2] not in ("", "clean"), where[2]))
    return {where: found[where] for where in ordered}


def share(replies: Sequence[Reply], close: bool = False) -> float:
    """How many of the replies are right, 0 .. 1; with `close` also those that are nearly so."""
    return sum(reply.close if close else reply.right for reply in replies) / max(len(replies), 1)


def accuracy(suite: str, replies: Sequence[Reply], kind: Callable[[Item], str], what: str) -> tuple[list[Figure], Table, Bars]:
    """Shares of right answers by kind, group and condition: one figure, one row and one bar each. `what` says what kinds are."""
    found = cells(replies, kind)
    figures = [Figure(key_of(suite, where[0] or "all", *where[1:]), share(mine), len(mine)) for where, mine in found.items()]
    rows = [
        (*(part or "–" for part in where), len(mine), share(mine), share(mine, close=True), sum(r.error is not None for r in mine))
        for where, mine in found.items()
    ]
    table = Table(
        f"Right answers by {what}",
        (what, "voices", "condition", "questions", "right", "nearly", "failed"),
        tuple(rows),
        (None, None, None, Unit.NUMBER, Unit.SHARE, Unit.SHARE, Unit.NUMBER),
        "Right: the same words. Nearly: at most 20 % of the words, or 10 % of the characters, differ. Failed: the model gave no answer.",
    )
    return figures, table, bars(f"Right answers by {what}", {where: share(mine) for where, mine in found.items()})


def bars(title: str, values: dict[tuple[str, str, str], float], top: float = 1.0) -> Bars:
    """A group of bars for each kind, a series for each group and condition."""
    series = list(dict.fromkeys(where[1:] for where in values))
    kinds = list(dict.fromkeys(where[0] for where in values))
    rows = tuple((kind or "all", tuple(values.get((kind, *each)) for each in series)) for kind in kinds)
    return Bars(title, tuple(", ".join(filter(None, each)) or "all" for each in series), rows, top=top)


def by_voice(replies: Iterable[Reply]) -> Table:
    """Shares of right answers by voice, the worst first."""
    found: dict[str, list[Reply]] = defaultdict(list)
    for reply in replies:
        if reply.item.audio:
            found[reply.item.voice].append(reply)
    rows = sorted(((voice or "–", len(mine), share(mine)) for voice, mine in found.items()), key=lambda row: row[2])
    return Table("By voice", ("voice", "questions", "right"), tuple(rows), (None, Unit.NUMBER, Unit.SHARE))


def mistakes(replies: Iterable[Reply]) -> Table:
    """What was asked and wrongly answered, the most frequent first."""
    wrong = Counter((r.item.question or "(not in words)", r.item.expect, r.text or r.error or "(no words)") for r in replies if not r.right)
    rows = tuple((*texts, count) for texts, count in wrong.most_common(_SHOWN))
    return Table("Most frequent wrong answers", ("asked", "expected", "answered", "times"), rows, (None, None, None, Unit.NUMBER))


def confusions(replies: Iterable[Reply]) -> list[tuple[str, str]]:
    """Words expected and answered in their place, of answers as long as the expected ones: longer or shorter ones are other answers altogether."""
    same = (reply for reply in replies if len(normalise(reply.item.expect)) == len(normalise(reply.text)))
    return [pair for reply in same for pair in substitutions(reply.item.expect, reply.text)]


def heatmap(pairs: Iterable[tuple[str, str]], title: str, down: str, across: str) -> Heatmap | None:
    """Which word was taken for which, of the words most often mistaken; None when there is no mistake."""
    counted = Counter(pairs)
    labels: list[str] = []
    for pair, _ in counted.most_common():
        labels += [word for word in pair if word not in labels]
        if len(labels) >= _SHOWN:
            break
    if not labels:
        return None
    labels = labels[:_SHOWN]
    return Heatmap(title, across, down, tuple(labels), tuple(tuple(counted[a, b] for b in labels) for a in labels))


def pick(replies: Sequence[Reply], kind: Callable[[Item], str], count: int, seed: int) -> list[Reply]:
    """Replies to be shown: one of each kind first, then wrong ones until they are a third, then any."""
    rng = np.random.default_rng(seed)
    shuffled = [replies[index] for index in rng.permutation(len(replies))]
    first = {kind(reply.item): reply for reply in reversed(shuffled)}
    wrong = [reply for reply in shuffled if not reply.right][: max(1, count // 3)]
    return list(dict.fromkeys((*first.values(), *wrong, *shuffled)))[:count]


def aloud(asker: Asker, replies: Sequence[Reply]) -> list[Reply]:
    """The same questions asked once more, answered in speech where the model can speak."""
    output = "A2" if all(task_of(reply.item, "A2") in asker.tasks() for reply in replies) else "T2"
    return asker.ask([reply.item for reply in replies], output, silent, "")


def sample(asker: Asker, reply: Reply, kind: str) -> Sample:
    """A reply as it is shown, with what was said on both sides."""
    item = reply.item
    clips = [Clip("question", *item.wave())] if item.audio else []
    if reply.audio is not None and len(reply.audio):
        clips.append(Clip("answer", reply.audio, asker.sample_rate))
    return Sample(
        title=", ".join(filter(None, (kind, item.voice or item.group or ("typed" if item.text else ""), item.condition))),
        earlier=item.history,
        asked=item.question,
        expected=item.expect,
        answered=reply.text or reply.error or "",
        right=reply.right,
        clips=tuple(clips),
        image=item.image.read_bytes() if item.image else None,
    )

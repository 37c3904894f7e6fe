"""Does the conversation keep of an interrupted answer what was heard of it? Its transcript against the words that were played.

The interrupted answer is the beginning of the whole one, which was heard before, so the words' times come from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clients.duplex.evaluation import LongAnswer
from clients.duplex.scenarios import Interrupted
from clients.duplex.sound import Aligner, Speech, words_heard
from clients.python.audio import RATE, Wave


@dataclass(frozen=True)
class Truncations:
    """How many words too many (or, below 0, too few) the transcripts keep."""

    at_once: tuple[int, ...]  #: right after the client said what was heard
    corrected: tuple[int, ...]  #: once the server has listened to it
    not_judged: Counter[str]  #: how many, by reason


def judge(interrupted: Sequence[Interrupted], long_answers: Mapping[Speech, LongAnswer], aligner: Aligner) -> Truncations:
    """All of those that were cut."""
    words = {question: aligner.words(answer.text, answer.wave) for question, answer in long_answers.items()}
    at_once, corrected, not_judged = [], [], Counter[str]()
    for each in interrupted:
        reply, whole, spoken = each.reply, long_answers[each.case.question], words[each.case.question]
        if reply.cut_at is None:
            continue
        if spoken is None:
            not_judged["the answer can't be aligned"] += 1
        elif len(reply.kept) < 2:
            not_judged["the server did not say in time what it kept"] += 1
        elif not is_beginning(reply.answer.audio, whole.wave):
            not_judged["not the answer that was given before"] += 1
        else:
            heard = words_heard(spoken, reply.heard_s)
            at_once.append(len(reply.kept[0].split()) - heard)
            corrected.append(len(reply.kept[-1].split()) - heard)
    return Truncations(tuple(at_once), tuple(corrected), not_judged)


def is_beginning(wave: Wave, whole: Wave) -> bool:
    """Whether `wave` [N] sounds like the first N samples of `whole`."""
    length = min(len(wave), len(whole))
    a, b = wave[:length], whole[:length]
    return len(wave) <= len(whole) + RATE // 10 and float(a @ b) > 0.98 * float(np.linalg.norm(a) * np.linalg.norm(b))

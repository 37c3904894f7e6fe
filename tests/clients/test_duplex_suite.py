"""What is found becomes figures, tables and a page with both channels; what is said is drawn from the seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clients.commands.duplex_material import PAUSE_S, make_material
from clients.commands.duplex_suite import suite_of
from clients.duplex.call import Mark, Recording, Reply
from clients.duplex.evaluation import COMMANDS, ECHO, INTERRUPTIONS, PREPARED, SEMANTIC, TURNS, Findings, LongAnswer, long_answers
from clients.duplex.scenarios import BY_COMMAND, BY_VOICE, Ask, Asked, Endure, Endured, Interrupt, Interrupted
from clients.duplex.sound import Speech
from clients.duplex.truncation import Truncations
from clients.python.audio import RATE
from clients.python.client import Answer
from omni_core.evaluation.report import render
from omni_core.evaluation.results import Evaluation
from tests.clients.conftest import tone

QUESTION = Speech.of("Who are you?", tone(0.5))


def _answer(seconds: float) -> Answer:
    return Answer("r", "i", "completed", text="I am Omni.", pcm=[tone(seconds)])


def _asked(mode, latency_s: float | None, seconds: float = 1.0) -> Asked:
    recording = Recording(tone(1.5), tone(1.5), (Mark(0.5, "end of speech"), Mark(9.0, "after the recording")))
    return Asked(Ask(TURNS, mode, QUESTION), recording, True, 0.003, 0, early=False, latency_s=latency_s, answer=_answer(seconds))


def test_figures_tables_and_a_page() -> None:
    reply = Reply(1.0, _answer(2.0), first_sound_at=1.1, cut_at=2.0, heard_s=0.9, kept=["I", "I am"])
    voice = Interrupt(INTERRUPTIONS, BY_VOICE, QUESTION, QUESTION, 1.0)
    findings = Findings(
        outcomes=[
            *(_asked(PREPARED, latency) for latency in (0.3, 0.4, 0.5, None)),
            _asked(SEMANTIC, 0.6),
            Interrupted(voice, None, True, 0.002, 0, reply, from_onset_s=0.15, from_end_s=-0.4, answered=True, latency_s=0.5),
            Endured(Endure(ECHO, BY_COMMAND, QUESTION), None, True, 0.002, 1, heard_s=60.0, interrupted=True, answered=False),
        ],
        failures=[(COMMANDS, "the server says: <no>")],
        users=3,
    )
    suite = suite_of(findings, Truncations((1, 3), (0, -1), Counter({"the answer can't be aligned": 2})), listenable=True)
    figures = {figure.key: (figure.value, figure.count) for figure in suite.figures}
    assert figures["duplex.turns.prepared.median"] == (pytest.approx(400), 3)
    assert figures["duplex.turns.prepared.answered"] == (0.75, 4)
    assert figures["duplex.voice.missed"] == (0, 1)
    assert figures["duplex.voice.p95"] == (pytest.approx(150), 1)
    assert figures["duplex.false_stops"] == (1, 1)
    assert figures["duplex.truncation.within_one"] == (1.0, 2)
    assert "3 users" in suite.about
    page = render(Evaluation("nano", "a machine", "2025-01-01", "omni eval duplex", 1, 1.0, (suite,)))
    for shown in ("end of speech 0.50", "user left, answer right", "the server says: &lt;no&gt;", "the answer can&#x27;t be aligned", "400 ms"):
        assert shown in page, shown
    assert "after the recording" not in page


def test_the_longest_answers_are_the_ones_to_interrupt() -> None:
    short, long = _asked(PREPARED, 0.3, seconds=3.9), _asked(PREPARED, 0.3, seconds=4.1)
    assert long_answers([short]) == {}
    (found,) = long_answers([short, long]).values()
    assert isinstance(found, LongAnswer)
    assert len(found.wave) == round(4.1 * RATE)


@pytest.mark.speech
def test_what_is_said_follows_from_the_seed(repository: Path) -> None:
    manifest = repository / "tests/assets/questions/manifest.jsonl"
    material, again, other = (make_material(manifest, Path("nowhere"), 4, seed) for seed in (1, 1, 2))
    for name in ("questions", "paused", "interruptions", "backchannels", "near_misses"):
        mine, same = getattr(material, name), getattr(again, name)
        assert [each.text for each in mine] == [each.text for each in same]
        assert all(np.array_equal(a.wave, b.wave) for a, b in zip(mine, same, strict=True)), name
    assert np.array_equal(material.command(0, 5.0).wave, again.command(0, 5.0).wave)
    assert not np.array_equal(material.command(0, 5.0).wave[:RATE], other.command(0, 5.0).wave[:RATE])
    assert any("story" in question.text for question in material.questions)  # its answer is the longest
    for whole, paused in zip(material.questions, material.paused, strict=True):
        assert len(paused.wave) - len(whole.wave) == pytest.approx(PAUSE_S * RATE, abs=2)
    ends = [material.command(number, 6.0).end / RATE for number in range(4)]
    assert 0.4 < min(ends) < max(ends) <= 5.0  # anywhere, but a second before the answer is over

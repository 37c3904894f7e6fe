"""Word errors and what counts as the same words."""

import sys

import numpy as np
import pytest

from omni_core import metrics
from omni_core.metrics import MissingExtra, character_errors, close_words, edits, same_words, substitutions, total, word_errors


@pytest.mark.parametrize(("left", "right", "distance"), [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("flaw", "lawn", 2)])
def test_edit_distance(left, right, distance):
    assert edits(left, right).errors == edits(right, left).errors == distance


def test_case_and_punctuation_do_not_count():
    assert same_words("It’s fine, thanks!", "it's fine thanks")
    assert same_words("667 miles at 12", "six hundred sixty seven miles at twelve")
    assert not same_words("It is fine", "its fine")


def test_rates_are_over_all_words_together():
    counts = [word_errors("one two three", "one two"), word_errors("four", "five")]
    assert total(counts).rate == pytest.approx(2 / 4)
    assert np.isfinite(total([]).rate)


def test_nearly_the_same_words():
    assert close_words("There are three red circles here.", "There are three red circle here.")
    assert close_words("It is a rectangle.", "It is a rectange")
    assert not close_words("It is a star.", "It is a square.")


def test_character_errors_count_the_spaces_between_words():
    assert character_errors("all together", "altogether").errors == 2
    assert character_errors("It's 7!", "its seven").errors == 1


@pytest.mark.parametrize(
    ("reference", "hypothesis", "found"),
    [
        ("thirteen and six", "thirty and six", [("thirteen", "thirty")]),
        ("one two three", "one three", []),
        ("a red star", "the blue star there", [("a", "the"), ("red", "blue")]),
        ("", "anything", []),
    ],
)
def test_words_taken_for_others(reference, hypothesis, found):
    assert substitutions(reference, hypothesis) == found


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pystoi", None)
    with pytest.raises(MissingExtra, match=r"pystoi is not installed: pip install 'omni-duplex\[train\]'"):
        metrics.stoi(np.zeros(16_000, np.float32), np.zeros(16_000, np.float32), 16_000)

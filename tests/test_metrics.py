"""Word errors and what counts as the same words."""

import numpy as np
import pytest

from omni_core.metrics import edits, same_words, total, word_errors


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

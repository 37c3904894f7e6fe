"""The playout clock, and the words that were heard."""

from __future__ import annotations

from server.session.playout import Playout, heard_text


def test_nothing_is_played_before_it_is_sent() -> None:
    playout = Playout()
    assert playout.played(5.0) == 0
    playout.send(24_000, 10.0)
    assert playout.played(10.0) == 0


def test_playing_takes_the_audios_own_time() -> None:
    playout = Playout()
    playout.send(24_000, 10.0)
    playout.send(24_000, 10.1)
    assert playout.played(11.5) == 36_000
    assert playout.played(99.0) == 48_000


def test_an_underrun_is_waited_for() -> None:
    playout = Playout()
    playout.send(24_000, 10.0)
    playout.send(24_000, 13.0)  # the client was silent from 11 to 13
    assert playout.played(13.5) == 36_000


def test_words_heard_of_a_complete_answer_are_in_proportion() -> None:
    text = "One two three four"
    assert heard_text(text, 2.0, 2.0, complete=True) == text
    assert heard_text(text, 1.0, 2.0, complete=True) == "One two"
    assert heard_text(text, 0.0, 2.0, complete=True) == ""


def test_words_heard_of_a_cut_answer_are_at_the_pace_of_speech() -> None:
    text = "A long answer whose text is far ahead of its audio"
    assert heard_text(text, 1.0, 1.0, complete=False) == "A long answer"
    assert heard_text("Hi.", 1.0, 1.0, complete=False) == "Hi."

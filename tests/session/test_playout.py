"""The playout clock, and the words that were heard."""

from __future__ import annotations

from server.session.playout import Playout, heard_text


def test_nothing_is_played_before_it_is_sent() -> None:
    playout = Playout()
    assert playout.played("a", 5.0) == 0
    playout.send("a", 24_000, 10.0)
    assert playout.played("a", 10.0) == 0


def test_playing_takes_the_audios_own_time() -> None:
    playout = Playout()
    assert playout.send("a", 24_000, 10.0) == 10.0
    assert playout.send("a", 24_000, 10.1) == 11.0
    assert playout.played("a", 11.5) == 36_000
    assert playout.played("a", 99.0) == 48_000
    assert playout.ends_at == 12.0


def test_an_underrun_is_waited_for() -> None:
    playout = Playout()
    playout.send("a", 24_000, 10.0)
    playout.send("a", 24_000, 13.0)  # the client was silent from 11 to 13
    assert playout.played("a", 13.5) == 36_000


def test_one_answer_is_played_after_the_other() -> None:
    playout = Playout()
    playout.send("a", 24_000, 10.0)
    assert playout.send("b", 24_000, 10.5) == 11.0
    assert (playout.played("a", 10.9), playout.played("b", 10.9)) == (21_600, 0)
    assert (playout.played("a", 11.5), playout.played("b", 11.5)) == (24_000, 12_000)


def test_the_client_may_say_how_far_it_is() -> None:
    playout = Playout()
    playout.send("a", 24_000, 10.0)
    playout.acknowledge("a", 6_000, 10.5)  # its own buffer holds a quarter of a second
    assert playout.played("a", 10.5) == 6_000
    assert playout.ends_at == 11.25
    playout.send("a", 24_000, 10.6)
    assert playout.played("a", 11.25) == 24_000
    playout.acknowledge("unknown", 1, 11.3)
    playout.acknowledge("a", 10**9, 11.5)  # it can't have played what it was not sent
    assert playout.played("a", 11.5) == 48_000


def test_what_is_thrown_away_is_not_waited_for() -> None:
    playout = Playout()
    playout.send("a", 24_000, 10.0)
    playout.stop(10.25)
    assert playout.send("b", 24_000, 10.5) == 10.5


def test_words_heard_of_a_complete_answer_are_in_proportion() -> None:
    text = "One two three four"
    assert heard_text(text, 2.0, 2.0, complete=True) == text
    assert heard_text(text, 1.0, 2.0, complete=True) == "One two"
    assert heard_text(text, 0.0, 2.0, complete=True) == ""


def test_words_heard_of_a_cut_answer_are_at_the_pace_of_speech() -> None:
    text = "A long answer whose text is far ahead of its audio"
    assert heard_text(text, 1.0, 1.0, complete=False) == "A long answer"
    assert heard_text("Hi.", 1.0, 1.0, complete=False) == "Hi."

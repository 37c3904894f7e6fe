"""The counting loudspeaker, on a clock of our own."""

from __future__ import annotations

from clients.python.player import Player


def test_audio_that_comes_in_time_never_runs_dry() -> None:
    player = Player(rate=1000)
    for index in range(10):
        player.push(100, now=5.0 + 0.1 * index)
    assert player.underruns == 0
    assert player.started == 5.0
    assert player.ends() == 6.0
    assert player.heard(5.55) == 550
    assert player.heard(9.0) == 1000


def test_a_late_chunk_is_an_underrun_and_moves_what_follows() -> None:
    player = Player(rate=1000)
    player.push(100, now=0.0)
    player.push(100, now=0.25)  # 150 ms after the first ran out
    player.push(100, now=0.30)
    assert player.underruns == 1
    assert round(player.starved_s, 6) == 0.15
    assert round(player.ends() or 0, 6) == 0.45


def test_a_late_chunk_within_the_tolerance_is_none() -> None:
    player = Player(rate=1000)
    player.push(100, now=0.0)
    player.push(100, now=0.105)
    assert player.underruns == 0


def test_nothing_is_heard_before_the_first_sample() -> None:
    player = Player(rate=1000)
    player.push(0, now=1.0)
    assert player.started is None
    assert player.ends() is None
    assert player.heard(3.0) == 0

"""What is measured in sounds, on sounds whose edges and words are known."""

from __future__ import annotations

import numpy as np
import pytest

from clients.commands.demo import QUESTIONS
from clients.duplex.loudspeaker import Loudspeaker
from clients.duplex.sound import Aligner, Speech, Word, words_heard
from clients.duplex.truncation import is_beginning
from clients.errors import ClientError
from clients.python.audio import RATE, load_audio


def test_speech_lasts_from_the_first_to_the_last_sample_above_40_db_below_its_peak() -> None:
    quiet = np.full(RATE // 10, 0.5 * 10 ** (-41 / 20), np.float32)
    said = np.ones(RATE // 2, np.float32) / 2
    speech = Speech.of("well", np.concatenate([quiet, said, quiet]))
    assert (speech.onset, speech.end) == (RATE // 10, RATE // 10 + RATE // 2)
    with pytest.raises(ClientError, match="no sound"):
        Speech.of("nothing", np.zeros(RATE, np.float32))


def test_the_loudspeaker_plays_in_real_time_waits_when_it_runs_dry_and_forgets_when_told_to_stop() -> None:
    loudspeaker = Loudspeaker()
    first, second = np.full(100, 0.1, np.float32), np.full(100, 0.2, np.float32)
    loudspeaker.play("a", first, now=1000)
    loudspeaker.play("a", first, now=1020)  # waits for the one before
    assert loudspeaker.ends == 1200
    loudspeaker.play("b", second, now=1300)  # 100 samples late
    assert (loudspeaker.heard("a", 1150), loudspeaker.heard("b", 1350), loudspeaker.ends) == (150, 50, 1400)
    loudspeaker.stop(1350)
    assert (loudspeaker.heard("b", 9999), loudspeaker.ends) == (50, 1350)
    room = loudspeaker.between(900, 1500)
    assert [room[at] for at in (99, 100, 299, 300, 399, 400, 449, 450)] == pytest.approx([0, 0.1, 0.1, 0, 0, 0.2, 0.2, 0])
    assert not loudspeaker.between(-200, -100).any()


def test_words_are_aligned_with_speech() -> None:
    wave = load_audio(QUESTIONS / "capital-france.flac")
    speech, words = Speech.of("", wave), Aligner().words("What is the capital of France?", wave)
    assert words is not None
    assert len(words) == 6
    assert [word.begin for word in words] == sorted(word.begin for word in words)
    assert words[0].begin == pytest.approx(speech.onset / RATE, abs=0.15)
    assert words[-1].end == pytest.approx(speech.end / RATE, abs=0.15)
    assert words[3].end - words[3].begin > words[2].end - words[2].begin  # "capital" and "the"


def test_words_that_the_aligner_does_not_know_are_not_guessed() -> None:
    assert Aligner().words("What is the xyzzyq of France?", load_audio(QUESTIONS / "capital-france.flac")) is None


def test_a_word_was_heard_once_its_end_was() -> None:
    words = [Word(0.0, 0.4), Word(0.4, 0.6), Word(1.0, 2.0)]
    assert [words_heard(words, seconds) for seconds in (0.3, 0.4, 0.55, 1.9, 2.0)] == [0, 1, 1, 2, 3]


def test_the_beginning_of_an_answer_is_told_from_another_answer() -> None:
    rng = np.random.default_rng(1)
    whole, other = rng.standard_normal(RATE).astype(np.float32), rng.standard_normal(RATE).astype(np.float32)
    assert is_beginning(whole[: RATE // 3] * 1.001, whole)
    assert not is_beginning(other[: RATE // 3], whole)
    assert not is_beginning(np.concatenate([whole, whole]), whole)
    assert not is_beginning(np.zeros(0, np.float32), whole)

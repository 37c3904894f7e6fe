"""A conversation through the page: asked by voice, heard as sound and seen as captions; interrupted; and how long it takes."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from clients.duplex.sound import Aligner, words_heard
from clients.duplex.truncation import is_beginning
from clients.python.audio import RATE, Wave
from omni_core.audio import resample
from omni_core.datagen.synthesis import SAMPLE_RATE as CLIP_RATE
from omni_core.datagen.synthesis import speak
from omni_core.datagen.voices import EVALUATION_ESPEAK_VOICES
from omni_core.metrics import same_words, transcribe, word_errors
from tests.browser.conftest import Visit
from tests.browser.visitor import Recording, Visitor, question

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

STORY = "Can you tell me a short story?"
FALLS_SILENT_MS = 450  #: after the end of the command, at the median
FIRST_SOUND_MS = 600  #: after the end of speech, at the median
SILENCE_MS = 200  #: that ends a turn where latency is measured


def command(number: int) -> Wave:
    """ "Stop Omni", in one of the voices that nothing was trained on."""
    voice = EVALUATION_ESPEAK_VOICES[number % len(EVALUATION_ESPEAK_VOICES)]
    return resample(speak("Stop Omni!", voice, seed=number), CLIP_RATE, RATE)


def first_words_alike(kept: str, played: Wave, whole_text: str, whole: Wave) -> int:
    """How many words more (or fewer) than were played are kept."""
    words = Aligner().words(whole_text, whole)
    assert words is not None
    assert is_beginning(played, whole)
    return len(kept.split()) - words_heard(words, len(played) / RATE)


def test_a_spoken_question_is_heard_and_its_answer_is_played(visit: Visit, tmp_path: Path) -> None:
    visitor = visit(1.0, question("capital-france-annie"), 30.0)
    visitor.talk()
    (answer,) = visitor.answered()
    recording = visitor.recording(tmp_path / "conversation.wav")
    assert same_words(answer["text"], "The capital of France is the city of Paris.")
    assert [item["role"] for item in visitor.do("omni.conversation.items")] == ["user", "assistant"]
    assert visitor.page.locator("article.assistant .said").inner_text() == answer["text"]
    ((begin, end),) = recording.answers()
    assert begin > recording.end(visitor.said[0])
    heard = transcribe(recording.played[begin:end], RATE)
    print(f"\npocketsphinx heard {heard!r} in what the page played")
    assert word_errors(answer["text"], heard).rate <= 0.5
    assert "paris" in heard.lower() or "france" in heard.lower()
    print(f"underruns: {underruns(visitor)}; figures: {visitor.do('omni.latency.figures')}")


def underruns(visitor: Visitor) -> int:
    """As the panel shows them."""
    visitor.page.click("#figures-button")
    shown = visitor.page.inner_text("#figure-underruns")
    visitor.page.click("#figures-button")
    return int(shown) if shown.isdigit() else 0


def test_speaking_over_an_answer_silences_it_and_strikes_out_what_was_not_heard(visit: Visit, tmp_path: Path) -> None:
    """Without the listener too: any voice interrupts."""
    visitor = visit(25.0, question("capital-japan-annie"), 30.0)
    visitor.talk()
    visitor.choose(interruption="voice")
    visitor.type(STORY)
    (whole,) = visitor.answered()
    spoken = visitor.do("omni.recorder.seconds")
    assert spoken < 25, "the machine is too slow for this script"
    visitor.page.wait_for_timeout(max(0, 22_500 - 1_000 * elapsed_s(visitor)))
    visitor.type(STORY)
    visitor.page.locator("del:not(:empty)").wait_for()
    visitor.page.wait_for_timeout(3_000)  # by then the server has listened to what was heard
    (cut,) = [item for item in visitor.items("assistant") if item["heard"] is not None]
    visitor.answered(3)
    recording = visitor.recording(tmp_path / "conversation.wav")
    stretches = recording.answers()
    (one, two) = (recording.played[slice(*stretch)] for stretch in stretches[:2])
    off = first_words_alike(cut["heard"], two, whole["text"], one)
    print(f"\nkept {cut['heard']!r}, {off:+d} words of what was played in {len(two) / RATE:.2f} s")
    assert abs(off) <= 1
    assert visitor.page.locator("del:not(:empty)").inner_text() in whole["text"]
    truncated = next(event for event in visitor.sent if event["type"] == "conversation.item.truncate")
    assert abs(truncated["audio_end_ms"] - 1000 * len(two) / RATE) < 60  # to the sample in the worklet; a stretch's edges are quiet


def elapsed_s(visitor: Visitor) -> float:
    """Since the microphone was opened."""
    return visitor.do("omni.devices.microphone.analyser.context.currentTime")


def rounds(count: int) -> list[float | Wave]:
    """A story asked for and stopped in the middle, `count` times."""
    said: list[float | Wave] = [1.0]
    for number in range(count):
        said += [question("story-annie"), 3.6, command(number), 3.4]
    return said


@pytest.mark.parametrize("count", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_stop_omni_is_obeyed(visit: Visit, able: dict[str, Any], tmp_path: Path, count: int) -> None:
    if not able["listens"]:
        pytest.skip("the bundled model declares no listener")
    visitor = visit(1.0, question("story-annie"), 14.0, *rounds(count), 5.0)
    visitor.choose(silenceMs=SILENCE_MS)
    visitor.talk()
    (whole,) = visitor.answered()
    visitor.until("omni.conversation.items.filter((item) => item.text === 'stopped').length >= argument", count)
    visitor.page.wait_for_timeout(3_000)
    recording = visitor.recording(tmp_path / "conversation.wav")
    delays, words = stops(visitor, recording, whole["text"])
    print(f"\nsilent {median(delays):.0f} ms after the end of the phrase at the median of {len(delays)} (of {count}): {sorted(map(round, delays))}")
    print(f"words kept beyond those that were played: {sorted(words)}")
    assert len(delays) >= 0.9 * count
    assert median(delays) <= FALLS_SILENT_MS
    assert sum(abs(off) <= 1 for off in words) >= 0.9 * len(words)


def stops(visitor: Visitor, recording: Recording, text: str) -> tuple[list[float], list[int]]:
    """From the end of each command to silence, ms; and how far each caption's cut is from what was played, in words."""
    (first, *stretches) = recording.answers()
    whole = recording.played[slice(*first)]
    kept = [item["heard"] for item in visitor.items("assistant") if item["heard"] is not None]
    delays, words, place = [], [], 0
    for said in visitor.said[2::2]:
        ended = place = recording.end(said, place)
        stretch = next(((begin, end) for begin, end in stretches if begin < ended and end > ended - RATE), None)
        if stretch is not None:
            delays.append((stretch[1] - ended) * 1000 / RATE)
    for heard, (begin, end) in zip(kept, stretches, strict=False):
        words.append(first_words_alike(heard, recording.played[begin:end], text, whole))
    return delays, words


@pytest.mark.parametrize("count", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_the_first_sound_comes_soon_after_the_last_word(visit: Visit, tmp_path: Path, count: int) -> None:
    names = ("capital-france", "joke", "who-are-you", "spider-legs", "water-freeze", "favourite-colour", "sky-blue", "bees", "mountain", "ocean")
    said: list[float | Wave] = [1.0]
    for name in names[:count]:
        said += [question(f"{name}-annie"), 9.0]
    visitor = visit(*said, 5.0)
    visitor.choose(silenceMs=SILENCE_MS)
    visitor.talk()
    parts = []
    for number in range(count):
        visitor.until("omni.conversation.items.filter((item) => item.role === 'assistant').length > argument", number)
        visitor.answered(number + 1)
        parts.append(visitor.do("omni.latency.figures"))
    recording = visitor.recording(tmp_path / "conversation.wav")
    delays = measured(visitor, recording)
    print(f"\nend of speech to first sample: {median(delays):.0f} ms at the median of {len(delays)}: {sorted(map(round, delays))}")
    for name in ("total", "waiting", "answering", "server", "buffering"):
        known = [figures[name] for figures in parts if figures and figures[name] is not None]
        print(f"  {name}: {median(known):.0f} ms" if known else f"  {name}: not known")
    if count > 1:
        assert median(delays) <= FIRST_SOUND_MS


def measured(visitor: Visitor, recording: Recording) -> list[float]:
    """From the end of each question to the first sample of its answer, ms."""
    delays, place = [], 0
    begins = np.array([begin for begin, _ in recording.answers(silence_s=1.5)])
    for said in visitor.said:
        place = recording.end(said, place)
        later = begins[begins > place - RATE // 10]
        if len(later):
            delays.append((later[0] - place) * 1000 / RATE)
    return delays

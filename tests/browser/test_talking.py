"""A conversation through the page: asked by voice, heard as sound and seen as captions; interrupted; and how long it takes."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from math import nan
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from clients.duplex.sound import Aligner, words_heard
from clients.duplex.truncation import is_beginning
from clients.python.audio import RATE, Wave
from omni_core.audio import resample
from omni_core.datagen.synthesis import SAMPLE_RATE as CLIP_RATE
from omni_core.datagen.synthesis import speak
from omni_core.datagen.voices import EVALUATION_ESPEAK_VOICES
from omni_core.metrics import same_words, transcribe, word_errors
from tests.browser.conftest import Visit
from tests.browser.visitor import Recording, Said, Visitor, question

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

STORY = "Can you tell me a short story?"
TIMES = 20  #: that a story is told to stop
FALLS_SILENT_MS = 450  #: after the end of the command, at the median
FIRST_SOUND_MS = 600  #: after the end of speech, at the median
LISTENED_S = 10  #: by then a server has listened to what was heard of an answer
SILENCE_MS = 200  #: that ends a turn where latency is measured


def command(number: int) -> Wave:
    """ "Stop Omni", in one of the voices that nothing was trained on."""
    voice = EVALUATION_ESPEAK_VOICES[number % len(EVALUATION_ESPEAK_VOICES)]
    return resample(speak("Stop Omni!", voice, seed=number), CLIP_RATE, RATE)


def test_a_spoken_question_is_heard_and_its_answer_is_played(visit: Visit, tmp_path: Path) -> None:
    visitor = visit(1.0, question("capital-france-annie"), 30.0)
    visitor.talk()
    (answer,) = visitor.answered()
    recording = visitor.recording(tmp_path / "conversation.wav")
    assert same_words(answer["text"], "The capital of France is the city of Paris.")
    assert [item["role"] for item in visitor.do("omni.conversation.items")] == ["user", "assistant"]
    assert visitor.page.locator("article.assistant .said").inner_text() == answer["text"]
    (stretch,) = recording.answers()
    assert stretch[0] > recording.end(visitor.said[0])
    heard = transcribe(recording.sound(stretch), RATE)
    print(f"\npocketsphinx heard {heard!r} in what the page played")
    assert word_errors(answer["text"], heard).rate <= 0.5
    assert "paris" in heard.lower() or "france" in heard.lower()
    print(f"first sample {measured(visitor, recording)[0]:.0f} ms after the end of speech; underruns: {underruns(visitor)}")


def underruns(visitor: Visitor) -> int:
    """As the panel shows them."""
    visitor.page.click("#figures-button")
    shown = visitor.page.inner_text("#figure-underruns")
    visitor.page.click("#figures-button")
    return int(shown) if shown.isdigit() else 0


@pytest.fixture(scope="module")
def story(nano: str) -> tuple[str, Wave]:
    """All of it, and how it sounds, from the same server without a page: what is cut short is compared with it."""
    asked = {"messages": [{"role": "user", "content": STORY}], "modalities": ["text", "audio"], "audio": {"format": "wav", "voice": "alloy"}}
    reply = httpx.post(f"{nano}v1/chat/completions", json=asked, trust_env=False, timeout=120).raise_for_status()
    spoken = reply.json()["choices"][0]["message"]["audio"]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(spoken["data"])), dtype="float32")
    assert rate == RATE
    wave = np.asarray(samples, np.float32)
    whole = Recording(wave, wave)
    return spoken["transcript"], whole.sound(whole.answers()[0])


def place_in(whole: Wave, played: Wave) -> int | None:
    """The sample of `whole` at which what was played begins: it was faded in, and its first samples are too quiet to be seen. None: it is another."""
    begin = Recording(whole, whole).find(Said(played[:RATE], 0))
    return begin if is_beginning(played, whole[begin:]) else None


def words_too_many(kept: str, samples: int, story: tuple[str, Wave]) -> int:
    """How many words more (or fewer) than are in its first samples are kept."""
    words = Aligner().words(*story)
    assert words is not None
    return len(kept.split()) - words_heard(words, samples / RATE)


def test_speaking_over_an_answer_silences_it_and_strikes_out_what_was_not_heard(visit: Visit, story: tuple[str, Wave], tmp_path: Path) -> None:
    """Without the listener too: any voice interrupts."""
    visitor = visit(1.5, question("capital-japan-annie"), 30.0)
    visitor.choose(interruption="voice")
    visitor.type(STORY)
    visitor.until_state("speaking")
    visitor.talk()
    visitor.page.locator("del:not(:empty)").wait_for()
    visitor.answered(2)
    recording = visitor.recording(tmp_path / "conversation.wav")
    played = recording.sound(recording.answers()[0])
    agrees(visitor, recording, story)
    assert visitor.page.locator("del:not(:empty)").inner_text() in story[0]
    truncated = next(event for event in visitor.sent if event["type"] == "conversation.item.truncate")
    assert abs(truncated["audio_end_ms"] - 1000 * len(played) / RATE) < 60  # to the sample in the worklet; a stretch's edges are quiet


def agrees(visitor: Visitor, recording: Recording, story: tuple[str, Wave], samples: int | None = None) -> None:
    """The first caption is cut where what was played of it ends (its first `samples` samples), within one word, once the server has listened."""
    stretch = recording.answers()[0]
    sound = recording.sound(stretch)
    played = sound[:samples]
    begin = place_in(story[1], played)
    ran_dry = len(sound) < stretch[1] - stretch[0]  # then it can be counted, but not compared
    assert begin is not None or ran_dry
    deadline = time.monotonic() + LISTENED_S
    while True:
        kept = visitor.items("assistant")[0]["heard"]
        off = words_too_many(kept, (begin or 0) + len(played), story)
        if abs(off) <= 1 or time.monotonic() > deadline:
            break
        visitor.page.wait_for_timeout(500)
    print(f"\nkept {kept!r}, {off:+d} words of what was played in {len(played) / RATE:.2f} s")
    assert abs(off) <= 1


@pytest.fixture
def listens(able: dict[str, Any]) -> None:
    if not able["listens"]:
        pytest.skip("the bundled model declares no listener")


@pytest.mark.usefixtures("listens")
def test_stop_omni_silences_a_story(visit: Visit, story: tuple[str, Wave], tmp_path: Path) -> None:
    """Said until it is heard, as people do: how often a model hears it, and how soon, is judged over many."""
    said: list[float | Wave] = []
    for number in range(4):
        said += [1.2, command(number)]
    visitor = visit(*said, 10.0)
    visitor.type(STORY)
    visitor.until_state("speaking")
    visitor.talk()
    visitor.until("omni.conversation.items.some((item) => item.text === 'stopped')")
    visitor.page.click("#talk")  # muted: who was heard does not go on saying it
    visitor.until("omni.conversation.items.some((item) => item.heard !== null)")
    visitor.page.wait_for_timeout(1_000)
    recording = visitor.recording(tmp_path / "conversation.wav")
    sound = recording.sound(recording.answers()[0])
    told_ms = next(event["audio_end_ms"] for event in visitor.sent if event["type"] == "conversation.item.truncate")
    heard = round(told_ms * RATE / 1000)
    agrees(visitor, recording, story, heard)
    more = sound[: heard + RATE // 2]  # an earlier command that was taken for a question is answered by now
    assert len(more) < heard + RATE // 10 or place_in(story[1], more) is None


@pytest.mark.slow
@pytest.mark.usefixtures("listens")
def test_stop_omni_is_obeyed_twenty_times(visit: Visit, story: tuple[str, Wave], tmp_path: Path) -> None:
    """Once in each of twenty stories; where it is not heard, the story goes on to its end."""
    said: list[float | Wave] = [1.0]
    for number in range(TIMES):
        said += [question("story-annie"), 3.6, command(number), len(story[1]) / RATE]
    visitor = visit(*said, 10.0)
    visitor.choose(silenceMs=SILENCE_MS)
    visitor.talk()
    visitor.until("omni.devices.microphone.analyser.context.currentTime > argument", visitor.said[-1].end / RATE + 8, patience_s=600)
    cut = [item for item in visitor.items("assistant") if item["heard"] is not None]
    recording = visitor.recording(tmp_path / "conversation.wav")
    stops = [stop for ended in ends(visitor.said[1::2], recording) if (stop := stopped(recording, ended)) is not None]
    delays = [(end - ended) * 1000 / RATE for (_, end), ended in stops]
    words = []
    for item, (stretch, _) in zip(cut, stops, strict=False):
        played = recording.sound(stretch)
        begin = place_in(story[1], played)
        if begin is not None:
            words.append(words_too_many(item["heard"], begin + len(played), story))
    print(f"\nheard {len(delays)} of {TIMES} commands, missed {TIMES - len(delays)}; of those that were heard:")
    print(f"silent {median(delays or [nan]):.0f} ms after the phrase's end at the median: {sorted(map(round, delays))}")
    print(f"words kept beyond those that were played: {sorted(words)}; {len(stops) - len(words)} not judged: they sound unlike the typed story")
    assert len(cut) == len(delays)
    assert sum(abs(off) <= 1 for off in words) >= 0.9 * len(words)
    assert median(delays or [nan]) <= FALLS_SILENT_MS
    assert len(delays) >= 0.9 * TIMES


def ends(said: Sequence[Said], recording: Recording) -> list[int]:
    """The samples of the recording at which these end: each within a second of where the one before says, for they are much alike."""
    found, shift = [], recording.find(said[0], stop=said[0].begin + len(said[0].wave) + 10 * RATE) - said[0].begin
    for each in said:
        begin = each.begin + shift
        begin = recording.find(each, max(0, begin - RATE), begin + len(each.wave) + RATE)
        shift = begin - each.begin
        found.append(begin + each.end - each.begin)
    return found


def stopped(recording: Recording, ended: int) -> tuple[tuple[int, int], int] | None:
    """The answer that was being played when a command ended there, if it fell silent then or up to 2 s later; and that end."""
    for begin, end in recording.answers():
        if begin < ended and ended - RATE // 2 < end < ended + 2 * RATE:
            return (begin, end), ended
    return None


@pytest.mark.slow
def test_the_first_sound_comes_soon_after_the_last_word(visit: Visit, tmp_path: Path) -> None:
    names = ("capital-france", "joke", "who-are-you", "spider-legs", "water-freeze", "favourite-colour", "sky-blue", "bees", "mountain", "ocean")
    said: list[float | Wave] = [1.0]
    for name in names:
        said += [question(f"{name}-annie"), 9.0]
    visitor = visit(*said, 5.0)
    visitor.choose(silenceMs=SILENCE_MS)
    visitor.talk()
    figures = []
    for number in range(len(names)):
        visitor.until("omni.conversation.items.filter((item) => item.role === 'assistant').length > argument", number)
        visitor.answered(number + 1)
        figures.append(visitor.do("omni.latency.figures"))
    delays = measured(visitor, visitor.recording(tmp_path / "conversation.wav"))
    print(f"\nend of speech to first sample: {median(delays):.0f} ms at the median of {len(delays)}: {sorted(map(round, delays))}")
    for part in ("total", "waiting", "answering", "server", "buffering"):
        known = [each[part] for each in figures if each and each[part] is not None]
        print(f"  {part}: {median(known):.0f} ms" if known else f"  {part}: not known")
    assert len(delays) == len(names)
    assert median(delays) <= FIRST_SOUND_MS


def measured(visitor: Visitor, recording: Recording) -> list[float]:
    """From the end of each question to the first sample of its answer, ms."""
    delays, place = [], 0
    begins = np.array([begin for begin, _ in recording.answers()])
    for said in visitor.said:
        place = recording.end(said, place)
        later = begins[begins > place - RATE // 10]
        if len(later):
            delays.append((later[0] - place) * 1000 / RATE)
    return delays

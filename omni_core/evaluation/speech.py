"""Can the answers be understood? Owns the suite `speech`: pocketsphinx's word error rate on spoken answers against their own text, beside the
same sentences in the original voice (flite), so that what the ear mishears in any case is not laid to the model.

Fixed answers come from a known stock; open text is what the model is asked to repeat, half of it heard, half of it typed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from omni_core.datagen.manifest import Item, choose
from omni_core.datagen.synthesis import SAMPLE_RATE, speak, speak_all
from omni_core.datagen.voices import ANSWER_VOICE
from omni_core.errors import DataError
from omni_core.evaluation.asking import Asker, Reply, Track
from omni_core.evaluation.breakdown import key_of
from omni_core.evaluation.results import Clip, Figure, Sample, Suite, Table
from omni_core.evaluation.targets import Unit
from omni_core.metrics import ErrorCount, normalise, total, transcribe, transcribe_all, word_errors

SENTENCES = 60  #: of each kind, at most
_OPEN = "repeat"  #: the skill whose answers are open text
_SHOWN, _SAMPLES = 8, 2


@dataclass(frozen=True, eq=False)
class Heard:
    """A spoken answer and what pocketsphinx made of it."""

    reply: Reply
    words: str
    errors: ErrorCount  #: against the answer's text
    original: ErrorCount  #: of the same text in the original voice


def original_wer(texts: Iterable[str]) -> float:
    """pocketsphinx's word error rate on the same sentences in the synthesiser's own voice: what a perfect answer would get (needs flite)."""
    listed = list(texts)
    waves = list(speak_all((text, ANSWER_VOICE, 0) for text in dict.fromkeys(listed)))
    words = dict(zip(dict.fromkeys(listed), transcribe_all([(wave, SAMPLE_RATE) for wave in waves]), strict=True))
    return total([word_errors(text, words[text]) for text in listed]).rate


def run(asker: Asker, items: Sequence[Item], track: Track, *, seed: int, listenable: bool) -> Suite:
    """Ask a part of `items`, questions without pictures, aloud and listen. Raises MissingExtra without pocketsphinx, SynthesisError without flite."""
    transcribe(speak("Good morning.", ANSWER_VOICE), SAMPLE_RATE)  # what is missing is said before anything is asked
    figures, rows, heard, samples = [], [], [], []
    for kind, asked in (("fixed", _fixed(items, seed)), ("open", _open(items, seed))):
        mine = _listen(asker, asker.ask(asked, "A2", track, f"{kind} answers"), track, f"listening to {kind} answers")
        if not mine:
            continue
        errors, original = total([each.errors for each in mine]), total([each.original for each in mine])
        ratio = errors.rate / original.rate if original.errors else None
        figures += [
            Figure(key_of("speech", kind, "wer"), errors.rate, errors.words, "words"),
            Figure(key_of("speech", kind, "original_wer"), original.rate, original.words, "words"),
            *([] if ratio is None else [Figure(key_of("speech", kind, "ratio"), ratio, len(mine), "answers", Unit.TIMES)]),
        ]
        rows.append((kind, len(mine), errors.words, errors.rate, original.rate, ratio))
        samples += [_sample(asker, each, kind) for each in mine[:_SAMPLES]]
        heard += mine
    if not heard:
        raise DataError("the manifest holds no question whose answer was spoken in words")
    units = (None, Unit.NUMBER, Unit.NUMBER, Unit.SHARE, Unit.SHARE, Unit.TIMES)
    return Suite(
        name="speech",
        title="The answers’ sound",
        about="What pocketsphinx, an independent ear, hears in the answers, beside what it hears in the same sentences of the original voice.",
        figures=tuple(figures),
        tables=(
            Table("Word error rate", ("answers", "clips", "words", "model", "original voice", "ratio"), tuple(rows), units),
            _worst(heard),
        ),
        samples=tuple(samples) if listenable else (),
    )


def _fixed(items: Sequence[Item], seed: int) -> list[Item]:
    """Questions without noise whose answers are settled; each answer once."""
    usable = [item for item in items if item.skill != _OPEN and item.condition in ("", "clean")]
    return choose(list({item.expect: item for item in usable}.values()), SENTENCES, seed)


def _open(items: Sequence[Item], seed: int) -> list[Item]:
    usable = [item for item in items if item.skill == _OPEN and item.condition in ("", "clean")]
    chosen = choose(list({item.expect: item for item in usable}.values()), SENTENCES, seed)
    return [dataclasses.replace(item, audio=None, text=item.question) if n % 2 and item.question else item for n, item in enumerate(chosen)]


def _listen(asker: Asker, replies: Sequence[Reply], track: Track, name: str) -> list[Heard]:
    """What is heard in the replies that have words."""
    spoken = [reply for reply in replies if normalise(reply.text) and reply.audio is not None]
    originals = speak_all((reply.text, ANSWER_VOICE, 0) for reply in spoken)
    clips = [(reply.audio, asker.sample_rate) for reply in spoken if reply.audio is not None] + [(wave, SAMPLE_RATE) for wave in originals]
    words = list(track(transcribe_all(clips), len(clips), name))
    return [
        Heard(reply, heard, word_errors(reply.text, heard), word_errors(reply.text, original))
        for reply, heard, original in zip(spoken, words, words[len(spoken) :], strict=False)
    ]


def _worst(heard: Sequence[Heard]) -> Table:
    """What was understood worst, beyond what the original voice loses."""
    worst = sorted(heard, key=lambda each: each.errors.rate - each.original.rate, reverse=True)[:_SHOWN]
    rows = tuple((each.reply.text, each.words or "(nothing)", each.errors.rate, each.original.rate) for each in worst if each.errors.errors)
    return Table("Understood worst", ("said", "heard", "word error rate", "original voice"), rows, (None, None, Unit.SHARE, Unit.SHARE))


def _sample(asker: Asker, heard: Heard, kind: str) -> Sample:
    assert heard.reply.audio is not None
    return Sample(
        title=f"{kind} answer",
        asked=heard.reply.item.question,
        expected=heard.reply.text,
        answered=f"heard: {heard.words}",
        right=not heard.errors.errors,
        clips=(Clip("model", heard.reply.audio, asker.sample_rate), Clip("original voice", speak(heard.reply.text, ANSWER_VOICE), SAMPLE_RATE)),
    )

"""Does the model give the right answer, and can it be understood?

A manifest is JSON lines with `audio` (a path beside the manifest), `expect` (the answer's text) and any of `question`, `voice`. Right means: the
same words. Intelligibility is pocketsphinx's word error rate on the answer's audio against the answer's own text.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni_core.api import Omni
from omni_core.audio import read_audio
from omni_core.datagen.synthesis import SAMPLE_RATE, speak
from omni_core.datagen.voices import ANSWER_VOICE
from omni_core.errors import InputError
from omni_core.metrics import ErrorCount, same_words, total, transcribe, word_errors


@dataclass(frozen=True)
class Question:
    """One line of a manifest."""

    audio: Path
    expect: str
    question: str = ""
    voice: str = ""


@dataclass(frozen=True)
class Reply:
    """What the model made of one question."""

    question: Question
    text: str
    heard: ErrorCount | None  #: pocketsphinx's errors on the answer's audio; None: not measured

    @property
    def right(self) -> bool:
        return same_words(self.text, self.question.expect)


def read_manifest(path: Path) -> list[Question]:
    """Questions of a JSONL manifest. InputError names the file and line of a malformed entry or a missing clip."""
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            question = Question(path.parent / row["audio"], row["expect"], row.get("question", ""), row.get("voice", ""))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}:{number}: needs a JSON object with `audio` and `expect` ({error})") from error
        if not question.audio.is_file():
            raise InputError(f"{path}:{number}: {question.audio} does not exist")
        questions.append(question)
    return questions


def ask(omni: Omni, questions: Iterable[Question], *, listen: bool) -> Iterable[Reply]:
    """Put every question to `omni` as A1A2; `listen` measures intelligibility too (needs pocketsphinx)."""
    for question in questions:
        wave, rate = read_audio(question.audio)
        answer = omni.generate("A1A2", audio=wave, sample_rate=rate)
        yield Reply(question, answer.text, _heard(answer.text, answer.audio, answer.sample_rate) if listen else None)


def _heard(text: str, audio: NDArray[np.float32] | None, sample_rate: int) -> ErrorCount:
    return word_errors(text, "" if audio is None or not len(audio) else transcribe(audio, sample_rate))


def original_wer(texts: Iterable[str]) -> float:
    """pocketsphinx's word error rate on the same sentences in the synthesiser's own voice: what a perfect answer would get (needs flite)."""
    listed = list(texts)
    heard = {text: word_errors(text, transcribe(speak(text, ANSWER_VOICE), SAMPLE_RATE)) for text in set(listed)}
    return total([heard[text] for text in listed]).rate


def summary(replies: Sequence[Reply]) -> dict[str, Any]:
    """Shares of right answers, over all and by voice; the answers' word error rate where measured; what went wrong."""
    by_voice: dict[str, list[Reply]] = defaultdict(list)
    for reply in replies:
        by_voice[reply.question.voice].append(reply)
    heard = [reply.heard for reply in replies if reply.heard is not None]
    return {
        "questions": len(replies),
        "right": _share(replies),
        "right_by_voice": {voice: _share(group) for voice, group in sorted(by_voice.items())},
        "answer_wer": total(heard).rate if heard else None,
        "wrong": [{"voice": r.question.voice, "question": r.question.question, "answered": r.text} for r in replies if not r.right],
    }


def _share(replies: Sequence[Reply]) -> float:
    return sum(reply.right for reply in replies) / max(len(replies), 1)

"""Fixed spoken questions that ship with the repository: the acceptance test's, and a handful for the demonstration."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import soundfile

from omni_core.datagen.sentences import Dialogue, load_dialogues
from omni_core.datagen.synthesis import SAMPLE_RATE, speak
from omni_core.datagen.voices import QUESTION_VOICES, Voice

QUESTIONS = 40  #: the dialogues of the first file begin with them

#: dialogue id -> index of its voice in QUESTION_VOICES
DEMO_QUESTIONS = {"who-are-you": 0, "what-can-you-do": 1, "joke": 2, "capital-france": 3, "story": 0, "goodbye": 3}


def write_questions(folder: Path, questions: int = QUESTIONS) -> int:
    """The first `questions` canonical questions in each of the four held-out QUESTION_VOICES: `ID-VOICE.flac` (16 kHz mono, 16 bit) and
    `manifest.jsonl` with `audio`, `expect` (the answer's text), `question`, `voice`. The same files every time with the same
    espeak-ng and flite. Returns the number of files; raises SynthesisError.
    """
    dialogues = load_dialogues()[:questions]
    return _write(folder, ((f"{dialogue.id}-{voice.name}", dialogue, voice) for dialogue in dialogues for voice in QUESTION_VOICES))


def write_demo_questions(folder: Path) -> int:
    """DEMO_QUESTIONS as `ID.flac` with the same manifest as `write_questions`."""
    dialogues = {dialogue.id: dialogue for dialogue in load_dialogues()}
    return _write(folder, ((name, dialogues[name], QUESTION_VOICES[voice]) for name, voice in DEMO_QUESTIONS.items()))


def _write(folder: Path, clips: Iterable[tuple[str, Dialogue, Voice]]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, dialogue, voice in clips:
        soundfile.write(folder / f"{name}.flac", speak(dialogue.question, voice), SAMPLE_RATE, subtype="PCM_16")
        rows.append({"audio": f"{name}.flac", "expect": dialogue.answer, "question": dialogue.question, "voice": voice.name})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)

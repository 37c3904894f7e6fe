"""One question without a server: what `omni infer` does."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from omni_core.api import Answer, History, Omni, load, parse_task
from omni_core.audio import write_wav
from omni_core.checkpoint.precision import default_threads
from omni_core.config import SamplingParams
from omni_core.errors import AudioError, TaskError, TextError


@dataclass(frozen=True)
class Inference:
    """An answer and its figures; `dataclasses.asdict` of it is what `--json` prints."""

    model: str
    task: str
    text: str
    audio_file: str | None  #: where the sound was written
    audio_s: float
    reason: str  #: "stop" or "length"
    prompt_tokens: int
    steps: int
    load_s: float
    prefill_s: float  #: encoder, adapters and prompt
    first_audio_s: float | None  #: from the question to the first sound
    first_audio_sum: str | None  #: what the delay pattern and the codec ask for before it
    total_s: float
    rtf: float | None  #: compute time / audio_s: below 1 keeps up

    def lines(self) -> list[str]:
        """The same for people."""
        lines = [self.text or "(no text)"]
        if self.audio_s:
            saved = f" in {self.audio_file}" if self.audio_file else ""
            lines.append(f"{self.audio_s:.2f} s of speech{saved}, made in {self.total_s:.2f} s (real-time factor {self.rtf or 0:.2f})")
        if self.first_audio_s is not None:
            took = f"{self.first_audio_s * 1000:.0f} ms, of which {self.prefill_s * 1000:.0f} ms prefill"
            lines.append(f"first sound after {took} ({self.first_audio_sum})")
        return lines


def run_infer(
    task: str,
    *,
    model: str = "nano",
    device: str = "auto",
    dtype: str | None = None,
    audio: str | os.PathLike[str] | None = None,
    image: str | os.PathLike[str] | None = None,
    text: str | None = None,
    history: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    sampling: SamplingParams | None = None,
    max_steps: int = 1024,
) -> Inference:
    """Load `model`, answer once, write the sound to `out`. `history`: a JSON file of earlier turns (`read_history`).

    Raises an OmniError whose message says what to change.
    """
    asked = parse_task(task)
    if out is not None and not asked.speaks:
        raise TaskError(f"{asked} answers in text alone, there is no sound to save: leave the output file out, or use a task that ends in A2")
    if out is not None and not Path(out).absolute().parent.is_dir():
        raise AudioError(f"{os.fspath(out)}: there is no folder {Path(out).absolute().parent} to save the sound in: make it first")
    turns = () if history is None else read_history(history)
    begin = time.perf_counter()
    omni = load(model, device, dtype)
    if omni.bundle.model.device.type == "cpu":
        torch.set_num_threads(default_threads(omni.bundle.model))
    load_s = time.perf_counter() - begin
    answer = omni.generate(asked, audio=audio, image=image, text=text, history=turns, sampling=sampling, max_steps=max_steps)
    if out is not None and answer.audio is not None:
        write_wav(out, answer.audio, answer.sample_rate)
    saved = None if out is None else os.fspath(out)
    return Inference(model=omni.info.model, task=str(asked), load_s=load_s, audio_file=saved, **_figures(omni, answer))


def read_history(path: str | os.PathLike[str]) -> History:
    """Earlier turns, oldest first, from a JSON file `[["question", "answer"], ...]`. Raises TextError."""
    try:
        turns = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TextError(f"{os.fspath(path)}: can't be read as JSON ({error})") from None
    if not isinstance(turns, list):
        raise TextError(f'{os.fspath(path)}: expected a list of turns: [["question", "answer"], ...]')
    return turns


def _figures(omni: Omni, answer: Answer) -> dict[str, Any]:
    timings = answer.timings
    return {
        "text": answer.text,
        "audio_s": timings.audio_s,
        "reason": str(answer.reason),
        "prompt_tokens": answer.usage.prompt_tokens,
        "steps": timings.steps,
        "prefill_s": timings.prefill_s,
        "first_audio_s": timings.first_audio_s,
        "first_audio_sum": None if timings.first_audio_s is None else omni.first_audio_arithmetic(),
        "total_s": timings.total_s,
        "rtf": timings.rtf,
    }

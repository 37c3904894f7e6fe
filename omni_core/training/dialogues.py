"""Dialogues as a stream of training batches: spoken questions into features, answers into codes.

Owns which example a step sees. Batch `step` depends on the seed and the step alone, so a resumed run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.codec import Codec
from omni_core.config import BackboneConfig, LayoutConfig, ModelConfig
from omni_core.datagen import augment
from omni_core.datagen.sentences import load_dialogues
from omni_core.datagen.speech import OPEN, QUESTIONS, SpeechSet
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.encoders.mel import log_power
from omni_core.tokens import Task, Tokenizer, TokenLayout
from omni_core.training.dataset import Batch, Example, collate
from omni_core.training.encoders import pad_mels

_ROUND_UP = 32  #: rows of the embedding come in multiples of this
_SPECIALS = 7  #: special ids of the text rows, and as many of each audio layer


def layout_config(tokenizer: Tokenizer, codes: int) -> LayoutConfig:
    """The smallest layout for a tokenizer and a codec."""

    def rows(n: int) -> int:
        return -(-(n + _SPECIALS) // _ROUND_UP) * _ROUND_UP

    return LayoutConfig(tokenizer.size, rows(tokenizer.size), codes, rows(codes))


def model_config(name: str, layout: LayoutConfig, backbone: BackboneConfig, audio_features: int, adapter_mlp: int) -> ModelConfig:
    """A model without a vision adapter."""
    return ModelConfig(name, layout, backbone, audio_features, None, adapter_mlp, image_overwrites_input=False)


def answer_frames(folder: Path, codec: Codec) -> dict[str, NDArray[np.int64]]:
    """Codes [F, 7] of every answer that `datagen.speech.write_answers` spoke, by dialogue id."""
    frames = {}
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        wave, _ = soundfile.read(folder / row["audio"], dtype="float32")
        frames[row["id"]] = codec.encode(torch.from_numpy(wave)).numpy()
    return frames


class DialogueSource:
    """Draws batches of mixed tasks. The encoder and the codec are frozen and only read."""

    def __init__(self, data: Path, encoder: ChunkedEncoder, codec: Codec, tokenizer: Tokenizer, tasks: Mapping[str, float], seed: int) -> None:
        self.encoder, self.codec, self.tokenizer, self.seed = encoder, codec, tokenizer, seed
        self.layout_config = layout_config(tokenizer, codec.codes)
        self.layout = TokenLayout.from_config(self.layout_config)
        self.tasks = [Task(name) for name in tasks]
        self.shares = np.array(list(tasks.values())) / sum(tasks.values())
        self.dialogues = load_dialogues()
        self.frames = answer_frames(data / "answers", codec)
        self.open = SpeechSet(data / "speech", OPEN)
        self.questions = SpeechSet(data / "speech", QUESTIONS)
        self.takes: dict[str, list[int]] = defaultdict(list)
        for index, row in enumerate(self.questions.rows):
            self.takes[row["dialogue"]].append(index)
        self.noises = augment.noise_bank([self.open.wave(index) for index in range(64)], np.random.default_rng(seed))

    def batches(self, size: int, step: int) -> list[Batch]:
        """The `size` examples of step `step`, spoken and written answers apart, so that the short ones carry little padding."""
        rng = np.random.default_rng((self.seed, step))
        drawn = [self._draw(self.tasks[rng.choice(len(self.tasks), p=self.shares)], rng) for _ in range(size)]
        waves = [wave for _, wave in drawn if wave is not None]
        features = iter(self._features(waves, rng)) if waves else iter(())
        examples = [example if wave is None else dataclasses.replace(example, features=next(features)) for example, wave in drawn]
        groups = ([e for e in examples if e.task.speaks], [e for e in examples if not e.task.speaks])
        return [collate(self.layout, group, self.encoder.width) for group in groups if group]

    def _draw(self, task: Task, rng: np.random.Generator) -> tuple[Example, NDArray[np.float32] | None]:
        """An example without its features, and the question's waveform where the task hears one."""
        if task is Task.A1T1 and rng.random() < 0.5:
            index = int(rng.integers(len(self.open)))
            return Example(task, self.tokenizer.encode(self.open.rows[index]["text"])), self.open.wave(index)
        dialogue = self.dialogues[rng.integers(len(self.dialogues))]
        answer = self.tokenizer.encode(dialogue.answer)
        frames = self.frames[dialogue.id] if task.speaks else None
        if not task.needs_audio:
            question = dialogue.wordings[rng.integers(len(dialogue.wordings))]
            return Example(task, answer, frames, question_ids=self.tokenizer.encode(question)), None
        index = int(rng.choice(self.takes[dialogue.id]))
        if task is Task.A1T1:
            answer = self.tokenizer.encode(self.questions.rows[index]["text"])
        return Example(task, answer, frames), self.questions.wave(index)

    @torch.no_grad()
    def _features(self, waves: list[NDArray[np.float32]], rng: np.random.Generator) -> list[Tensor]:
        """Features [L, width] of each wave, distorted as in the encoder's own training, in one padded pass."""
        mels = []
        for wave in waves:
            power = self.encoder.mel.power(torch.from_numpy(augment.distort_wave(wave, self.noises, rng)))
            mels.append(log_power(augment.distort_mel(power, rng)))
        padded, lengths = pad_mels(mels)
        with torch.autocast("cpu", torch.bfloat16):
            features = self.encoder(padded, lengths).float()
        return [feature[:length] for feature, length in zip(features, lengths.tolist(), strict=True)]

"""Teaches nano's audio encoder to read: CTC over characters, before the language model hears through it.

Owns the training loop, its configuration and the reading scores (character and word error on held-out voices). Clips come from
`datagen.speech`, half open sentences, half dialogue questions, distorted anew each time. The schedule runs over minutes, not
steps: the cosine reaches its end when the time is up.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from omni_core.config import ChunkedEncoderConfig, from_dict
from omni_core.datagen import augment
from omni_core.datagen.sentences import spoken_form
from omni_core.datagen.speech import HELD_OUT_ESPEAK, HELD_OUT_FLITE, OPEN, QUESTIONS, SpeechSet
from omni_core.datagen.voices import FLITE
from omni_core.encoders.chunked import CTC_PER_FEATURE, FEATURE_SAMPLES, ChunkedEncoder
from omni_core.encoders.ctc import BLANK, VOCABULARY, character_ids, greedy_text
from omni_core.encoders.mel import LogMel, log_power
from omni_core.errors import ConfigError
from omni_core.metrics import edits
from omni_core.training.checkpoints import load_state, save_state

_FRAMES_PER_FEATURE = 4
_BUCKET_BATCHES = 12  # batches that are cut from one pool of clips sorted by length


@dataclass(frozen=True)
class EncoderTrainingConfig:
    """`training/configs/encoders.yaml`."""

    data: str  #: folder of `datagen.speech` sets
    output: str
    seed: int
    minutes: float  #: of the whole run; warm-up and cosine run over this
    warmup_minutes: float
    batch: int  #: clips
    question_share: float  #: of the clips; the others are open sentences
    flite_share: float  #: of the clips; flite's voices are few, but nearer to people's than espeak-ng's
    rate: float  #: peak learning rate
    weight_decay: float
    clip: float  #: gradient norm
    evaluate_steps: int
    save_minutes: float
    early_minutes: float  #: write early.safetensors then, for whoever waits for the encoder; 0: don't
    encoder: ChunkedEncoderConfig


@dataclass(frozen=True)
class Reading:
    """How well a set of clips was read."""

    characters: float  #: edit distance over the reference's characters
    words: float
    clips: int


def read_config(path: Path) -> EncoderTrainingConfig:
    """Raises ConfigError for unknown or missing keys, or a vocabulary that isn't CTC's."""
    config = from_dict(EncoderTrainingConfig, yaml.safe_load(path.read_text(encoding="utf-8")), path.name)
    if config.encoder.ctc_vocabulary != VOCABULARY:
        raise ConfigError(f"{path.name}: encoder.ctc_vocabulary must be {VOCABULARY} for training, got {config.encoder.ctc_vocabulary}")
    return config


@dataclass(frozen=True)
class Batch:
    """Clips of about one length."""

    mel: torch.Tensor  #: [B, T, mels]
    lengths: torch.Tensor  #: [B] features
    targets: torch.Tensor  #: [B, U] character ids
    target_lengths: torch.Tensor  #: [B]


class Clips:
    """Endless distorted training batches of about equal length."""

    def __init__(self, config: EncoderTrainingConfig, mel: LogMel, seed: int) -> None:
        self.config, self.mel = config, mel
        self.rng = np.random.default_rng(seed)
        self.sets = (SpeechSet(config.data, QUESTIONS), SpeechSet(config.data, OPEN))
        if not all(map(len, self.sets)):
            raise ConfigError(f"{config.data}: no complete parts of {QUESTIONS!r} and {OPEN!r} there: make them with `omni data speech`")
        none = np.zeros(0, np.int64)
        self._pools = [(none, none)] * len(self.sets)
        noise_rng = np.random.default_rng(config.seed)
        talkers = [self.sets[1].wave(int(noise_rng.integers(len(self.sets[1])))) for _ in range(64)]
        self.noises = augment.noise_bank(talkers, noise_rng)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self._pools = [self._by_engine(clips) for clips in self.sets]
            pool = sorted((self._clip() for _ in range(_BUCKET_BATCHES * self.config.batch)), key=lambda clip: len(clip[0]))
            for index in self.rng.permutation(_BUCKET_BATCHES):
                yield collate(pool[index * self.config.batch : (index + 1) * self.config.batch])

    def _by_engine(self, clips: SpeechSet) -> tuple[np.ndarray, np.ndarray]:
        """Clip numbers of flite's voices and of the others, new parts included."""
        if clips.refresh() != sum(map(len, self._pools[self.sets.index(clips)])):
            flite = np.array([row["voice"]["engine"] == FLITE for row in clips.rows])
            return np.flatnonzero(flite), np.flatnonzero(~flite)
        return self._pools[self.sets.index(clips)]

    def _clip(self) -> tuple[torch.Tensor, list[int]]:
        number = 0 if self.rng.random() < self.config.question_share else 1
        clips = self.sets[number]
        flite, others = self._pools[number]
        index = int(self.rng.choice(flite if self.rng.random() < self.config.flite_share else others))
        wave = augment.distort_wave(clips.wave(index), self.noises, self.rng)
        power = augment.distort_mel(self.mel.power(torch.from_numpy(wave)), self.rng)
        return log_power(power), character_ids(spoken_form(clips.rows[index]["text"]))


def pad_mels(mels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mels [T, mels], padded with the quietest value to whole features and one length: [B, T, mels], and features [B]."""
    lengths = torch.tensor([-(-len(mel) // _FRAMES_PER_FEATURE) for mel in mels])
    frames = int(lengths.max()) * _FRAMES_PER_FEATURE
    silence = float(log_power(torch.zeros(())))
    return torch.stack([F.pad(mel, (0, 0, 0, frames - len(mel)), value=silence) for mel in mels]), lengths


def collate(clips: Sequence[tuple[torch.Tensor, list[int]]]) -> Batch:
    """(log-mel [T, mels], character ids) to a padded batch."""
    mel, lengths = pad_mels([mel for mel, _ in clips])
    target_lengths = torch.tensor([len(ids) for _, ids in clips])
    targets = torch.stack([F.pad(torch.tensor(ids), (0, int(target_lengths.max()) - len(ids))) for _, ids in clips])
    return Batch(mel, lengths, targets, target_lengths)


def ctc_loss(encoder: ChunkedEncoder, batch: Batch) -> torch.Tensor:
    """Mean loss a character."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = encoder.ctc_logits(encoder(batch.mel, batch.lengths))
    steps = logits.float().log_softmax(-1).transpose(0, 1)  # [2 L, B, V]
    return F.ctc_loss(steps, batch.targets, batch.lengths * CTC_PER_FEATURE, batch.target_lengths, blank=BLANK, zero_infinity=True)


def rate_at(progress: float, config: EncoderTrainingConfig) -> float:
    """Learning rate when `progress` (0 to 1) of the minutes have passed: linear warm-up, then a cosine to 1 % of the peak."""
    warmup = config.warmup_minutes / config.minutes
    if progress < warmup:
        return config.rate * max(progress / warmup, 0.01)
    turn = math.pi * min((progress - warmup) / (1 - warmup), 1.0)
    return config.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(turn)))


@torch.inference_mode()
def read_clips(encoder: ChunkedEncoder, clips: SpeechSet, indices: Sequence[int], snr_db: float | None = None, batch: int = 32) -> Reading:
    """Greedy reading of `clips` as they are, or in white noise of `snr_db`."""
    rng = np.random.default_rng(0)
    encoder.eval()
    errors = characters = word_errors = words = 0
    order = sorted(indices, key=lambda index: clips.rows[index]["samples"])
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        mels = []
        for index in group:
            wave = clips.wave(index)
            if snr_db is not None:
                wave = augment.add_noise(wave, rng.standard_normal(len(wave)).astype(np.float32), snr_db, rng)
            mels.append(encoder.mel(F.pad(torch.from_numpy(wave), (0, -len(wave) % FEATURE_SAMPLES))))
        mel, lengths = pad_mels(mels)
        with torch.autocast("cpu", torch.bfloat16):
            logits = encoder.ctc_logits(encoder(mel, lengths))
        for row, index in enumerate(group):
            wanted = spoken_form(clips.rows[index]["text"])
            heard = greedy_text(logits[row, : int(lengths[row]) * CTC_PER_FEATURE])
            errors += edits(wanted, heard).errors
            characters += len(wanted)
            word_errors += edits(wanted.split(), heard.split()).errors
            words += len(wanted.split())
    encoder.train()
    return Reading(errors / max(characters, 1), word_errors / max(words, 1), len(order))


def load_encoder(config: ChunkedEncoderConfig, path: Path) -> ChunkedEncoder:
    """The encoder with the weights of `path` (without the CTC head), ready to encode."""
    encoder = ChunkedEncoder(dataclasses.replace(config, ctc_vocabulary=0))
    encoder.load_state_dict(load_file(path))
    return encoder.eval()


def held_out_groups(folder: str) -> dict[str, tuple[SpeechSet, list[int]]]:
    """The four groups that scores are told of: held-out espeak-ng voices and flite rms, each on known questions and on open sentences."""
    groups = {}
    for label, name in (("espeak", HELD_OUT_ESPEAK), ("rms", HELD_OUT_FLITE)):
        clips = SpeechSet(folder, name)
        groups[f"{label} questions"] = (clips, [i for i, row in enumerate(clips.rows) if row["dialogue"]])
        groups[f"{label} open"] = (clips, [i for i, row in enumerate(clips.rows) if not row["dialogue"]])
    return groups


def write_weights(encoder: ChunkedEncoder, path: Path, *, ctc: bool) -> None:
    """Float32 weights as safetensors, atomically, with or without the CTC head; the encoder's configuration in the metadata."""
    state = {name: tensor.detach().clone().contiguous() for name, tensor in encoder.state_dict().items() if ctc or not name.startswith("ctc.")}
    values = encoder.config.__dict__ | ({} if ctc else {"ctc_vocabulary": 0})
    temporary = path.with_suffix(".part")
    save_file(state, temporary, metadata={"config": json.dumps(values)})
    temporary.chmod(0o644)  # save_file makes it private to its owner
    os.replace(temporary, path)


class EncoderTrainer:
    """The state of a run: weights, optimiser, step, seconds spent."""

    def __init__(self, config: EncoderTrainingConfig) -> None:
        torch.manual_seed(config.seed)
        self.config, self.output = config, Path(config.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.encoder = ChunkedEncoder(config.encoder)
        matrices = [p for p in self.encoder.parameters() if p.ndim > 1]
        others = [p for p in self.encoder.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98), fused=True)
        self.step, self.seconds = 0, 0.0
        self.groups = held_out_groups(config.data)

    def resume(self) -> None:
        self.step, self.seconds = load_state(self.output / "state.pt", self.encoder, self.optimiser)

    def save(self) -> None:
        save_state(self.output / "state.pt", self.encoder, self.optimiser, self.step, self.seconds)

    def train_step(self, batch: Batch) -> float:
        """One update; the loss, NaN never: a batch whose gradient isn't finite is left out."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.seconds / (60 * self.config.minutes), self.config)
        loss = ctc_loss(self.encoder, batch)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.encoder.parameters(), self.config.clip)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        return float(loss.detach())

    def evaluate(self, clips_a_second: float) -> str:
        """Scores of the held-out groups, appended to NOTES.md."""
        scores = {name: read_clips(self.encoder, *group) for name, group in self.groups.items()}
        told = ", ".join(f"{name} CER {score.characters:.1%} WER {score.words:.1%}" for name, score in scores.items())
        line = f"- {time.strftime('%H:%M:%S')} step {self.step}, {self.seconds / 60:.1f} min, {clips_a_second:.0f} clips/s: {told}"
        with (self.output / "NOTES.md").open("a", encoding="utf-8") as notes:
            notes.write(line + "\n")
        return line


def run(config_path: Path, *, resume: bool, max_minutes: float | None) -> None:
    """Train by the configuration file until its minutes are up; `max_minutes` stops earlier, to go on with `resume`.

    Writes state.pt, NOTES.md, and at the end final.safetensors and with_ctc.safetensors into the output folder. Raises ConfigError
    for a bad configuration or missing data.
    """
    config = read_config(config_path)
    trainer = EncoderTrainer(config)
    if resume:
        trainer.resume()
    before, start = trainer.seconds, time.monotonic()
    stop = min(60 * config.minutes, before + 60 * max_minutes if max_minutes else math.inf)
    saved = before
    smooth = math.nan
    with tqdm(unit="clip", desc="encoder", mininterval=20, dynamic_ncols=True) as bar:
        for batch in Clips(config, trainer.encoder.mel, config.seed + 1 + trainer.step):
            loss = trainer.train_step(batch)
            smooth = loss if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss
            last, trainer.seconds = trainer.seconds, before + time.monotonic() - start
            bar.update(len(batch.lengths))
            bar.set_postfix_str(f"loss {smooth:.3f}, {(stop - trainer.seconds) / 60:.1f} min left", refresh=False)
            if trainer.step % config.evaluate_steps == 0:
                bar.write(trainer.evaluate(bar.n / (trainer.seconds - before)))
            if last < 60 * config.early_minutes <= trainer.seconds:
                write_weights(trainer.encoder, trainer.output / "early.safetensors", ctc=False)
            if trainer.seconds - saved > 60 * config.save_minutes:
                trainer.save()
                saved = trainer.seconds
            if trainer.seconds >= stop:
                break
        rate = bar.n / (trainer.seconds - before)
    trainer.save()
    print(trainer.evaluate(rate))
    if trainer.seconds >= 60 * config.minutes:
        write_weights(trainer.encoder, trainer.output / "with_ctc.safetensors", ctc=True)
        write_weights(trainer.encoder, trainer.output / "final.safetensors", ctc=False)

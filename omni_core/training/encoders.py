"""Teaches nano's audio encoder to read: CTC over characters, before the language model hears through it. `omni train encoders` starts here.

Clips come from `datagen.speech`, distorted anew each time. The CTC head is written with the encoder and left out when a model takes it over.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.tensorboard.writer import SummaryWriter

from omni_core.checkpoint import formats
from omni_core.checkpoint.load import pick_device
from omni_core.config import ChunkedEncoderConfig
from omni_core.datagen.sentences import read_yaml
from omni_core.encoders.chunked import CTC_PER_FEATURE, ChunkedEncoder
from omni_core.encoders.ctc import BLANK, VOCABULARY
from omni_core.errors import ConfigError
from omni_core.training import vision
from omni_core.training.encoders_clips import POOL, Batch, Clips
from omni_core.training.encoders_reading import error_rates, read, read_held_out
from omni_core.training.loop import LoopConfig, RunLength, run_loop
from omni_core.training.parts import read_part, read_start, take_over, write_part
from omni_core.training.prefetch import batches
from omni_core.training.resident.clips import ResidentClips
from omni_core.training.settings import adamw, autocast, cosine_rate, read_config, set_rate

LATEST, FINAL = "latest.safetensors", "final.safetensors"
AUDIO, VISION = "audio", "vision"
_HEAD = "ctc."
_HELD_OUT = 60  # clips of each group
_SHOWN = 5  # readings of each group that TensorBoard shows


@dataclass(frozen=True)
class EncoderTraining:
    """`configs/encoders.yaml`."""

    part: str  #: AUDIO
    data: str  #: folder of `datagen.speech` sets
    test: str  #: the test material's manifest, for reading scores
    output: str
    start: str | None  #: weights to go on from: "nano" or a file of an earlier run; a CTC head that isn't there is new
    seed: int
    device: str
    precision: str  #: bf16 or float32; the loss is float32 always
    workers: int  #: processes that make batches ahead, where they aren't resident; 0: in place
    loop: LoopConfig
    warmup_steps: int
    batch: int  #: clips
    sets: dict[str, float]  #: shares of the clips
    flite_share: float  #: of the clips; flite's voices are few, but nearer to people's than espeak-ng's
    rate: float  #: peak learning rate
    rate_end: float
    weight_decay: float
    clip: float  #: gradient norm
    encoder: ChunkedEncoderConfig
    resident: bool = False  #: clips lie in the device's memory and are distorted there: for a GPU


class EncoderLearner:
    """Satisfies `loop.Learner`. Raises ConfigError, DataError and CheckpointError for what the configuration names and is not so."""

    def __init__(self, config: EncoderTraining) -> None:
        if config.encoder.ctc_vocabulary != VOCABULARY:
            raise ConfigError(f"encoder.ctc_vocabulary must be {VOCABULARY} for training, got {config.encoder.ctc_vocabulary}")
        self.config, self.device, self.output = config, pick_device(config.device), Path(config.output)
        torch.manual_seed(config.seed)
        self.encoder = ChunkedEncoder(config.encoder)
        if config.start is not None:
            shape, weights = read_start(ChunkedEncoderConfig, config.start, "audio_encoder", formats.AUDIO_ENCODER)
            same = dataclasses.replace(shape, ctc_vocabulary=VOCABULARY, layers=config.encoder.layers) == config.encoder
            if not same or shape.layers > config.encoder.layers:
                raise ConfigError(f"encoder: differs from that of {config.start}, {shape}: write the same or more layers, or set start: null")
            added = self.encoder.begin_as_nothing(shape.layers)
            take_over(self.encoder, weights, config.start, new=(_HEAD, *added))
        what = Path(config.data), config.sets, config.flite_share, config.batch, config.encoder.mels, config.seed
        self.clips = ResidentClips(*what, self.device) if config.resident else Clips(*what)
        self.held_out = read_held_out(Path(config.test), self.encoder, _HELD_OUT)
        self.encoder.to(self.device)
        self.optimizer = adamw(self.encoder.parameters(), config.rate, config.weight_decay)
        self.length = RunLength(config.loop)
        self._batches: Iterator[Batch] | None = None

    def learn(self, step: int) -> dict[str, float]:
        config = self.config
        if self._batches is None:
            workers = 0 if config.resident else config.workers
            pools: Iterator[list[Batch]] = batches(self.clips.make, step // POOL, -(-config.loop.steps // POOL), workers)
            self._batches = itertools.islice(itertools.chain.from_iterable(pools), step % POOL, None)
        batch = next(self._batches).to(self.device)
        set_rate(self.optimizer, cosine_rate(step, self.length(step), config.warmup_steps, config.rate, config.rate_end))
        with autocast(self.device, config.precision):
            logits = self.encoder.ctc_logits(self.encoder(batch.mel, batch.lengths))
        loss = ctc_loss(logits, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.encoder.parameters(), config.clip)
        self.optimizer.step()
        loss, norm = torch.stack([loss.detach(), norm]).tolist()
        return {"loss": loss, "norm": norm}

    def validate(self, step: int, writer: SummaryWriter) -> dict[str, float]:
        write_part(self.output / LATEST, self.config.encoder, self.encoder.state_dict())
        figures = {}
        for name, clips in self.held_out.items():
            with autocast(self.device, self.config.precision):
                heard = read(self.encoder, clips)
            figures[f"CER {name}"], figures[f"WER {name}"] = error_rates(clips, heard)
            shown = [f"{clip.text} | **{text}**" for clip, text in zip(clips, heard, strict=True)][:_SHOWN]
            writer.add_text(name, "  \n".join(shown), step)
        return figures

    def state(self) -> dict[str, Any]:
        return {"encoder": self.encoder.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.optimizer.load_state_dict(state["optimizer"])

    def finish(self, folder: Path) -> None:
        write_part(folder / FINAL, self.config.encoder, self.encoder.state_dict())


def ctc_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean loss a character of `logits` [B, 2 L, VOCABULARY], in float32; a clip too short for its characters counts nothing."""
    steps = logits.float().log_softmax(-1).transpose(0, 1)  # [2 L, B, V]
    return F.ctc_loss(steps, batch.targets, batch.lengths * CTC_PER_FEATURE, batch.target_lengths, blank=BLANK, zero_infinity=True)


def load_encoder(path: Path) -> ChunkedEncoder:
    """An audio encoder that `omni train encoders` wrote, ready to encode, with its CTC head: a few KB that find the words in an answer that was cut.

    Raises CheckpointError when the file is missing or something else.
    """
    config, weights = read_part(ChunkedEncoderConfig, path)
    encoder = ChunkedEncoder(config)
    formats.fill(encoder, weights, path)
    return encoder


def run(config_path: Path, *, resume: bool, max_minutes: float | None) -> None:
    """Train the encoder that the configuration's `part` names, audio or vision, until its last step or for `max_minutes`.

    Raises ConfigError for a bad configuration, DataError for data that isn't there, and what `run_loop` raises.
    """
    values = read_yaml(config_path)
    part = values.get("part") if isinstance(values, dict) else None
    if part == VISION:
        vision.run(config_path, resume=resume, max_minutes=max_minutes)
    elif part == AUDIO:
        config = read_config(EncoderTraining, config_path)
        run_loop("encoder", EncoderLearner(config), config.loop, Path(config.output), resume=resume, max_minutes=max_minutes)
    else:
        raise ConfigError(f"{config_path}: part is {part!r}: must be {AUDIO} or {VISION}")

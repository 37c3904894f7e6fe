"""Trains nano's codec: encoder, codebooks and decoder together first, then the decoder alone on frozen codes.

The joint phase starts without quantisation (a codec of this size collapses to one code otherwise), seeds the codebooks from real latents by
k-means and re-seeds codes that die. When it ends, `frozen.safetensors` holds the final encoder and codebooks, so that codes can be made from it
while the decoder goes on improving (`latest.safetensors`, at the end `final.safetensors`: same codes, better sound).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard.writer import SummaryWriter

from omni_core.checkpoint import formats
from omni_core.checkpoint.load import pick_device
from omni_core.codec.base import FRAME_SAMPLES, SAMPLE_RATE
from omni_core.codec.causal import CausalCodec
from omni_core.config import CausalCodecConfig
from omni_core.datagen.sentences import read_yaml
from omni_core.errors import ConfigError
from omni_core.training import codec_listening
from omni_core.training.codec_books import BookKeeper
from omni_core.training.codec_check import check
from omni_core.training.codec_listening import CodecListening
from omni_core.training.codec_waves import Waves, held_out_waves
from omni_core.training.loop import LoopConfig, run_loop
from omni_core.training.losses import SpectralLoss, SpectrogramCritic, adversarial_loss, critic_loss, feature_loss
from omni_core.training.parts import read_part, read_start, take_over, write_part
from omni_core.training.prefetch import batches
from omni_core.training.settings import autocast, cosine_rate, generator_of, read_config, set_rate

ENCODER = "encoder"  #: `part` of the configuration that trains it alone, for the listener
FROZEN, LATEST, FINAL = "frozen.safetensors", "latest.safetensors", "final.safetensors"
_REVIVE_EVERY = 20  # steps
_SEED_CLIPS = 128  # that the codebooks are seeded from, three times as long as those of a step
_USAGE_CLIPS = 160  # that validation counts codes on
_HELD_OUT = 20  # clips of validation


@dataclass(frozen=True)
class CodecTraining:
    """`configs/codec.yaml`; what each key means is said there."""

    data: str
    answers: str | None
    answer_share: float
    output: str
    start: str | None
    seed: int
    device: str
    precision: str
    workers: int
    loop: LoopConfig
    batch: int
    frames: int
    noise_share: float
    unquantised_steps: int
    joint_steps: int
    rate: float
    rate_end: float
    decoder_rate: float
    decoder_rate_end: float
    warmup_steps: int
    clip: float
    mel: float
    magnitude: float
    convergence: float
    cepstral: float
    commitment: float
    decorrelation: float
    adversarial: float
    feature_matching: float
    critic_clips: int
    critic_every: int
    critic_rate: float
    average: float
    book_decay: float
    codec: CausalCodecConfig

    @property
    def joint_end(self) -> int:
        """The step at which encoder and codebooks freeze."""
        return self.unquantised_steps + self.joint_steps


class Phase(Enum):
    """What a step does."""

    UNQUANTISED = auto()
    JOINT = auto()
    DECODER = auto()  #: encoder and codebooks are frozen


class CodecLearner:
    """Satisfies `loop.Learner`. Raises ConfigError, DataError and CheckpointError for what the configuration names and is not so."""

    def __init__(self, config: CodecTraining) -> None:
        self.config, self.device, self.output = config, pick_device(config.device), Path(config.output)
        torch.manual_seed(config.seed)
        self.codec = CausalCodec(config.codec)
        if config.start is not None:
            shape, weights = read_start(CausalCodecConfig, config.start, "codec", formats.CODEC)
            if shape != config.codec:
                raise ConfigError(f"codec: differs from that of {config.start}, {shape}: write the same, or set start: null")
            take_over(self.codec, weights, config.start)
        self.codec.to(self.device)
        self.books = [BookKeeper(quantizer, config.book_decay) for quantizer in self.codec.levels]
        self.loss = SpectralLoss(SAMPLE_RATE, config.mel, config.magnitude, config.convergence, config.cepstral).to(self.device)
        self.optimizer = torch.optim.AdamW(self.codec.parameters(), lr=config.rate, betas=(0.8, 0.99), weight_decay=0.01)
        self.critic = SpectrogramCritic(SAMPLE_RATE).to(self.device)
        self.critic_optimizer = torch.optim.AdamW(self.critic.parameters(), lr=config.critic_rate, betas=(0.5, 0.9))
        self.average: dict[str, Tensor] = {}  # of the decoder's weights, in the decoder phase
        self.waves = Waves(Path(config.data), Path(config.answers) if config.answers else None, config.answer_share, config.seed)
        self.held_out = held_out_waves(Path(config.data), _HELD_OUT)
        self._batches: Iterator[Tensor] | None = None

    def phase(self, step: int) -> Phase:
        """What `step` does."""
        if step >= self.config.joint_end:
            return Phase.DECODER
        return Phase.JOINT if step >= self.config.unquantised_steps else Phase.UNQUANTISED

    def rate(self, step: int) -> float:
        """The learning rate: a warm-up and a cosine up to the freeze, and again for the decoder alone."""
        c = self.config
        if step < c.joint_end:
            return cosine_rate(step, c.joint_end, c.warmup_steps, c.rate, c.rate_end)
        return cosine_rate(step - c.joint_end, c.loop.steps - c.joint_end, c.warmup_steps, c.decoder_rate, c.decoder_rate_end)

    def make(self, step: int) -> Tensor:
        """The clips of `step` [B, F * 2048]. The decoder alone is not taught noise."""
        noise = 0.0 if self.phase(step) is Phase.DECODER else self.config.noise_share
        return self.waves.draw(np.random.default_rng((self.config.seed, step)), self.config.batch, self.config.frames * FRAME_SAMPLES, noise)

    def learn(self, step: int) -> dict[str, float]:
        config, phase = self.config, self.phase(step)
        generator = generator_of(self.device, config.seed, step)
        if step == config.unquantised_steps and (step or config.start is None):
            self.seed_books(generator)
        if step == config.joint_end:
            write_part(self.output / FROZEN, config.codec, self.codec.state_dict())
        if self._batches is None:
            self._batches = batches(self.make, step, config.loop.steps, config.workers)
        wave = next(self._batches).to(self.device)
        set_rate(self.optimizer, self.rate(step))
        with autocast(self.device, config.precision):
            with torch.set_grad_enabled(phase is not Phase.DECODER):
                latents, commitment, spread = self.bottleneck(self.codec.encoder(wave), step, generator)
            output = self.codec.decoder(latents)
        delay = config.codec.delay
        output, target = output[:, delay:], wave[:, : wave.shape[1] - delay]
        loss = self.loss(output, target)
        figures = {"loss": loss, "commit": commitment, "spread": spread}
        if phase is not Phase.DECODER:
            loss = loss + config.commitment * commitment + config.decorrelation * spread
        elif config.adversarial and step % config.critic_every == 0:
            adversarial, matching, wrong = self.judge(output[: config.critic_clips], target[: config.critic_clips])
            loss = loss + config.adversarial * adversarial + config.feature_matching * matching
            figures |= {"critic": wrong, "adv": adversarial, "match": matching}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        figures["norm"] = nn.utils.clip_grad_norm_(self.codec.parameters(), config.clip)
        self.optimizer.step()
        if phase is Phase.DECODER:
            self._follow()
        return dict(zip(figures, torch.stack([value.detach().float() for value in figures.values()]).tolist(), strict=True))

    def judge(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step of the critic; then (adversarial loss, feature matching loss, the critic's own loss) of these clips."""
        self.critic.requires_grad_(True)
        with autocast(self.device, self.config.precision):
            wrong = critic_loss(self.critic(target)[0], self.critic(output.detach())[0])
        self.critic_optimizer.zero_grad(set_to_none=True)
        wrong.backward()
        self.critic_optimizer.step()
        self.critic.requires_grad_(False)
        with autocast(self.device, self.config.precision):
            scores, features = self.critic(output)
            with torch.no_grad():
                wanted = self.critic(target)[1]
        return adversarial_loss(scores), feature_loss(wanted, features), wrong.detach()

    def bottleneck(self, latents: Tensor, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents [B, 4F, latent] -> (what the decoder gets, commitment loss, correlation of dimensions).

        Up to the freeze this moves the codebooks.
        """
        phase = self.phase(step)
        total, commitment, spread = torch.zeros_like(latents), latents.new_zeros(()), latents.new_zeros(())
        for book, quantizer in zip(self.books, self.codec.levels, strict=True):
            pooled = quantizer.pool(latents - total)
            if phase is not Phase.DECODER:
                book.centre(pooled.detach().flatten(0, 1), first=step == 0 and self.config.start is None)
                spread = spread + book.correlation(pooled.flatten(0, 1), generator)
            vectors = quantizer.to_sphere(pooled)
            if phase is not Phase.UNQUANTISED:
                flat, index = vectors.detach().flatten(0, 1), quantizer.lookup(vectors.detach())
                entries = quantizer.codebook[index]
                commitment = commitment + (vectors - entries).square().sum(-1).mean()
                if phase is Phase.JOINT:
                    book.update(flat, index.flatten())
                    if step % _REVIVE_EVERY == 0:
                        book.revive(flat, generator)
                vectors = vectors + (entries - vectors).detach()
            total = total + quantizer.expand(vectors)
        return total, commitment, spread

    @torch.no_grad()
    def seed_books(self, generator: torch.Generator) -> None:
        """k-means of each level on the residual that the levels above leave."""
        wave = self.sample(_SEED_CLIPS, 3 * self.config.frames).to(self.device)
        with autocast(self.device, self.config.precision):
            residual = torch.cat([self.codec.encoder(part).float() for part in wave.split(16)])
        for book, quantizer in zip(self.books, self.codec.levels, strict=True):
            vectors = quantizer.project(residual)
            book.seed(vectors.flatten(0, 1), generator)
            residual = residual - quantizer.expand(quantizer.codebook[quantizer.lookup(vectors)])

    def sample(self, clips: int, frames: int) -> Tensor:
        """Some of the training speech [clips, frames * 2048], always the same."""
        return self.waves.draw(np.random.default_rng(self.config.seed), clips, frames * FRAME_SAMPLES)

    @torch.no_grad()
    def _follow(self) -> None:
        for name, value in self.codec.decoder.state_dict(prefix="decoder.").items():
            if name in self.average:
                self.average[name].lerp_(value, 1 - self.config.average)
            else:
                self.average[name] = value.clone()

    def best(self) -> CausalCodec:
        """A copy of the codec with the average of its decoder's weights."""
        best = copy.deepcopy(self.codec)
        best.load_state_dict(self.average, strict=False)
        return best.eval()

    def validate(self, step: int, writer: SummaryWriter) -> dict[str, float]:
        best = self.best()
        write_part(self.output / LATEST, best.config, best.state_dict())
        return check(best, self.held_out, self.sample(_USAGE_CLIPS, self.config.frames), step, writer)

    def state(self) -> dict[str, Any]:
        return {
            "codec": self.codec.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "books": [(book.counts, book.sums) for book in self.books],
            "critic": self.critic.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "average": self.average,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.codec.load_state_dict(state["codec"])
        self.optimizer.load_state_dict(state["optimizer"])
        for book, (counts, sums) in zip(self.books, state["books"], strict=True):
            book.counts, book.sums = counts.to(self.device), sums.to(self.device)
        self.critic.load_state_dict(state["critic"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.average = {name: value.to(self.device) for name, value in state["average"].items()}

    def finish(self, folder: Path) -> None:
        write_part(folder / FINAL, self.config.codec, self.best().state_dict())


def load_codec(path: Path) -> CausalCodec:
    """A codec that `omni train codec` wrote, ready to encode and decode. Raises CheckpointError when the file is missing or something else."""
    config, weights = read_part(CausalCodecConfig, path)
    codec = CausalCodec(config)
    formats.fill(codec, weights, path)
    return codec


def run(config_path: Path, *, resume: bool, max_minutes: float | None) -> None:
    """Train by the configuration file, until its last step or for `max_minutes`; `resume` goes on from the saved state.

    Raises ConfigError for a bad configuration, DataError for data that isn't there, and what `run_loop` raises.
    """
    values = read_yaml(config_path)
    if isinstance(values, dict) and values.get("part") == ENCODER:
        codec_listening.run(read_config(CodecListening, config_path), resume=resume, max_minutes=max_minutes)
        return
    config = read_config(CodecTraining, config_path)
    run_loop("codec", CodecLearner(config), config.loop, Path(config.output), resume=resume, max_minutes=max_minutes)

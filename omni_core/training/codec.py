"""Trains nano's codec: encoder, codebooks and decoder together first, then the decoder alone on frozen codes.

The joint phase starts without quantisation (a codec of this size collapses to one code otherwise), seeds the codebooks from real latents by
k-means and re-seeds codes that die. When it ends, `frozen.safetensors` holds the final encoder and codebooks, so that codes can be made from it
while the decoder goes on improving (`best.safetensors`: same codes, better sound).
"""

from __future__ import annotations

import math
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from omni_core.codec.base import FRAME_SAMPLES, SAMPLE_RATE
from omni_core.codec.causal import CausalCodec
from omni_core.config import CausalCodecConfig, from_dict
from omni_core.errors import ConfigError
from omni_core.training.codec_books import BookKeeper
from omni_core.training.losses import SpectralLoss, SpectrogramCritic, adversarial_loss, critic_loss, feature_loss


@dataclass(frozen=True)
class CodecTraining:
    """`configs/codec.yaml`; what each key means is said there."""

    data: str
    output: str
    seed: int
    batch: int
    frames: int
    unquantised_steps: int
    joint_steps: int
    decoder_steps: int
    rate: float
    rate_end: float
    decoder_rate: float
    decoder_rate_end: float
    ramp_steps: int
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
    save_minutes: float
    codec: CausalCodecConfig


def read_config(path: Path) -> CodecTraining:
    """Read the YAML file strictly: ConfigError names an unknown or missing key, a wrong type, or a file that can't be read."""
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
    return from_dict(CodecTraining, data, path.name)


class Clips:
    """Random clips out of a folder of WAV or FLAC files, kept in memory as one int16 array at 24 kHz."""

    def __init__(self, folder: Path) -> None:
        files = sorted(p for p in folder.glob("*") if p.suffix in (".wav", ".flac"))
        if not files:
            raise ConfigError(f"{folder}: no WAV or FLAC files to train on; make some with `omni data speech`")
        self.samples = np.concatenate([_read(file) for file in files])

    def draw(self, rng: np.random.Generator, batch: int, length: int) -> torch.Tensor:
        """[batch, length] float32, each clip with a gain of -9 .. 1 dB: answers are levelled 6 dB below flite's own level."""
        starts = rng.integers(0, len(self.samples) - length, batch)
        gains = 10 ** (rng.uniform(-9, 1, (batch, 1)) / 20) / 32768
        return torch.from_numpy((np.stack([self.samples[s:s + length] for s in starts]) * gains).astype(np.float32))


def _read(file: Path) -> np.ndarray:
    wave, rate = soundfile.read(file, dtype="int16", always_2d=True)
    return wave[:, 0] if rate == SAMPLE_RATE else soxr.resample(wave[:, 0], rate, SAMPLE_RATE)


class CodecTrainer:
    """One run: its parts, its step, its state on disk."""

    def __init__(self, config: CodecTraining) -> None:
        self.config = config
        self.output = Path(config.output)
        self.output.mkdir(parents=True, exist_ok=True)
        random.seed(config.seed)
        torch.manual_seed(config.seed)
        self.rng = np.random.default_rng(config.seed)
        self.codec = CausalCodec(config.codec)
        self.books = [BookKeeper(quantizer, config.book_decay) for quantizer in self.codec.levels]
        self.loss = SpectralLoss(SAMPLE_RATE, config.mel, config.magnitude, config.convergence, config.cepstral)
        self.optimizer = torch.optim.AdamW(self.codec.parameters(), lr=config.rate, betas=(0.8, 0.99), weight_decay=0.01)
        self.critic = SpectrogramCritic(SAMPLE_RATE)
        self.critic_optimizer = torch.optim.AdamW(self.critic.parameters(), lr=config.critic_rate, betas=(0.5, 0.9))
        self.average: dict[str, torch.Tensor] = {}  # of the decoder's weights, in the decoder phase
        self.step = 0
        self.clips = Clips(Path(config.data))

    @property
    def joint_end(self) -> int:
        """The step at which encoder and codebooks freeze."""
        return self.config.unquantised_steps + self.config.joint_steps

    def rate(self) -> float:
        """Learning rate of the current step: a ramp and a cosine in each phase."""
        c = self.config
        if self.step < self.joint_end:
            at, span, high, low = self.step, self.joint_end, c.rate, c.rate_end
        else:
            at, span, high, low = self.step - self.joint_end, c.decoder_steps, c.decoder_rate, c.decoder_rate_end
        cosine = (1 + math.cos(math.pi * min(1.0, at / max(1, span)))) / 2
        return (low + (high - low) * cosine) * min(1.0, (at + 1) / max(1, c.ramp_steps))

    def train_step(self) -> dict[str, float]:
        """One step on one batch; returns what to log."""
        config = self.config
        frozen = self.step >= self.joint_end
        wave = self.clips.draw(self.rng, config.batch, config.frames * FRAME_SAMPLES)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        with torch.autocast("cpu", torch.bfloat16):
            with torch.set_grad_enabled(not frozen):
                latents, commitment, spread = self.bottleneck(self.codec.encoder(wave))
            output = self.codec.decoder(latents)
        delay = config.codec.delay
        output, target = output[:, delay:], wave[:, :wave.shape[1] - delay]
        spectral = self.loss(output, target)
        values = {"loss": spectral, "commit": commitment, "spread": spread}
        loss = spectral
        if not frozen:
            loss = loss + config.commitment * commitment + config.decorrelation * spread
        if frozen and config.adversarial and self.step % config.critic_every == 0:
            adversarial, matching, values["critic"] = self.judge(output[:config.critic_clips], target[:config.critic_clips])
            loss = loss + config.adversarial * adversarial + config.feature_matching * matching
            values |= {"adv": adversarial, "match": matching}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        values["norm"] = nn.utils.clip_grad_norm_(self.codec.parameters(), config.clip)
        self.optimizer.step()
        self.step += 1
        if frozen:
            self._follow()
        return {key: value.item() for key, value in values.items()}

    def judge(self, output: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One step of the critic; then (adversarial loss, feature matching loss, the critic's own loss) of these clips."""
        self.critic.requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            wrong = critic_loss(self.critic(target)[0], self.critic(output.detach())[0])
        self.critic_optimizer.zero_grad(set_to_none=True)
        wrong.backward()
        self.critic_optimizer.step()
        self.critic.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            scores, features = self.critic(output)
            with torch.no_grad():
                wanted = self.critic(target)[1]
        return adversarial_loss(scores), feature_loss(wanted, features), wrong.detach()

    @torch.no_grad()
    def _follow(self) -> None:
        for name, value in self.codec.decoder.state_dict(prefix="decoder.").items():
            if name in self.average:
                self.average[name].lerp_(value, 1 - self.config.average)
            else:
                self.average[name] = value.clone()

    def bottleneck(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents [B, 4F, latent] -> (what the decoder gets, commitment loss, correlation of dimensions).

        In the joint phase this moves the codebooks.
        """
        quantised = self.step >= self.config.unquantised_steps
        total, commitment, spread = torch.zeros_like(latents), latents.new_zeros(()), latents.new_zeros(())
        for book, quantizer in zip(self.books, self.codec.levels, strict=True):
            pooled = quantizer.pool(latents - total)
            if self.step < self.joint_end:
                book.centre(pooled.detach().flatten(0, 1), first=self.step == 0)
                spread = spread + book.correlation(pooled.flatten(0, 1))
            vectors = quantizer.to_sphere(pooled)
            if quantised:
                flat, index = vectors.detach().flatten(0, 1), quantizer.lookup(vectors.detach())
                entries = quantizer.codebook[index]
                commitment = commitment + (vectors - entries).square().sum(-1).mean()
                if self.step < self.joint_end:
                    book.update(flat, index.flatten())
                    if self.step % 20 == 0:
                        book.revive(flat)
                vectors = vectors + (entries - vectors).detach()
            total = total + quantizer.expand(vectors)
        return total, commitment, spread

    @torch.no_grad()
    def seed_books(self, clips: int = 128) -> None:
        """k-means of each level on the residual that the levels above leave; counts as a step."""
        latents = []
        for _ in range(0, clips, config_batch := 16):
            wave = self.clips.draw(self.rng, config_batch, 3 * self.config.frames * FRAME_SAMPLES)
            with torch.autocast("cpu", torch.bfloat16):
                latents.append(self.codec.encoder(wave).float())
        residual = torch.cat(latents)
        for book, quantizer in zip(self.books, self.codec.levels, strict=True):
            vectors = quantizer.project(residual)
            book.seed(vectors.flatten(0, 1)[torch.randperm(vectors.shape[0] * vectors.shape[1])[:20000]])
            residual = residual - quantizer.expand(quantizer.codebook[quantizer.lookup(vectors)])
        self.step += 1

    def save(self) -> None:
        """Write the state (`state.pt`) and the weights (`latest.safetensors`) atomically."""
        state = {
            "step": self.step, "codec": self.codec.state_dict(), "optimizer": self.optimizer.state_dict(),
            "books": [(book.counts, book.sums) for book in self.books], "numpy": self.rng.bit_generator.state, "torch": torch.get_rng_state(),
            "critic": self.critic.state_dict(), "critic_optimizer": self.critic_optimizer.state_dict(), "average": self.average,
        }
        _replace(self.output / "state.pt", lambda path: torch.save(state, path))
        self.write("latest.safetensors")
        if self.average:
            self.write("best.safetensors", self.average)

    def write(self, name: str, instead: dict[str, torch.Tensor] | None = None) -> None:
        """Write the codec's weights alone, those of `instead` in place of its own."""
        weights = {**self.codec.state_dict(), **(instead or {})}
        _replace(self.output / name, lambda path: save_file(weights, path))

    def load(self) -> None:
        """Go on from `state.pt`."""
        state: dict[str, Any] = torch.load(self.output / "state.pt", weights_only=False)
        self.step = state["step"]
        self.codec.load_state_dict(state["codec"])
        self.optimizer.load_state_dict(state["optimizer"])
        for book, (counts, sums) in zip(self.books, state["books"], strict=True):
            book.counts, book.sums = counts, sums
        if "critic" in state:
            self.critic.load_state_dict(state["critic"])
            self.critic_optimizer.load_state_dict(state["critic_optimizer"])
            self.average = state["average"]
        self.rng.bit_generator.state = state["numpy"]
        torch.set_rng_state(state["torch"])


def _replace(path: Path, write: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    write(partial)
    os.replace(partial, path)


def load_codec(config: CausalCodecConfig, path: Path) -> CausalCodec:
    """A codec with the weights of `path`, ready to encode and decode."""
    codec = CausalCodec(config)
    codec.load_state_dict(load_file(path))
    return codec.eval()


def run(config_path: Path, *, resume: bool, max_minutes: float | None) -> None:
    """Train by the configuration file, until its last step or for `max_minutes`; `resume` goes on from the saved state.

    Raises ConfigError for a bad configuration, or data that isn't there.
    """
    config = read_config(config_path)
    trainer = CodecTrainer(config)
    if resume and (trainer.output / "state.pt").exists():
        trainer.load()
    last = trainer.joint_end + config.decoder_steps
    seconds = config.batch * config.frames * FRAME_SAMPLES / SAMPLE_RATE
    start = saved = shown = time.monotonic()
    first = trainer.step
    smooth: dict[str, float] = {}
    bar = tqdm(total=last, initial=trainer.step, desc="codec", mininterval=20, dynamic_ncols=True)
    while trainer.step < last and (max_minutes is None or time.monotonic() - start < 60 * max_minutes):
        if trainer.step == config.unquantised_steps:
            trainer.seed_books()
        values = trainer.train_step()
        smooth |= {key: 0.98 * smooth.get(key, value) + 0.02 * value for key, value in values.items()}
        if trainer.step == trainer.joint_end:
            trainer.write("frozen.safetensors")
        bar.update(trainer.step - bar.n)
        now = time.monotonic()
        if now - shown > 20:
            shown = now
            usage = "/".join(f"{book.perplexity():.0f}" for book in trainer.books)
            speed = seconds * (trainer.step - first) / (now - start)
            bar.set_postfix_str(" ".join(f"{k} {v:.3f}" for k, v in smooth.items()) + f" codes {usage} {speed:.0f} audio s/s")
        if now - saved > 60 * config.save_minutes:
            saved = now
            trainer.save()
    bar.close()
    trainer.save()

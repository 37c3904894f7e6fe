"""Language-model training: delayed-parallel text and audio, tasks mixed in every batch.

Owns the loss, the schedule and the loop of `omni train lm`. The encoder and the codec are frozen and only read. Targets and masking follow
model-facts section 4: the sum over steps of -log P(text, audio | earlier, features); text answers take no loss on audio rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from omni_core.config import BackboneConfig, from_dict
from omni_core.models import OmniModel
from omni_core.tokens import TEXT_STREAM, Tokenizer
from omni_core.training.checkpoints import load_state, save_state
from omni_core.training.codec import load_codec
from omni_core.training.codec import read_config as read_codec_config
from omni_core.training.dataset import IGNORE, Batch
from omni_core.training.dialogues import DialogueSource, model_config
from omni_core.training.encoders import load_encoder
from omni_core.training.encoders import read_config as read_encoder_config
from omni_core.training.tokenizer import train_tokenizer, training_texts


@dataclass(frozen=True)
class LMTraining:
    """`configs/lm.yaml`."""

    seed: int
    data: str  #: folder made by `omni data speech`
    encoder_config: str  #: the encoder's training configuration, beside this file
    encoder: str  #: its weights (safetensors)
    codec_config: str  #: likewise of the codec
    codec: str
    tokenizer: str  #: tokenizer.json; made first if it isn't there
    tokenizer_size: int  #: ids
    out: str  #: folder for checkpoints and logs
    threads: int
    batch: int  #: sequences per step
    minutes: float  #: length of the schedule, wall time
    warmup_steps: int
    learning_rate: float
    weight_decay: float
    clip: float  #: largest gradient norm
    text_weight: float  #: weight of the text loss beside the audio loss
    tasks: dict  #: task name -> share of the batch
    adapter_mlp: int
    backbone: BackboneConfig


@dataclass(frozen=True)
class Losses:
    """Mean negative log-likelihoods, nats per token, and the shares of tokens predicted exactly."""

    text: float
    audio: float
    text_right: float
    audio_right: float


def backward(model: OmniModel, batches: Sequence[Batch], text_weight: float) -> Losses:
    """Forward and backward over the parts of one step's batch; gradients add up to those of one big batch.

    Heads are computed only at positions that take loss.
    """
    text_count = sum(int((b.targets[:, TEXT_STREAM] != IGNORE).sum()) for b in batches)
    audio_count = max(1, sum(int((b.targets[:, :TEXT_STREAM] != IGNORE).sum()) for b in batches))
    text_sum = audio_sum = text_right = audio_right = 0.0
    for batch in batches:
        # Spelt-out attention: on a CPU the fused kernel's backward pass takes longer than everything around it.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            x = model.embed(batch.tokens, model.adapt_audio(batch.features), batch.feature_mask)  # [B, T, width]
            hidden = model(x, torch.arange(x.shape[1]).expand(x.shape[0], -1))
            text_at, audio_at = batch.targets[:, TEXT_STREAM] != IGNORE, batch.targets[:, 0] != IGNORE  # [B, T]
            text_logits, audio_logits = model.text_logits(hidden[text_at]).float(), model.audio_logits(hidden[audio_at]).float()
        text_target = batch.targets[:, TEXT_STREAM][text_at]
        audio_target = batch.targets[:, :TEXT_STREAM].transpose(1, 2)[audio_at]  # [N, 7]
        text = F.cross_entropy(text_logits, text_target, reduction="sum")
        audio = F.cross_entropy(audio_logits.flatten(0, 1), audio_target.flatten(), reduction="sum")
        (text_weight * text / text_count + audio / audio_count).backward()
        text_sum, audio_sum = text_sum + text.item(), audio_sum + audio.item()
        text_right += float((text_logits.argmax(-1) == text_target).sum())
        audio_right += float((audio_logits.argmax(-1) == audio_target).sum())
    return Losses(text_sum / text_count, audio_sum / audio_count, text_right / text_count, audio_right / audio_count)


def learning_rate(config: LMTraining, step: int, done: float) -> float:
    """Linear warm-up over steps, then cosine over the share of the time budget that is `done` (0..1), to 2 % of the peak."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return config.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def read_config(path: Path) -> LMTraining:
    """Read the YAML strictly; ConfigError names an unknown, missing or mistyped key."""
    return from_dict(LMTraining, yaml.safe_load(path.read_text()), path.name)


def open_source(config: LMTraining, configs: Path) -> DialogueSource:
    """The data, encoder, codec and tokenizer that `config` names."""
    if not Path(config.tokenizer).exists():
        train_tokenizer(training_texts(config.seed), config.tokenizer_size, Path(config.tokenizer))
    encoder = load_encoder(read_encoder_config(configs / config.encoder_config).encoder, Path(config.encoder))
    codec = load_codec(read_codec_config(configs / config.codec_config).codec, Path(config.codec))
    return DialogueSource(Path(config.data), encoder, codec, Tokenizer.load(Path(config.tokenizer)), config.tasks, config.seed)


def run(config_path: Path, *, resume: bool = False, max_minutes: float | None = None) -> None:
    """Train until the schedule ends, saving to `config.out` every two minutes; `resume` goes on from there."""
    config = read_config(config_path)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    source = open_source(config, config_path.parent)
    model = OmniModel(model_config("nano", source.layout_config, config.backbone, source.encoder.width, config.adapter_mlp))
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}], lr=config.learning_rate, betas=(0.9, 0.98)
    )
    out = Path(config.out)
    step, spent = load_state(out / "state.pt", model, optimiser) if resume else (0, 0.0)
    budget = (config.minutes if max_minutes is None else max_minutes) * 60
    started = saved = time.monotonic()
    progress = tqdm(total=round(budget), initial=round(spent), unit="s", desc="lm")
    while spent < budget:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step, spent / budget)
        optimiser.zero_grad()
        loss = backward(model, source.batches(config.batch, step), config.text_weight)
        if not math.isfinite(loss.text + loss.audio):
            raise FloatingPointError(f"the loss is not finite at step {step}: lower learning_rate, or resume from {out / 'state.pt'}")
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimiser.step()
        step += 1
        now = time.monotonic()
        progress.update(round(spent + now - started) - progress.n)
        if step % 20 == 0:
            progress.set_postfix_str(
                f"step {step} text {loss.text:.3f} ({loss.text_right:.0%}) audio {loss.audio:.3f} ({loss.audio_right:.0%})"
            )
        if now - saved > 120:
            save_state(out / "state.pt", model, optimiser, step, spent + now - started)
            saved = now
        spent, started = spent + now - started, now
    save_state(out / "state.pt", model, optimiser, step, spent)
    progress.close()

"""How a codec in training does on held-out sentences: distance, intelligibility, codes in use, and samples to hear and look at."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from omni_core.codec.base import SAMPLE_RATE
from omni_core.codec.causal import CausalCodec
from omni_core.codec.frames import unpack_frames
from omni_core.metrics import pesq, stoi
from omni_core.training.codec_books import usage
from omni_core.training.losses import mel_error_db
from omni_core.training.samples import spectrogram

_SHOWN = 2  # held-out clips to hear
_JUDGED = 8  # held-out clips that STOI and PESQ are measured on


@torch.inference_mode()
def check(codec: CausalCodec, held_out: Sequence[Tensor], heard: Tensor, step: int, writer: SummaryWriter) -> dict[str, float]:
    """Figures of `codec` on `held_out` waves [N]; codes in use, by level, on `heard` [B, F * 2048], a sample of the training speech.

    mel_db, stoi and pesq (where the extra `train` is installed), and for each level `codes_1` .. and `perplexity_1` ..
    """
    device = codec.decoder.window.device
    coded = [codec.decode(codec.encode(wave.to(device)))[: len(wave)].cpu() for wave in held_out]
    figures = {"mel_db": float(np.mean([mel_error_db(got, wave, SAMPLE_RATE) for got, wave in zip(coded, held_out, strict=True)]))}
    judged = [(wave.numpy(), got.numpy()) for wave, got in zip(held_out, coded, strict=True)][:_JUDGED]
    if importlib.util.find_spec("pystoi"):
        figures["stoi"] = float(np.mean([stoi(wave, got, SAMPLE_RATE) for wave, got in judged]))
    if importlib.util.find_spec("pesq"):
        figures["pesq"] = float(np.mean([pesq(wave, got, SAMPLE_RATE) for wave, got in judged]))
    for level, index in enumerate(unpack_frames(codec.encode_batch(heard.to(device))), 1):
        figures[f"codes_{level}"], figures[f"perplexity_{level}"] = usage(index, codec.codes)
    for number, (wave, got) in enumerate(judged[:_SHOWN]):
        writer.add_audio(f"held out {number}/original", wave[None], step, SAMPLE_RATE)
        writer.add_audio(f"held out {number}/coded", got[None], step, SAMPLE_RATE)
        pictures = [spectrogram(each, SAMPLE_RATE) for each in (wave, got)]
        writer.add_image(f"held out {number}, original above", np.concatenate(pictures, 1), step)
    return figures

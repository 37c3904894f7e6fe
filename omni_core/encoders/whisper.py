"""Whisper's encoder, the audio encoder of released weights. Its 30 s window and clip-wise normalisation are part of the weights.

Sources: openai-whisper; Mini-Omni2's reference for how many of the features are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from whisper.audio import HOP_LENGTH, N_SAMPLES, SAMPLE_RATE, log_mel_spectrogram, pad_or_trim
from whisper.model import AudioEncoder as Tower
from whisper.model import MultiHeadAttention

from omni_core.config import WhisperConfig
from omni_core.errors import AudioError, CheckpointError

FEATURE_SAMPLES = 2 * HOP_LENGTH  #: samples of one feature, 20 ms
_PREFIX = "encoder."


class WhisperEncoder(nn.Module):
    """Satisfies `encoders.base.AudioEncoder`. `load` reads OpenAI's `small.pt`."""

    sample_rate = SAMPLE_RATE
    features_per_s = SAMPLE_RATE / FEATURE_SAMPLES
    max_audio_s: float | None = N_SAMPLES / SAMPLE_RATE

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.tower = Tower(config.mels, config.positions, config.width, config.heads, config.layers)

    @classmethod
    def load(cls, path: Path) -> WhisperEncoder:
        """Read a Whisper checkpoint: a dict of `dims` and `model_state_dict`, of which the encoder is kept.

        Raises CheckpointError when the file is something else or its encoder does not fit its dims.
        """
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            dims: dict[str, Any] = stored["dims"]
            config = WhisperConfig(dims["n_mels"], dims["n_audio_ctx"], dims["n_audio_state"], dims["n_audio_head"], dims["n_audio_layer"])
            weights = {key.removeprefix(_PREFIX): value.float() for key, value in stored["model_state_dict"].items() if key.startswith(_PREFIX)}
            encoder = cls(config)
            encoder.tower.load_state_dict(weights)
        except OSError as error:
            raise CheckpointError(f"{path}: can't be read ({error})") from error
        except Exception as error:  # torch and pickle raise many kinds for a damaged or foreign file
            raise CheckpointError(f"{path}: no Whisper checkpoint ({error}): download OpenAI's small.pt again") from error
        return encoder.eval().requires_grad_(False)

    def openai_state(self) -> dict[str, Any]:
        """What `load` reads back, encoder only."""
        c = self.config
        dims = {"n_mels": c.mels, "n_audio_ctx": c.positions, "n_audio_state": c.width, "n_audio_head": c.heads, "n_audio_layer": c.layers}
        return {"dims": dims, "model_state_dict": {_PREFIX + key: value for key, value in self.tower.state_dict().items()}}

    def attend_in_bfloat16(self) -> None:
        """From now on attend head by head in bfloat16: on a CPU more than twice as fast, and features differ by a hundredth of their size."""
        for layer in self.tower.modules():
            if isinstance(layer, MultiHeadAttention):
                layer.__class__ = _ByHead

    @torch.inference_mode()
    def encode(self, wave: Tensor) -> Tensor:
        """Features [floor(ms / 20) + 1, width] (50 Hz, at most the window's) of `wave` [N] float32 at 16 kHz.

        Raises AudioError when `wave` is empty, not one-dimensional, not finite, or longer than 30 s: Whisper would cut it silently.
        """
        if wave.ndim != 1 or not len(wave):
            raise AudioError(f"audio must be one channel of at least one sample, got shape {tuple(wave.shape)}")
        if len(wave) > N_SAMPLES:
            raise AudioError(f"audio of {len(wave) / SAMPLE_RATE:.1f} s is longer than this model's 30 s: send it in parts")
        if not torch.isfinite(wave).all():
            raise AudioError("audio holds NaN or infinite samples: check the decoder or microphone that made it")
        weight = self.tower.conv1.weight
        mel = log_mel_spectrogram(pad_or_trim(wave.to(weight.device, torch.float32)), self.config.mels)  # [mels, 3000]
        return self._run(mel[None].to(weight.dtype), self.feature_count(len(wave)))[0]

    def _run(self, mel: Tensor, count: int) -> Tensor:
        """mel [1, mels, 3000] -> the first `count` features [1, count, width]: as `Tower.forward` gives them, but the last layer makes no others."""
        tower = self.tower
        *blocks, last = tower.blocks
        x = F.gelu(tower.conv2(F.gelu(tower.conv1(mel)))).permute(0, 2, 1)
        positions: Any = tower.positional_embedding
        x = (x + positions).to(x.dtype)
        for block in blocks:
            x = block(x)
        seen = last.attn_ln(x)
        x = x[:, :count] + last.attn(seen[:, :count], seen)[0]
        mlp: nn.Module = last.mlp
        return tower.ln_post(x + mlp(last.mlp_ln(x)))

    def feature_count(self, samples: int) -> int:
        """Features of a waveform of `samples`: floor(ms / 20) + 1, at most the window's."""
        return min(samples // FEATURE_SAMPLES + 1, self.config.positions)


class _ByHead(MultiHeadAttention):
    """Whisper's attention without a mask, for one clip: one head's scores fit into a cache, all heads' don't."""

    def qkv_attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, None]:
        """[1, T, width] each -> [1, T, width]."""
        scale = (q.shape[-1] // self.n_head) ** -0.5
        heads = (each[0].unflatten(-1, (self.n_head, -1)).transpose(0, 1).bfloat16().contiguous() for each in (q * scale, k, v))  # [heads, T, D]
        attended = [F.softmax(queries @ keys.T, dim=-1) @ values for queries, keys, values in zip(*heads, strict=True)]
        return torch.cat(attended, -1)[None].to(q.dtype), None

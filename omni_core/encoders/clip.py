"""CLIP's vision tower, the vision encoder of released weights.

All 50 tokens go through ln_post and the projection. Stock CLIP, in OpenAI's package as in transformers, does so to the class token only; hence a
small module of our own, with the names of OpenAI's state dict so that nothing has to be renamed. Sources: OpenAI's CLIP; Mini-Omni2's fork of it.
"""

from __future__ import annotations

import math
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from omni_core.config import ClipConfig
from omni_core.encoders.vision import VisionEncoder, square_pixels
from omni_core.errors import CheckpointError

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_HEAD_SIZE = 64  # of every CLIP vision transformer
_PREFIX = "visual."


class ClipVision(VisionEncoder):
    """`encode` a picture to features; `load` reads OpenAI's `ViT-B-32.pt`."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.features
        tokens = (config.resolution // config.patch) ** 2 + 1
        self.conv1 = nn.Conv2d(3, config.width, config.patch, stride=config.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(config.width))
        self.positional_embedding = nn.Parameter(torch.zeros(tokens, config.width))
        self.ln_pre = nn.LayerNorm(config.width)
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(_Block(config.width, config.heads) for _ in range(config.layers))})
        self.ln_post = nn.LayerNorm(config.width)
        self.proj = nn.Parameter(torch.zeros(config.width, config.features))

    @classmethod
    def load(cls, path: Path) -> ClipVision:
        """Read OpenAI's TorchScript archive, or a state dict of CLIP or of its vision tower.

        Raises CheckpointError when the file is neither or a tensor is missing or misshapen.
        """
        try:
            state = torch.jit.load(path, map_location="cpu").state_dict() if _is_torchscript(path) else torch.load(path, "cpu", weights_only=True)
            visual = {key.removeprefix(_PREFIX): value.float() for key, value in state.items() if key.startswith(_PREFIX)}
            return cls.from_state(visual or dict(state))
        except OSError as error:
            raise CheckpointError(f"{path}: can't be read ({error})") from error
        except Exception as error:  # torch and pickle raise many kinds for a damaged or foreign file
            raise CheckpointError(f"{path}: no CLIP checkpoint ({error}): download OpenAI's ViT-B-32.pt again") from error

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> ClipVision:
        """The tower whose sizes the tensors of `state` (names without `visual.`) tell."""
        width, _, patch, _ = state["conv1.weight"].shape
        grid = math.isqrt(state["positional_embedding"].shape[0] - 1)
        layers = len({key.split(".")[2] for key in state if key.startswith("transformer.resblocks.")})
        tower = cls(ClipConfig(grid * patch, patch, width, width // _HEAD_SIZE, layers, state["proj"].shape[1]))
        tower.load_state_dict(state)
        return tower.eval().requires_grad_(False)

    def openai_state(self) -> dict[str, Tensor]:
        """What `load` reads back."""
        return {_PREFIX + key: value for key, value in self.state_dict().items()}

    def pixels(self, picture: Image.Image) -> Tensor:
        """[3, resolution, resolution] float32 of an RGB picture, cropped and normalised as CLIP was trained."""
        pixels = square_pixels(picture, self.config.resolution)
        return (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, resolution, resolution], normalised -> features [B, 1 + patches, features], the class token first."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)  # [B, patches, width]
        start = self.class_embedding.expand(len(pixels), 1, -1)
        x = self.ln_pre(torch.cat([start, patches], dim=1) + self.positional_embedding)  # [B, 1 + patches, width]
        for block in self.transformer["resblocks"]:  # type: ignore[union-attr]
            x = block(x)
        return self.ln_post(x) @ self.proj


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), OpenAI's approximation."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict([("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGELU()), ("c_proj", nn.Linear(4 * width, width))])
        )
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


def _is_torchscript(path: Path) -> bool:
    """TorchScript archives carry their code; what `torch.save` writes doesn't."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())

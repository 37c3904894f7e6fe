"""nano's vision encoder: a small convolutional network down to a grid of features, and attention among them.

A patch embedding of stride 4 and two strided convolutions take a 112-pixel square to 7 x 7 features; their mean, the class token, is put
before them, and attention layers let all 50 see each other. So the features have CLIP ViT-B/32's number and order, and prompts are the same.
Pre-trained by captioning (`training.vision`).
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from omni_core.config import VisionConfig
from omni_core.encoders.vision import VisionEncoder, square_pixels
from omni_core.errors import ConfigError

_STRIDE = 16  # pixels to features


class PatchVision(VisionEncoder):
    """See the module."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        if config.resolution % _STRIDE:
            raise ConfigError(f"vision.resolution {config.resolution} must be a multiple of {_STRIDE}")
        if config.width % config.heads:
            raise ConfigError(f"vision.width {config.width} must be a multiple of heads ({config.heads})")
        self.config = config
        self.width = config.width
        self.features = (config.resolution // _STRIDE) ** 2 + 1  #: of one picture
        self.grid = nn.Sequential(
            nn.Conv2d(3, config.stem_width, 4, stride=4),
            nn.GELU(),
            nn.Conv2d(config.stem_width, config.middle_width, 3, stride=2, padding=1),
            *(_Layer(config.middle_width) for _ in range(config.middle_layers)),
            nn.Conv2d(config.middle_width, config.width, 3, stride=2, padding=1),
            *(_Layer(config.width) for _ in range(config.layers)),
        )
        self.positions = nn.Parameter(0.02 * torch.randn(self.features, config.width))
        self.attention = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(config.width, config.heads, config.mlp, 0.0, F.gelu, batch_first=True, norm_first=True)
                for _ in range(config.attention_layers)
            )
        )
        self.norm = nn.LayerNorm(config.width)

    def pixels(self, picture: Image.Image) -> Tensor:
        """[3, resolution, resolution] float32, -1 to 1, of an RGB picture."""
        return self.normalise(square_pixels(picture, self.config.resolution))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels of 0 to 1 as `forward` takes them: -1 to 1."""
        return 2 * pixels - 1

    def forward(self, pixels: Tensor) -> Tensor:
        """`pixels` [B, 3, resolution, resolution] -> features [B, 50, width], the class token first, then the grid row by row."""
        grid = self.grid(pixels.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2)  # [B, 49, width]
        x = torch.cat([grid.mean(1, keepdim=True), grid], dim=1) + self.positions
        return self.norm(self.attention(x))


class _Layer(nn.Module):
    """A residual convolution. Batch normalisation, because a CPU trains it fastest; it costs nothing when it is fixed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.look = nn.Conv2d(width, width, 3, padding=1)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B, width, H, W]."""
        return x + self.mix(F.gelu(self.look(self.norm(x))))

"""What every vision encoder promises, and what each begins with: encoded pictures to squares of pixels."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn

from omni_core.errors import ImageError

_LONGEST = 50  # times as long as wide: with its shorter side resized, a thread of a picture would fill the memory


class VisionEncoder(nn.Module):
    """A picture to 50 features for the language model's vision adapter: the class token, then a grid of 7 x 7 row by row."""

    width: int  #: of one feature

    @torch.inference_mode()
    def encode(self, image: bytes) -> Tensor:
        """Features [50, width] of an encoded picture (PNG, JPEG and what else Pillow reads). Raises ImageError if it can't be read."""
        first = next(self.parameters())
        return self(self.pixels(read_image(image))[None].to(first.device, first.dtype))[0]

    def pixels(self, picture: Image.Image) -> Tensor:
        """What the encoder takes for an RGB picture: [3, S, S] float32."""
        raise NotImplementedError


def read_image(image: bytes) -> Image.Image:
    """RGB. Raises ImageError when the bytes are no picture that Pillow reads, or one so large or so long that it may be a trap."""
    try:
        picture = Image.open(io.BytesIO(image)).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"the picture can't be read ({error}): send a PNG or JPEG") from error
    if max(picture.size) > _LONGEST * min(picture.size):
        raise ImageError(f"the picture is {picture.width} x {picture.height} pixels: send one at most {_LONGEST} times as long as wide")
    return picture


def square_pixels(picture: Image.Image, resolution: int) -> Tensor:
    """[3, resolution, resolution] float32, 0 to 1: shorter side resized (bicubic), centre cropped, as CLIP was trained."""
    width, height = (resolution * side // min(picture.size) for side in picture.size)
    left, top = round((width - resolution) / 2), round((height - resolution) / 2)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + resolution, top + resolution))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255

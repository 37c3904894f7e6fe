"""Paints a `Picture`: coloured shapes or one sign, as a camera might see a card on a table. All that varies comes from the picture's seed."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

if TYPE_CHECKING:
    from omni_core.datagen.pictures import Picture

SIZE = 224  #: pixels of a side

SHAPES = ("circle", "square", "triangle", "star", "heart")

#: sRGB of each colour; every thing varies around it
COLOURS = {
    "red": (215, 30, 35),
    "blue": (35, 75, 215),
    "green": (35, 150, 55),
    "yellow": (250, 220, 40),
    "orange": (250, 130, 20),
    "purple": (130, 45, 165),
    "black": (18, 18, 20),
    "white": (248, 248, 248),
}

#: centre of each place, as parts of the side
PLACES = {"left": (0.2, 0.5), "right": (0.8, 0.5), "top": (0.5, 0.2), "bottom": (0.5, 0.8), "middle": (0.5, 0.5)}

_COLOUR_SPREAD = 14  # of each channel
_CONTRAST = 75.0  # between a background and what is on it, at least; in sRGB units weighted by `_EYE`
_EYE = np.array([0.55, 0.75, 0.37])
_GLYPH = 192  # pixels of the square a sign is drawn in before it is placed


def paint(picture: Picture, size: int = SIZE) -> np.ndarray:
    """The picture as uint8 [size, size, 3]; the same scene at any `size`."""
    rng = np.random.default_rng(picture.seed)
    side = 2 * size  # halved at the end, for smooth edges
    names = [thing.colour for thing in picture.things] or [str(rng.choice(list(COLOURS)))]
    colours = [_vary(COLOURS[name], rng) for name in names]
    image = _background(colours, side, rng)
    draw = ImageDraw.Draw(image)
    if picture.sign:
        _write(image, picture.sign, colours[0], rng)
    for thing, colour in zip(picture.things, colours, strict=False):
        x, y = PLACES[thing.place] + rng.uniform(-0.03, 0.03, 2)
        radius = rng.uniform(0.65, 1.0) * _room(thing.place, picture)
        outline = _outline(thing.shape, rng.uniform(-0.3, 0.3))
        draw.polygon([((x + radius * u) * side, (y + radius * v) * side) for u, v in outline], fill=colour)
    return _photograph(image.reduce(2), rng)


def _room(place: str, picture: Picture) -> float:
    """Largest radius, as a part of the side, that keeps a thing inside the picture and off its neighbours."""
    others = [PLACES[thing.place] for thing in picture.things if thing.place != place]
    nearest = min((math.dist(PLACES[place], other) for other in others), default=1.0)
    return min(nearest / 2 - 0.045, 0.3 if place == "middle" else 0.15)


def _outline(shape: str, turn: float) -> list[tuple[float, float]]:
    """Corners (x to the right, y down) of a shape of about radius 1 around the origin, turned by `turn` radians."""
    cosine, sine = math.cos(turn), math.sin(turn)
    return [(x * cosine - y * sine, x * sine + y * cosine) for x, y in _upright(shape)]


@functools.cache
def _upright(shape: str) -> tuple[tuple[float, float], ...]:
    around = [2 * math.pi * step / 48 for step in range(48)]
    match shape:
        case "circle":
            return tuple((0.95 * math.cos(a), 0.95 * math.sin(a)) for a in around)
        case "square":
            return ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85))
        case "triangle":
            return ((0.0, -1.0), (1.0, 0.8), (-1.0, 0.8))
        case "star":
            corners = [(math.pi * (step / 5 - 0.5), 1.15 if step % 2 == 0 else 0.48) for step in range(10)]
            return tuple((r * math.cos(a), r * math.sin(a)) for a, r in corners)
        case "heart":
            return tuple(
                (math.sin(a) ** 3, -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a) + 2.5) / 16) for a in around
            )
    raise ValueError(f"no outline of a {shape!r}")


def _vary(colour: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(channel) for channel in np.clip(colour + rng.uniform(-_COLOUR_SPREAD, _COLOUR_SPREAD, 3), 0, 255))


def _background(colours: list[tuple[int, ...]], side: int, rng: np.random.Generator) -> Image.Image:
    """A plain or shaded field, in a dull colour that stands apart from all of `colours`."""
    first = _dull(colours, rng)
    if rng.random() < 0.5:
        return Image.new("RGB", (side, side), tuple(int(channel) for channel in first))
    second = np.clip(first + rng.uniform(-25, 25) + rng.uniform(-8, 8, 3), 0, 255)
    corners = np.stack([first, (first + second) / 2, (first + second) / 2, second])[rng.permutation(4)].reshape(2, 2, 3)
    return Image.fromarray(corners.astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR)


def _dull(colours: list[tuple[int, ...]], rng: np.random.Generator) -> np.ndarray:
    """The first of some random greyish colours that has `_CONTRAST` to all of `colours`, else the one with most."""
    candidates = np.clip(rng.uniform(25, 240, (16, 1)) + rng.uniform(-22, 22, (16, 3)), 0, 255)
    apart = np.linalg.norm((candidates[:, None] - np.array(colours)) * _EYE, axis=-1).min(axis=1)  # [16]
    clear = np.flatnonzero(apart > _CONTRAST)
    return candidates[clear[0] if len(clear) else apart.argmax()]


def _write(image: Image.Image, sign: str, colour: tuple[int, ...], rng: np.random.Generator) -> None:
    """One digit or letter, thin or bold, slanted, turned and squeezed a little, somewhere near the middle."""
    side = image.width
    height = rng.uniform(0.3, 0.75) * side
    turn, slant, squeeze = rng.uniform(-0.2, 0.2), rng.uniform(-0.25, 0.25), rng.uniform(0.92, 1.08)
    shape = np.array([[squeeze, slant], [0.0, 1.0]])  # glyph to picture, around the centres
    spin = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    inverse = np.linalg.inv(spin @ shape * (height / (0.5 * _GLYPH)))
    offset = _GLYPH / 2 - inverse @ (rng.uniform(0.42, 0.58, 2) * side)
    rows = np.column_stack([inverse, offset]).flatten().tolist()
    mask = _glyph(sign, int(rng.integers(5))).transform(image.size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)
    image.paste(colour, (0, 0), mask)


@functools.cache
def _glyph(sign: str, stroke: int) -> Image.Image:
    """The sign as a mask, its capitals half as tall as the square; `stroke` pixels are added all around to make it bold."""
    mask = Image.new("L", (_GLYPH, _GLYPH))
    font = ImageFont.load_default(_GLYPH * 0.68)
    ImageDraw.Draw(mask).text((_GLYPH / 2, _GLYPH / 2), sign, fill=255, font=font, anchor="mm", stroke_width=stroke)
    return mask.crop(_square(mask.getbbox() or (0, 0, 0, 0)))


def _square(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The square of `_GLYPH` pixels around the middle of `box`."""
    left, top = (box[0] + box[2] - _GLYPH) // 2, (box[1] + box[3] - _GLYPH) // 2
    return left, top, left + _GLYPH, top + _GLYPH


def _photograph(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """What a camera makes of it: blur, brightness, a colour cast, noise."""
    size = image.width
    blur = rng.uniform(0, 1.3) * size / SIZE
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.BoxBlur(blur))
    light = rng.uniform(0.75, 1.15) * rng.uniform(0.95, 1.05, 3)
    pixels = np.asarray(image, np.float32) * light.astype(np.float32)
    if rng.random() < 0.6:
        grain = rng.standard_normal((size, size), np.float32) * np.float32(rng.uniform(2, 14))
        pixels += grain[..., None]
    return np.clip(pixels, 0, 255).astype(np.uint8)

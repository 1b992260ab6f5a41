"""Colours for depth and for its errors, on a fixed scale that the legend states."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from leadline.core.arrays import Depth, ImageTensor, Mask, Tensor, as_array, as_tensor
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput


@dataclass(frozen=True)
class ColorScale:
    """State which colour a number gets: the same in every picture, whatever else is in it."""

    colours: str
    """The name of one of matplotlib's colour maps."""
    low: float
    high: float
    label: str
    """The text of the legend: the quantity and its unit."""
    is_logarithmic: bool = False
    marks: tuple[float, ...] = ()
    """Numbers on the legend between its ends; empty: round ones."""

    def position(self, values: np.ndarray) -> np.ndarray:
        """Return where values lie between low (0) and high (1), clamped to them."""
        low, high = self.low, self.high
        if self.is_logarithmic:
            values, low, high = np.log(np.maximum(values, low)), math.log(low), math.log(high)
        return np.clip((values - low) / (high - low), 0, 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Position and text of the numbers on the legend; what is beyond the ends has their colour."""
        within = self.marks or _round_numbers(self.low, self.high, self.is_logarithmic)
        ends = [(0.0, f"≤ {self.low:.3g}"), (1.0, f"≥ {self.high:.3g}")]
        places = [(self.position(np.array([each])).item(), f"{each:g}") for each in within]
        return [ends[0], *((place, text) for place, text in places if 0.1 < place < 0.9), ends[1]]


def depth_color_scale(low: float = 0.5, high: float = 10.0) -> ColorScale:
    """Return the logarithmic scale for metres, near bright and far dark: 1 to 2 m differ as much as 4 to 8 m.

    Args:
        low: metres of the nearest colour.
        high: metres of the farthest colour.

    Raises:
        BadInput: not 0 < low < high < ∞.
    """
    if not 0 < low < high < math.inf:
        raise BadInput(f"A picture from {low:g} to {high:g} m: give 0 < near < far, in metres.")
    return ColorScale("inferno_r", low, high, "depth in metres", is_logarithmic=True)


def default_color_scale(depth: Depth, valid: Mask, kind: DepthKind) -> ColorScale:
    """Choose the scale for a map's kind: the fixed one of metres, or the range of this picture for other kinds.

    Args:
        depth: (1, H, W) in the unit of `kind`.
        valid: (1, H, W), where the depth means something.
        kind: of the depth.
    """
    return depth_color_scale() if kind is DepthKind.METRIC else fit_color_scale(depth, valid, kind)


def fit_color_scale(depth: Depth, valid: Mask, kind: DepthKind) -> ColorScale:
    """Return a linear scale from the 2nd to the 98th percentile of one map, which its label states.

    Colours of such pictures cannot be compared with each other.

    Args:
        depth: (1, H, W) in the unit of `kind`.
        valid: (1, H, W), where the depth means something.
        kind: of the depth.
    """
    known = as_array(depth)[as_array(valid)]
    values = np.percentile(known, [2, 98]) if known.size else np.array([0.0, 1.0])
    low, high = float(values[0]), float(values[1])
    high = high if high > low else low + max(abs(low), 1.0) * 1e-3
    if kind is DepthKind.RELATIVE:
        return ColorScale("inferno", low, high, "inverse depth without unit, range of this picture")
    unit = "metres" if kind is DepthKind.METRIC else "no unit"
    return ColorScale("inferno_r", low, high, f"depth in {unit}, range of this picture")


ERROR_SCALE = ColorScale("RdBu", 0.5, 2.0, "predicted / measured", is_logarithmic=True, marks=(0.8, 1.0, 1.25))
"""Red is too near, blue too far, white is right; the ends are half and twice the measured depth."""

HATCH = ((0.80, 0.80, 0.81), (0.70, 0.70, 0.71))
"""The two greys of the stripes where nothing was measured; no colour map has them."""


def colorize(values: Depth, scale: ColorScale, valid: Mask | None = None) -> ImageTensor:
    """Return the colours of numbers, striped grey where they are not valid or not finite.

    Args:
        values: (1, H, W) numbers in the unit of the scale.
        scale: which colour a number gets.
        valid: (1, H, W), which numbers mean something; unset: those that are finite.

    Returns:
        (3, H, W) RGB in [0, 1].
    """
    height, width = values.shape[-2:]
    picture = np.empty((3, height, width), np.float32)
    for rows, steps, hidden in _strips(values, scale, valid):
        strip = _lookup(scale.colours)[steps]
        if hidden is not None:
            strip = np.where(hidden[..., None], _stripes(height, width, rows), strip)
        picture[:, rows] = strip.transpose(2, 0, 1)
    return as_tensor(picture)


def render(
    values: Depth, scale: ColorScale, valid: Mask | None = None, note: str = "", *, legend: bool = True
) -> Image.Image:
    """Draw numbers in colours above a legend, as 8-bit pixels.

    The result is that of `with_legend(colorize(values, scale, valid), scale, note)`, in an eighth of the memory.

    Args:
        values: (1, H, W) numbers, in the unit of the scale.
        scale: which colour a number gets.
        valid: which numbers mean something; unset: those that are finite.
        note: text that follows the scale's label in the legend.
        legend: whether there is one; without it the picture has the size of the values.
    """
    height, width = values.shape[-2:]
    pixels = np.empty((height, width, 3), np.uint8)
    table = np.rint(_lookup(scale.colours) * 255).astype(np.uint8, order="C")[:, None]
    for rows, steps, hidden in _strips(values, scale, valid):
        pixels[rows] = cv2.applyColorMap(steps, table)
        if hidden is not None:
            stripes = np.rint(_stripes(height, width, rows) * 255).astype(np.uint8)
            pixels[rows][hidden] = stripes[hidden]
    return _above_legend(pixels, scale, note) if legend else Image.fromarray(pixels)


def colorize_error(predicted: Depth, measured: Depth, valid: Mask) -> ImageTensor:
    """Return the ratio of predicted to measured depth in the colours of `ERROR_SCALE`.

    Args:
        predicted: (1, H, W) metres, positive.
        measured: (1, H, W) metres.
        valid: (1, H, W), where a depth was measured; elsewhere striped grey.

    Returns:
        (3, H, W) RGB in [0, 1].
    """
    ratio = as_array(predicted) / np.where(as_array(valid), as_array(measured), np.float32(1))
    return colorize(as_tensor(ratio), ERROR_SCALE, valid)


def with_legend(picture: ImageTensor, scale: ColorScale, note: str = "") -> Float[Tensor, "3 h w"]:
    """Return the picture above a bar of the scale's colours with its numbers, its label and a note.

    Args:
        picture: (3, H, W) RGB in [0, 1].
        scale: the scale whose colours it has.
        note: text that follows the scale's label; empty: none.

    Returns:
        (3, h, w) RGB in [0, 1], higher than the picture and maybe wider.
    """
    canvas = _above_legend(_eight_bits(picture), scale, note)
    return as_tensor((np.asarray(canvas).astype(np.float32) / 255).transpose(2, 0, 1))


def legend_strip(scale: ColorScale, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the legend alone, 8-bit RGB, for pictures of `width` pixels; wider where its text takes more."""
    return np.asarray(_above_legend(np.full((1, width, 3), 255, np.uint8), scale, ""))[1:]


def legend_bar(scale: ColorScale, width: int, height: int) -> ImageTensor:
    """Return the scale's colours from low (left) to high (right).

    Args:
        scale: the scale.
        width: of the bar in pixels.
        height: of the bar in pixels.

    Returns:
        (3, height, width) RGB in [0, 1].
    """
    return as_tensor(_bar(scale, width, height).transpose(2, 0, 1))


def encode_image(picture: ImageTensor, suffix: str = ".png") -> bytes:
    """Encode RGB (3, H, W) in [0, 1] as the bytes of a file, `.png` or `.jpg`."""
    buffer = BytesIO()
    _pillow(picture).save(buffer, {".png": "PNG", ".jpg": "JPEG"}[suffix], quality=90, optimize=True)
    return buffer.getvalue()


def _round_numbers(low: float, high: float, is_logarithmic: bool) -> list[float]:
    """Return 1, 2 and 5 times powers of ten between low and high; in equal steps where the scale is linear."""
    if is_logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        return [each * 10.0**power for power in powers for each in (1, 2, 5) if low < each * 10.0**power < high]
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = min((each * unit for each in (1, 2, 5, 10)), key=lambda each: abs(each - rough))
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _above_legend(pixels: UInt8[np.ndarray, "H W 3"], scale: ColorScale, note: str) -> Image.Image:
    height, width = pixels.shape[:2]
    legend = _legend(scale, note, width)
    canvas = np.full((height + legend.shape[0], legend.shape[1], 3), 255, np.uint8)
    left = (legend.shape[1] - width) // 2
    canvas[:height, left : left + width] = pixels
    canvas[height:] = legend
    return Image.fromarray(canvas)


@lru_cache(maxsize=8)
def _legend(scale: ColorScale, note: str, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the legend of a picture of `width` pixels, once for pictures of one scale and size."""
    size = min(max(round(width / 42), 11), 90)
    font, said = _font(size), f"{scale.label}; {note}" if note else scale.label
    canvas_width, strip = max(width, round(font.getlength(said)) + 2 * size, 22 * size), round(4.4 * size)
    canvas = Image.new("RGB", (canvas_width, strip), "white")
    draw = ImageDraw.Draw(canvas)
    left, right = 2 * size, canvas_width - 2 * size
    top, bottom = round(0.5 * size), round(1.6 * size)
    bar = np.rint(_bar(scale, right - left, bottom - top) * 255).astype(np.uint8)
    canvas.paste(Image.fromarray(bar), (left, top))
    for place, text in scale.ticks:
        x = left + place * (right - left)
        draw.line([(x, bottom), (x, bottom + size // 3)], fill="black", width=max(1, size // 12))
        draw.text((x, bottom + 0.4 * size), text, fill="black", font=font, anchor="ma")
    draw.text((canvas_width / 2, bottom + 1.55 * size), said, fill="black", font=font, anchor="ma")
    return np.asarray(canvas)


def _bar(scale: ColorScale, width: int, height: int) -> Float[np.ndarray, "height width 3"]:
    steps = np.rint(np.linspace(0, 255, width)).astype(np.intp)
    return np.broadcast_to(_lookup(scale.colours)[steps], (height, width, 3)).copy()


def _strips(
    values: Depth, scale: ColorScale, valid: Mask | None
) -> Iterator[tuple[slice, UInt8[np.ndarray, "rows W"], Bool[np.ndarray, "rows W"] | None]]:
    """Yield some rows at a time, so that no copy of a large picture is made on the way.

    Returns:
        Which rows, their places in the table of colours, and which pixels are not valid or not finite; None: none is.
    """
    (numbers,), known = as_array(values), None if valid is None else as_array(valid)[0]
    height = len(numbers)
    for top in range(0, height, 256):
        rows = slice(top, min(top + 256, height))
        strip = numbers[rows].astype(np.float32, copy=False)
        shown = np.isfinite(strip) if known is None else known[rows] & np.isfinite(strip)
        hidden = None
        if not shown.all():
            strip, hidden = np.where(shown, strip, np.float32(scale.high)), ~shown
        yield rows, np.rint(scale.position(strip) * 255).astype(np.uint8), hidden


@cache
def _lookup(colours: str) -> Float[np.ndarray, "256 3"]:
    """RGB in [0, 1]."""
    if colours.removesuffix("_r") == "inferno":
        # Smith and van der Walt's map (CC0), as matplotlib holds it, which takes a second to import.
        table = np.load(Path(__file__).with_name("inferno.npy"))
        return table[::-1] if colours.endswith("_r") else table
    from matplotlib import colormaps

    return colormaps[colours](np.arange(256))[:, :3].astype(np.float32)


def _stripes(height: int, width: int, rows: slice) -> Float[np.ndarray, "rows W 3"]:
    """Return some rows of diagonal stripes of the two greys of `HATCH`, about 40 along the picture's longer side."""
    period = max(4, max(height, width) // 40)
    diagonal = np.arange(rows.start, rows.stop)[:, None] + np.arange(width)[None]
    light, dark = np.array(HATCH, np.float32)
    return np.where((diagonal % period < period / 2)[..., None], light, dark)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """matplotlib's own font, found without importing it."""
    spec = find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    return ImageFont.truetype(Path(spec.origin).with_name("mpl-data") / "fonts/ttf/DejaVuSans.ttf", size)


def _pillow(picture: ImageTensor) -> Image.Image:
    return Image.fromarray(_eight_bits(picture))


def _eight_bits(picture: "np.ndarray | Tensor") -> UInt8[np.ndarray, "H W 3"]:
    pixels = np.rint(np.clip(as_array(picture), 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))

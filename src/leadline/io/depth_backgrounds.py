"""Backgrounds: numbers in depth files that stand for "nothing is there", though they look like depth."""

import numpy as np
from jaxtyping import Bool, Shaped

BACKGROUND_VALUES = (65504.0, 65535.0)
"""The largest number of 16 bits, as a float and as an integer: what renderers and converters write for the sky."""
MAX_MEASURABLE_METRES = 10_000.0
"""Metres that no camera or LiDAR measures beyond; Blender writes 1e10 for its background."""


def background_mask(numbers: Shaped[np.ndarray, "H W"], depth_scale: float) -> Bool[np.ndarray, "H W"]:
    """Find the numbers that no camera measures.

    Args:
        numbers: (H, W) as they are stored in the file, of more than 8 bits.
        depth_scale: numbers in the file that make a metre.

    Returns:
        (H, W): True where the number stands for a background.
    """
    if numbers.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            return np.isfinite(numbers) & (
                np.isin(numbers, BACKGROUND_VALUES) | (numbers > MAX_MEASURABLE_METRES * depth_scale)
            )
    return np.isin(numbers, (BACKGROUND_VALUES[1], np.iinfo(numbers.dtype).max))

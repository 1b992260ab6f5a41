"""Optical flow between two frames of a video, and how far it can be trusted."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Grey = UInt8[np.ndarray, "H W"]
Numbers = Float[np.ndarray, "H W"]

BRIGHTNESS_TOLERANCE = 0.06
"""Of the range of brightness: by how much a pixel may look different from where it came from and still be the same."""


@dataclass(frozen=True, eq=False)
class Flow:
    """State where each pixel of a frame was in the frame before."""

    columns: Numbers
    rows: Numbers
    trust: Numbers
    """0 (not seen before, or not found) to 1."""

    def warp(self, before: Numbers) -> Numbers:
        """Move a map of the frame before to where its surfaces are now; meaningless where `trust` is 0."""
        return cv2.remap(before, self.columns, self.rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    @property
    def is_cut(self) -> bool:
        """Whether hardly anything of the frame before is left: another shot begins."""
        return float(self.trust.mean()) < _CUT


def estimate_flow(now: Grey, before: Grey) -> Flow:
    """Find where each pixel of `now` was in `before`: dense inverse search (Kroeger et al. 2016), by OpenCV.

    A pixel is trusted as far as it looks as it did, exp(−(difference / tolerance)²), and where the flow back leads to
    where it came from.
    """
    there = _search(now, before)
    back = _search(before, now)
    height, width = now.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + there[..., 0], rows + there[..., 1]
    returned = cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    moved = np.hypot(there[..., 0], there[..., 1])
    missed = np.hypot(there[..., 0] + returned[..., 0], there[..., 1] + returned[..., 1])
    was = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # A pixel's noise is none of its surface's: the difference is taken over a small patch.
    difference = cv2.blur(now.astype(np.float32) - was.astype(np.float32), (5, 5)) / 255
    trust = np.exp(-np.square(difference / BRIGHTNESS_TOLERANCE))
    trust *= np.exp(-np.square(missed / (1.0 + 0.1 * moved)))
    trust[(x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)] = 0
    return Flow(x, y, trust.astype(np.float32))


_CUT = 0.3


def _search(one: Grey, other: Grey) -> Float[np.ndarray, "H W 2"]:
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    if min(one.shape) < _SMALLEST:
        return np.zeros((*one.shape, 2), np.float32)
    return search.calc(one, other, None)  # type: ignore[call-overload]


_SMALLEST = 32
"""Pixels of a side below which OpenCV builds the search's pyramid by the width alone, and fails where that is large."""

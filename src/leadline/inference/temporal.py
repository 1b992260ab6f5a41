"""Temporal smoothing: depth of a video's frames, each blended with the frames before it along the motion."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from leadline.core.depth_kind import DepthKind
from leadline.inference.optical_flow import estimate_flow

Numbers = Float[np.ndarray, "H W"]
Pixels = UInt8[np.ndarray, "H W 3"]

SMOOTHING = 0.9
"""Share of what was known before in each new frame, where it can be trusted: an average over some ten frames."""


@dataclass
class Smoother:
    """Blend the depth of each frame with that of the frames before, moved along the optical flow.

    The average is exponential, of log depth (of relative depth: of inverse depth, fitted to the frame before with a
    positive factor and a shift, which each frame has its own of). It begins anew at cuts, and wherever the flow is not
    trusted or the depths differ too much to be of one surface.
    """

    kind: DepthKind
    smoothing: float = SMOOTHING
    """0 (each frame by itself) to below 1."""
    known: Numbers | None = None
    """Of the frame before: log depth, or inverse depth; None: there is none."""
    grey: UInt8[np.ndarray, "H W"] | None = None
    cuts: int = field(default=0)

    def next(self, pixels: Pixels, depth: Numbers) -> Numbers:
        """Return the smoothed depth of the next frame.

        Args:
            pixels: the frame, RGB.
            depth: its predicted depth, in the unit of `kind`.
        """
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        values = depth.astype(np.float32) if self.kind is DepthKind.RELATIVE else np.log(depth.astype(np.float32))
        if self.known is not None and self.grey is not None and self.smoothing > 0:
            flow = estimate_flow(grey, self.grey)
            if flow.is_cut:
                self.cuts += 1
            else:
                values = self._blended(values, flow.warp(self.known), flow.trust)
        self.known, self.grey = values, grey
        return values if self.kind is DepthKind.RELATIVE else np.exp(values)

    def _blended(self, values: Numbers, before: Numbers, trust: Numbers) -> Numbers:
        if self.kind is DepthKind.RELATIVE:
            values = _fitted(values, before, trust)
            tolerance = _RELATIVE_TOLERANCE * float(np.std(before)) + 1e-12
        else:
            if self.kind is DepthKind.SCALE_FREE:
                values = (
                    values + np.float32(np.median((before - values)[trust > 0.5])) if (trust > 0.5).any() else values
                )
            tolerance = _LOG_TOLERANCE
        change = before - values
        # A network's scale sways as a whole: that is no sign of another surface.
        swayed = float(np.median(change[trust > 0.5])) if (trust > 0.5).any() else 0.0
        weight = self.smoothing * trust * np.exp(-np.square((change - swayed) / tolerance))
        return values + weight * change


_LOG_TOLERANCE = 0.5
"""Of log depth: at a factor of 1.6 the frame before counts a third."""
_RELATIVE_TOLERANCE = 1.0
"""Of inverse depth, in its standard deviations."""


def _fitted(values: Numbers, before: Numbers, trust: Numbers) -> Numbers:
    """Bring values to the factor and the shift of the frame before, by least squares over trusted pixels."""
    weight = trust.astype(np.float64)
    total = weight.sum()
    if total < 1:
        return values
    mean, target = (float((weight * each).sum() / total) for each in (values, before))
    spread = float((weight * np.square(values - mean)).sum())
    factor = float((weight * (values - mean) * (before - target)).sum()) / spread if spread > 0 else 0.0
    return ((values - mean) * factor + target).astype(np.float32) if factor > 0 else values

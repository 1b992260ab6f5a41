"""Protocols: which pixels count, how predictions are aligned and averaged: named, so that a number says what it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from leadline.core.arrays import Depth, Mask, Tensor, as_array, as_tensor, plain
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known, check_type
from leadline.core.ranges import Within, check_fields
from leadline.evaluation.alignment_kinds import check_alignment
from leadline.evaluation.metrics import Averaging


@dataclass(frozen=True)
class Crop:
    """The part of an image that counts, as shares of its height and width, cut down to whole pixels."""

    top: Fraction | float
    bottom: Fraction | float
    left: Fraction | float
    right: Fraction | float

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and the columns of the crop in an image of this height and width in pixels."""
        rows = slice(int(self.top * height), int(self.bottom * height))
        columns = slice(int(self.left * width), int(self.right * width))
        return rows, columns


CROPS: Mapping[str, Crop] = {
    "none": Crop(0.0, 1.0, 0.0, 1.0),
    # Fractions give back the published whole numbers exactly at 480 × 640 …
    "nyu_eigen": Crop(Fraction(45, 480), Fraction(471, 480), Fraction(41, 640), Fraction(601, 640)),
    "nyu_older": Crop(Fraction(21, 480), Fraction(460, 480), Fraction(25, 640), Fraction(616, 640)),
    # … and floating point the published rounding of KITTI's (366 rows of 370, and not 367).
    "kitti_garg": Crop(0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "kitti_eigen": Crop(0.3324324, 0.91351351, 0.0359477, 0.96405229),
}
"""Name → crop. `nyu_eigen` is rows 45:471 and columns 41:601 of 480 × 640, `nyu_older` 21:460 and 25:616;
`kitti_garg` is Garg et al. 2016's crop, `kitti_eigen` Eigen et al. 2014's as Godard et al. 2017 found it."""


@dataclass(frozen=True)
class EvalProtocol:
    """How predictions are compared with ground truth. Build one with `protocol(name, …)`."""

    name: str
    crop: str
    """A name in `CROPS`."""
    min_depth: Annotated[float, Within()]
    """Metres: ground truth counts if it is farther than this …"""
    cap: Annotated[float, Within()]
    """… and nearer than this, both strictly."""
    alignment: str = "none"
    """A name in `leadline.evaluation.alignment.ALIGNMENTS`."""
    averaging: Averaging = "per_image"
    flip: bool = False
    """Predict the mirrored image too and take the mean of both."""
    scales: tuple[Annotated[float, Within(0.1, 10)], ...] = (1.0,)
    """Factors on the sides of the network's input; the mean of the predictions is scored."""

    def counts(self, target: Depth, valid: Mask) -> Mask:
        """Return the pixels that count: measured, in the crop, strictly between `min_depth` and `cap`."""
        counted = valid & False
        inside = self.window(target.shape)
        counted[inside] = self.counts_inside(target[inside], valid[inside])
        return counted

    def window(self, shape: Sequence[int]) -> tuple[Any, slice, slice]:
        """Return the index of the crop in maps of this shape (…, H, W)."""
        return (..., *CROPS[self.crop].window(*shape[-2:]))

    def counts_inside(self, target: Depth, valid: Mask) -> Mask:
        """Return which pixels of the crop count, given only those: measured, and within the range of depths."""
        return valid & (target > self.min_depth) & (target < self.cap)

    def compare_pixels(
        self, predicted: Float[np.ndarray, " pixels"], target: Float[np.ndarray, " pixels"], kind: DepthKind
    ) -> tuple[Float[np.ndarray, " pixels"], bool]:
        """Align and clip the pixels of one image that count, as `compare` does.

        Without an alignment this needs no PyTorch, which takes seconds to import.

        Args:
            predicted: in the unit of `kind`.
            target: metres.
            kind: what the prediction guarantees.

        Returns:
            Metres, and whether the image fits its ground truth by a negative factor only.

        Raises:
            BadInput: the alignment cannot make metres of this kind.
        """
        check_alignment(self.alignment, kind)
        if self.alignment == "none":
            low, high = (predicted.dtype.type(bound) for bound in (self.min_depth, self.cap))
            # fmax takes the number where the other is NaN.
            return np.minimum(np.fmax(predicted, low), high), False
        image = (1, 1, -1)
        counted = np.ones(target.shape, bool)
        compared = self.compare_counted(*(as_tensor(e.reshape(image)) for e in (predicted, target, counted)), kind=kind)
        return as_array(compared.metres).reshape(-1), bool(compared.is_reversed)

    def compare(self, predicted: Depth, target: Depth, valid: Mask, kind: DepthKind) -> "Comparison":
        """Align a prediction, clip it to [min_depth, cap], and find the pixels that count.

        NaN becomes `min_depth` and infinity `cap`, as in the evaluation of BTS. A zero in a prediction is a prediction
        of `min_depth`, never a hole.

        Args:
            predicted: (*batch, 1, H, W) in the unit of `kind`.
            target: metres, of the same shape.
            valid: where depth was measured.
            kind: what the prediction guarantees.

        Raises:
            BadInput: the alignment cannot make metres of this kind.
        """
        return self.compare_counted(predicted, target, self.counts(target, valid), kind)

    def compare_counted(self, predicted: Depth, target: Depth, counted: Mask, kind: DepthKind) -> "Comparison":
        """Align and clip as `compare` does, where the pixels that count are known already.

        Args:
            predicted: (*batch, 1, H, W) in the unit of `kind`.
            target: metres, of the same shape.
            counted: what `counts` returned.
            kind: what the prediction guarantees.

        Raises:
            BadInput: the alignment cannot make metres of this kind.
        """
        from leadline.evaluation.alignment import fit_alignment

        # Aligned before it is held to the range: clipped pixels would bias the scale.
        aligned = fit_alignment(predicted, target, counted, alignment=self.alignment, kind=kind)
        metres = aligned.metres.nan_to_num(nan=self.min_depth, posinf=self.cap).clamp(self.min_depth, self.cap)
        return Comparison(metres, counted, aligned.is_reversed)

    @property
    def words(self) -> str:
        """What a table prints: the name and every departure from it, `nyu_eigen, cap 50 m`."""
        named = PROTOCOLS[self.name]
        return ", ".join([self.name, *(_said(self, key) for key in _changed(self, named))])

    @property
    def description(self) -> str:
        """The whole protocol in words."""
        return f"{self.name}: " + ", ".join(_said(self, each.name) for each in fields(self) if each.name != "name")

    def as_dict(self) -> dict[str, Any]:
        """Return the protocol as JSON holds it: its fields, its words, and its crop as fractions of the image."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        crop = [float(getattr(CROPS[self.crop], side)) for side in ("top", "bottom", "left", "right")]
        return {"words": self.words, "description": self.description, **values, "crop_shares": crop}

    def changed(self, **changes: Any) -> "EvalProtocol":
        """Return the protocol with other values; those that are None stay.

        Raises:
            BadInput: an unknown crop, alignment or averaging, or a range that holds no depth.
        """
        changed = replace(self, **{key: plain(value) for key, value in changes.items() if value is not None})
        _check(changed)
        return changed


@dataclass(frozen=True, eq=False)
class Comparison:
    """A prediction beside its ground truth under a protocol."""

    metres: Depth
    """The prediction, aligned and held to the protocol's range."""
    counted: Mask
    is_reversed: Tensor
    """Whether each image (*batch) fits its ground truth by a negative factor only, and is a constant in `metres`."""


PROTOCOLS: Mapping[str, EvalProtocol] = {
    "indoor": EvalProtocol("indoor", crop="none", min_depth=0.1, cap=10.0),
    "kitti_eigen": EvalProtocol("kitti_eigen", crop="kitti_eigen", min_depth=1e-3, cap=80.0),
    "kitti_garg": EvalProtocol("kitti_garg", crop="kitti_garg", min_depth=1e-3, cap=80.0),
    "nyu_eigen": EvalProtocol("nyu_eigen", crop="nyu_eigen", min_depth=1e-3, cap=10.0),
    "nyu_full": EvalProtocol("nyu_full", crop="none", min_depth=1e-3, cap=10.0),
    "relative": EvalProtocol("relative", crop="none", min_depth=0.1, cap=10.0, alignment="inverse_scale_shift"),
    "rooms": EvalProtocol("rooms", crop="none", min_depth=0.1, cap=10.0),
    "scale_free": EvalProtocol("scale_free", crop="none", min_depth=0.01, cap=100.0, alignment="median"),
}
"""Name → protocol. The NYU and KITTI ones are those of BTS's public evaluation (Lee et al. 2019). `scale_free` is for
predictions and truths without a unit: a truth counts up to 100 times its median, or up to 100 m where it is metres.
`relative` is `indoor` for inverse depth up to a scale and a shift."""


def check_protocol(rules: object) -> None:
    """Refuse what is no protocol, such as the name of one.

    Raises:
        BadInput: it is none; the error says how to make one.
    """
    check_type(rules, EvalProtocol, "protocol", 'make one by leadline.protocol("indoor")')


def protocol(name: str, **changes: Any) -> EvalProtocol:
    """Return the protocol of this name, with changes, which its printed words show.

    Raises:
        BadInput: an unknown protocol, crop, alignment or averaging, or a range that holds no depth.
    """
    check_known("protocol", name, PROTOCOLS)
    return PROTOCOLS[name].changed(**changes)


def _changed(one: EvalProtocol, other: EvalProtocol) -> list[str]:
    return [each.name for each in fields(one) if getattr(one, each.name) != getattr(other, each.name)]


def _said(one: EvalProtocol, field: str) -> str:
    """One field in words: `cap 50 m`."""
    return {
        "crop": f"crop {one.crop}",
        "min_depth": f"from {one.min_depth:g} m",
        "cap": f"cap {one.cap:g} m",
        "alignment": f"alignment {one.alignment}",
        "averaging": {"per_image": "averaged per image", "pooled": "pooled over pixels"}[one.averaging],
        "flip": "with flip" if one.flip else "no flip",
        "scales": f"mean over scales {', '.join(f'{scale:g}' for scale in one.scales)}"
        if one.scales != (1.0,)
        else "one scale",
    }[field]


def _check(one: EvalProtocol) -> None:
    check_fields(one)
    check_known("crop", one.crop, CROPS)
    check_known("averaging", one.averaging, ("per_image", "pooled"))
    check_alignment(one.alignment, DepthKind.METRIC)
    if not one.scales:
        raise BadInput("No scales: give factors from 0.1 to 10 of the network's input size, as 0.75 1 1.25.")
    if not 0 < one.min_depth < one.cap:
        raise BadInput(f"Depths from {one.min_depth:g} m to {one.cap:g} m: give 0 < min depth < cap, in metres.")

"""Read depth files as the user states: their scale, what is not measured in them, and along which direction."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leadline.core.camera import ray_lengths
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.core.paths import StrPath
from leadline.core.sample import Intrinsics
from leadline.io.depth_backgrounds import background_mask
from leadline.io.depth_maps import DepthMap, read_depth, read_numbers, stated_scale
from leadline.io.depth_units import explain_implausible_median

ENCODINGS = ("", "sunrgbd")
"""None, and SUN RGB-D's: 16-bit millimetres with their bits rotated left by three."""
MILLIMETRES = 1000.0
"""Steps that make a metre."""


@dataclass(frozen=True)
class DepthReading:
    """How the depth files of a dataset are read, as the user states it."""

    depth_scale: float | None = None
    """Steps that make a metre; None leaves it to the files."""
    invalid: tuple[float, ...] | None = ()
    """Numbers in the files that mean "not measured"; None: none does, not even what no camera measures."""
    max_depth: float | None = None
    """What is farther, in the unit of the depth, is not measured."""
    along_ray: bool = False
    """The numbers are distances along the ray, not depth along the optical axis."""
    encoding: str = ""
    """One of `ENCODINGS`."""

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise unknown("encoding", self.encoding, filter(None, ENCODINGS))
        if self.encoding and self.depth_scale not in (None, MILLIMETRES):
            raise BadInput(f"encoding={self.encoding} is of millimetres: leave depth_scale={self.depth_scale:g} out.")
        for name, number in (("depth_scale", self.depth_scale), ("max_depth", self.max_depth)):
            if number is not None and not 0 < number < float("inf"):
                what = "says how many steps make a metre" if name == "depth_scale" else "is the farthest that counts"
                raise BadInput(f"{name}={number:g} must be positive: it {what}.")

    @property
    def scale(self) -> float | None:
        """Steps that make a metre, as stated or as the encoding defines it."""
        return MILLIMETRES if self.encoding else self.depth_scale

    @property
    def keeps_background(self) -> bool:
        """Whether the user has stated what is too far to be measured."""
        return self.invalid is None or self.max_depth is not None

    def decoded(self, numbers: np.ndarray, stated: float | None = None) -> np.ndarray:
        """Return the numbers of a file, with 0 for what is stated not to be measured, before they become metres.

        Args:
            numbers: as stored in the file.
            stated: steps that make a metre, as the file itself states it.
        """
        if self.encoding and not stated and numbers.dtype.itemsize > 1 and numbers.dtype.kind != "f":
            # SUN RGB-D's toolbox, read3dPoints.m: bitor(bitshift(depth, -3), bitshift(depth, 16 - 3))
            bits = numbers.astype(np.uint16)
            numbers = bits >> 3 | bits << 13
        wrong = np.isin(numbers, self.invalid or ())
        if self.max_depth is not None:
            wrong |= numbers > self.max_depth * (stated or self.scale or 1)
        return np.where(wrong, np.zeros_like(numbers), numbers) if wrong.any() else numbers

    def read(self, path: StrPath, kind: DepthKind, intrinsics: Intrinsics | None) -> DepthMap:
        """Read one depth map of the kind.

        Args:
            path: the file.
            kind: what its numbers guarantee.
            intrinsics: fx, fy, cx, cy in pixels of the map, where they are known and the file does not state them.

        Raises:
            BadInput: the unit is not known, the numbers contradict it, or no camera measures them.
            UnreadableFile: truncated, empty or no depth map.
        """
        path = Path(path)
        if self.encoding:
            return self._read_encoded(path, kind, intrinsics)
        measured = read_depth(
            path,
            depth_scale=self.depth_scale,
            kind=kind,
            invalid=self.invalid or (),
            max_depth=self.max_depth,
            along_ray=self.along_ray,
            intrinsics=intrinsics,
        )
        if kind is DepthKind.METRIC and self._may_hold_background(measured):
            numbers, metadata = read_numbers(path)
            if stated_scale(path, metadata) is None:
                self.check(self.decoded(numbers), str(path))
        return measured

    def check(self, numbers: np.ndarray, where: str) -> None:
        """Refuse numbers that are not stated to be metres and cannot be, or that no camera measures.

        Args:
            numbers: of a file that does not state its kind, as `decoded` gave them, meant as metres.
            where: what they come from, for messages.

        Raises:
            BadInput: with the option that says what they are.
        """
        measured = numbers[np.isfinite(numbers) & (numbers > 0)]
        middle = float(np.median(measured)) if measured.size else 1.0
        if self.scale is None and (reason := explain_implausible_median(middle)):
            raise BadInput(f"{where} does not say its unit, and {reason}.")
        nothing = background_mask(numbers, self.scale or 1.0)
        if nothing.any() and not self.keeps_background:
            number = numbers[nothing].max()
            raise BadInput(
                f"{where}: {nothing.mean():.2%} of its pixels hold numbers up to {number:g}, which no camera measures "
                f"(a renderer's background?): state invalid={number:g} or max_depth=METRES to leave them out, or "
                "invalid=none to take them as depth (of a dataset; with `evaluate --ground-truth`, --invalid and "
                "--max-depth)."
            )

    def _may_hold_background(self, measured: DepthMap) -> bool:
        """Return whether metres are so far that the numbers in their file have to be checked."""
        scale = self.scale or 1.0
        farthest = np.full((1, 1), float(measured.values.max()) * scale).round()
        return not self.keeps_background and bool(background_mask(farthest, scale).any())

    def _read_encoded(self, path: Path, kind: DepthKind, intrinsics: Intrinsics | None) -> DepthMap:
        """Read a file of an encoding: its raw numbers have no unit, so they are read as `SCALE_FREE` first."""
        numbers = read_depth(path, depth_scale=1.0, kind=DepthKind.SCALE_FREE).values[0].astype(np.uint16)
        depth = self.decoded(numbers).astype(np.float32) / np.float32(MILLIMETRES)
        if self.along_ray:
            if intrinsics is None:
                raise BadInput(f"{path}: along_ray=yes needs the camera: state it in scenes.json.")
            depth = depth / ray_lengths(intrinsics.tolist(), depth.shape).astype(np.float32)
        return DepthMap(depth[None], depth[None] > 0, kind, intrinsics)  # pyright: ignore[reportArgumentType]

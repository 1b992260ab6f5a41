"""What the page does with a photograph: measure it, scale it, and tell points and distances in it."""

import base64
import html
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from leadline.core.camera import CameraOption, canonical_camera, fields_of_view, unproject
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.inference.backends import Predictor, as_rgb8, scope_words
from leadline.inference.session import as_predictor
from leadline.io.colormaps import ColorScale, default_color_scale, legend_strip, render
from leadline.io.depth_maps import DepthMap
from leadline.io.images import read_photograph

if TYPE_CHECKING:
    from leadline.models.base import DepthModel
else:
    DepthModel = Any

SHOWN_PIXELS = 2_000_000
"""Pixels that a photograph is measured and shown with, at most: a larger one is halved until it has no more."""
SOLID_POINTS = 200_000
"""Points of the solid that the page turns."""
POINTER_POINTS = 100_000
"""Depths that the page holds for the pointer: of a larger picture each n-th row and column."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """Hold a measured photograph; frozen, `scaled` returns another."""

    name: str
    """The photograph's name without its suffix."""
    photograph: np.ndarray
    """(H, W, 3) uint8, as it is shown."""
    predicted: DepthMap
    """As the model outputs it, with a camera, given, read or assumed."""
    depth: DepthMap
    """The same, scaled by `anchors` if there are any."""
    is_guess: bool
    """Whether the camera is only assumed."""
    camera: str
    anchors: tuple[tuple[float, float, float], ...] = ()
    """Column, row and metres of the points that were told."""
    warning: str = ""
    """Doubts about the photograph, its camera and its depth."""
    said: str = ""
    """How well the anchors agree."""

    @property
    def scale(self) -> ColorScale:
        """The colours' scale."""
        return default_color_scale(self.depth.values, self.depth.mask, self.depth.kind)  # pyright: ignore[reportArgumentType]

    def colours(self) -> Image.Image:
        """Draw the depth in colours, of the photograph's size."""
        return render(self.depth.values, self.scale, self.depth.mask, legend=False)  # pyright: ignore[reportArgumentType]

    def legend(self) -> Image.Image:
        """Draw the scale of the colours."""
        return Image.fromarray(legend_strip(self.scale, 640))

    def scaled(self, column: float, row: float, metres: float) -> "Measurement":
        """Return the photograph scaled to metres by one more point whose depth was measured.

        Args:
            column: of the point in pixels from the left.
            row: from the top.
            metres: along the optical axis.

        Raises:
            BadInput: a point outside, or metres that are none.
        """
        if not 0 < metres < 1000:
            raise BadInput(f"{metres:g} m: give the measured distance in metres, more than 0.")
        self._must_be_inside(column, row)
        same = [each for each in self.anchors if each[:2] != (column, row)]
        anchors = (*same, (column, row, metres))
        if self.predicted.kind is DepthKind.RELATIVE and len(anchors) < 2:
            told = "One point is known; relative depth needs a second one at another distance."
            return replace(self, anchors=anchors, said=told)
        from leadline.inference.metric_scale import scale_from_points  # imports PyTorch

        fitted = scale_from_points(self.predicted, anchors)
        return replace(self, depth=fitted.depth, anchors=anchors, said=f"Scaled from {fitted}.")

    def point(self, column: float, row: float) -> tuple[float, float, float]:
        """Return where the surface at a pixel is: metres to the right, down and along the optical axis.

        Raises:
            BadInput: a point outside, without depth, or of relative depth.
        """
        self._must_be_inside(column, row)
        place = (0, round(row), round(column))
        if not self.depth.mask[place]:
            raise BadInput("The depth of this point is not known.")
        if self.depth.kind is DepthKind.RELATIVE:
            raise BadInput("Relative depth has no metres: tell the distance of two points first.")
        assert self.depth.camera is not None
        z = float(self.depth.values[place])
        x, y = unproject(np.array(column), np.array(row), self.depth.camera.tolist())
        return float(x) * z, float(y) * z, z

    def distance(self, one: tuple[float, float], other: tuple[float, float]) -> float:
        """Return the length of the straight line between the surfaces at two pixels (column, row).

        Raises:
            BadInput: as `point`.
        """
        return float(np.linalg.norm(np.subtract(self.point(*one), self.point(*other))))

    def write_files(self, folder: StrPath) -> list[Path]:
        """Write what can be downloaded: 16-bit PNG and NPZ, and of depth with a shape PLY and GLB.

        Returns:
            The files; the GLB, if there is one, is the last.
        """
        stem = Path(folder) / self.name
        files = [stem.with_name(f"{self.name}.depth{suffix}") for suffix in (".png", ".npz")]
        for file in files:
            self.depth.save(file)
        if self.depth.kind is not DepthKind.RELATIVE:
            marks = {"kind": self.depth.kind.value, "unit": self.depth.kind.unit, "camera": self.camera}
            surface = self.depth.mesh(self.photograph, max_points=SOLID_POINTS)
            if len(surface.points):
                self.depth.point_cloud(self.photograph).save(stem.with_name(f"{self.name}.ply"), marks)
                surface.save(stem.with_name(f"{self.name}.glb"), marks)
                files += [stem.with_name(f"{self.name}{suffix}") for suffix in (".ply", ".glb")]
        return files

    def summary(self) -> dict[str, Any]:
        """Return the figures, as JSON holds them."""
        known = self.depth.numpy()[self.depth.mask[0]]
        low, middle, high = (float(np.quantile(known, part)) for part in (0, 0.5, 1)) if known.size else (0.0,) * 3
        height, width = self.depth.shape
        return {
            "model": self.depth.provenance.get("model", ""),
            "kind": self.depth.kind.value,
            "height": height,
            "width": width,
            "min": round(low, 4),
            "median": round(middle, 4),
            "max": round(high, 4),
            "camera": self.camera,
            "camera_is_a_guess": self.is_guess,
            "warning": self.warning,
            "scaled": self.said,
        }

    def grid(self, name: str = "") -> dict[str, Any]:
        """Return what the page's script shows under the pointer: each n-th row and column of the depth.

        Args:
            name: text before the depth.

        Returns:
            `height` and `width` of the picture in pixels, the `step` n, `unit` and `name` as text, and `depths`: the
            rows' numbers as float32, least significant byte first, in base64; NaN where depth is unknown.
        """
        height, width = self.depth.shape
        step = math.ceil(math.sqrt(height * width / POINTER_POINTS))
        depths = np.ascontiguousarray(self.depth.numpy()[::step, ::step], "<f4")
        unit = " m" if self.depth.kind is DepthKind.METRIC else ""
        text = base64.b64encode(depths.tobytes()).decode("ascii")
        return {"height": height, "width": width, "step": step, "unit": unit, "name": name, "depths": text}

    def _must_be_inside(self, column: float, row: float) -> None:
        height, width = self.depth.shape
        if not (0 <= column <= width - 1 and 0 <= row <= height - 1):
            raise BadInput(f"The point {column:g}, {row:g} is outside of the picture of {width} × {height} pixels.")


def measure(model: "Predictor | DepthModel", path: StrPath, field_of_view: float | None = None) -> Measurement:
    """Measure a photograph for the page.

    Args:
        model: predicts the depth.
        path: the photograph.
        field_of_view: degrees from its left edge to its right one; None: as EXIF says, or else the canonical camera.

    Raises:
        BadInput: an impossible field of view.
        UnreadableFile: no photograph, damaged, or too large.
    """
    photo = read_photograph(path, max_pixels=SHOWN_PIXELS)
    predictor = as_predictor(model)
    camera, source, doubts, size = photo.camera.numbers, photo.camera.source, photo.camera.doubts, photo.shape
    if field_of_view:
        camera, source, doubts = np.array(CameraOption(field_of_view).at(size), np.float32), "given", ()
    (depth,), scores = predictor.measure_scored([photo.pixels], [camera])
    scope = scope_words(scores)
    known = np.isfinite(depth) if predictor.kind is DepthKind.RELATIVE else np.isfinite(depth) & (depth > 0)
    used = np.array(canonical_camera(size), np.float32) if camera is None else camera
    across, _ = fields_of_view(used.tolist(), size)
    told = f"{source}, {across:.1f} degrees across"
    trained_on = predictor.provenance.training_data or "nothing"
    about = {"model": predictor.name, "trained_on": trained_on, "camera": told, **scope}
    warning = " ".join(filter(None, [*doubts, photo.note, scope.get("warning")]))
    predicted = DepthMap(depth, known, predictor.kind, used, about)  # pyright: ignore[reportArgumentType]
    return Measurement(_stem(path), as_rgb8(photo.pixels), predicted, predicted, camera is None, told, warning=warning)


def explain(measurement: Measurement) -> str:
    """Return what there is to say of a measured photograph, in Markdown."""
    about = measurement.summary()
    if measurement.depth.kind is DepthKind.METRIC:
        depth = f"{about['min']:.2f} to {about['max']:.2f} m, median {about['median']:.2f} m"
    else:
        depth = f"{about['kind']} depth, which has no metres: tap a point and tell its distance"
    guess = " **The camera is a guess**: give the degrees across if you know them." if measurement.is_guess else ""
    told = " ".join(filter(None, [measurement.warning, measurement.said]))
    return f"{depth}. Camera {measurement.camera}.{guess} {told}".strip()


def pointer_element(measurements: Mapping[str, Measurement]) -> str:
    """Return the element of the page from which its script reads the depth under the pointer.

    Args:
        measurements: text before the depth → the measured photograph; several of one photograph are shown together.
    """
    grids = json.dumps([each.grid(name) for name, each in measurements.items()])
    return f'<span class="grids" hidden>{html.escape(grids, quote=False)}</span>'


def _stem(path: StrPath) -> str:
    """Return a photograph's name without what no file's name should have."""
    kept = "".join(each if each.isalnum() or each in "-_ " else "_" for each in Path(path).stem)
    return kept.strip()[:80] or "photograph"

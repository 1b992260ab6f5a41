"""`leadline cloud`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from leadline.core.camera import CameraOption
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.ranges import AtLeastOne, check_fields
from leadline.inference.point_cloud import (
    ColouredDepth,
    coloured_depth_in_photograph,
    coloured_depth_of_map,
    coloured_depth_of_photograph,
    is_depth_file,
)
from leadline.inference.session import load_predictor
from leadline.io.images import check_picture_name, write_image
from leadline.io.intrinsics import read_intrinsics
from leadline.io.outputs import read_leadline_metadata
from leadline.io.point_clouds import CLOUD_SUFFIXES, check_cloud_replaceable
from leadline.models.names import DEFAULT


@dataclass(frozen=True)
class CloudCommand:
    """Turn a photograph or a depth map into coloured points (PLY) or a surface (GLB), in metres.

    PLY points are in the camera's frame (x to the right, y down, z along the optical axis); a GLB surface is upright in
    any viewer, and cut where depth jumps. The camera is the given one, else the depth map's, else EXIF's, else a guess,
    which is printed: with a wrong focal length right angles are not right.
    """

    source: tyro.conf.Positional[Path]
    """A photograph, or a depth map: PNG or TIFF of 16 bits or floats, NPZ, NPY, PFM, EXR, HDF5 (.h5)."""
    out: Path = Path("cloud.ply")
    """.ply: coloured points with normals; .glb: a surface with the photograph on it."""
    surface: bool = False
    """Write a PLY file with triangles too."""
    image: Path | None = None
    """Photograph of a depth map, which gives the colours; unset: the colours of depth."""
    normals: Path | None = None
    """Write the surface's normals as a picture too: red to the right, green up, blue towards the camera."""
    model: Annotated[str, tyro.conf.arg(aliases=["--weights"])] = DEFAULT
    """Measures a photograph; as for `leadline predict`."""
    measured: bool = False
    """Take the depth that a HEIC photograph carries, as iPhones store it in portraits, in place of a prediction. It is
    relative: --scale-from makes it metres."""
    as_name: Annotated[str | None, tyro.conf.arg(name="as")] = None
    """The model that a checkpoint file is, where neither its keys nor its name tell."""
    scale_from: tuple[str, ...] = ()
    """Converts the prediction for a photograph to metres; as for `leadline predict`."""
    field_of_view: float | None = None
    """Degrees from the left edge of the picture to the right one."""
    intrinsics: Path | None = None
    """File of fx, fy, cx and cy, or of a 3 × 3 matrix, in pixels of the picture: text, JSON, NPY or NPZ."""
    depth_scale: float | None = None
    """Numbers in a depth map that make a metre, where it does not say so: 1000 for millimetres."""
    kind: DepthKind | None = None
    """Of the depth in a file that does not state it."""
    max_points: AtLeastOne = 1_000_000
    """Each n-th row and column is kept of what has more pixels."""
    device: str = "auto"
    """cpu, cuda, mps, or auto: a GPU if there is one."""

    def run(self) -> int:
        check_fields(self)
        if self.out.suffix.lower() not in CLOUD_SUFFIXES:
            raise BadInput(f"{self.out}: choose {' or '.join(CLOUD_SUFFIXES)} for --out.")
        check_cloud_replaceable(self.out, "--out")
        if self.normals is not None:
            self._check_picture(self.normals)
        seen = self._coloured_depth()
        depth, marks = seen.depth, {"kind": seen.depth.kind.value, "unit": seen.depth.kind.unit, "camera": seen.camera}
        is_surface = self.surface or self.out.suffix.lower() == ".glb"
        if is_surface:
            cloud = depth.mesh(seen.picture, max_points=self.max_points)
            what = f"{len(cloud.points):,} points, {len(cloud.triangles):,} triangles"
        else:
            cloud = depth.point_cloud(seen.picture, max_points=self.max_points)
            what = f"{len(cloud.points):,} points"
        if not len(cloud.points):
            thinned = int(depth.mask.sum()) > self.max_points
            advice = f"; --max-points {self.max_points} may leave too few" if thinned else ""
            raise BadInput(f"{self.source}: no surface of known depth, nothing to write{advice}.")
        cloud.save(self.out, marks)
        if self.normals is not None:
            write_image(self.normals, depth.normals(), {"picture": "surface normals"})
        low, high = cloud.points.min(axis=0), cloud.points.max(axis=0)
        unit = "m" if depth.kind is DepthKind.METRIC else "without unit: known up to one factor, angles are right"
        extent = " × ".join(f"{float(side):.2f}" for side in high - low)
        print(f"{self.out}: {what}, {extent} {unit}; camera {seen.camera}.")
        taken = seen.camera.removeprefix("not known")
        guess = (
            f"The camera is a guess{taken}: give --field-of-view, or lengths and angles along the line of sight are "
            "wrong."
        )
        if said := " ".join(filter(None, [seen.doubts, guess if seen.is_guess else ""])):
            print(said, file=sys.stderr)
        return 0

    def _coloured_depth(self) -> ColouredDepth:
        camera = CameraOption(self.field_of_view, None if self.intrinsics is None else read_intrinsics(self.intrinsics))
        if self.depth_scale is not None or is_depth_file(self.source):
            if self.scale_from:
                raise BadInput(f"--scale-from is for photographs, and {self.source} is a depth map.")
            for option, is_given in (("--as", self.as_name), ("--measured", self.measured)):
                if is_given:
                    raise BadInput(f"{option} is for photographs, and {self.source} is a depth map: leave it out.")
            return coloured_depth_of_map(self.source, self.image, camera, depth_scale=self.depth_scale, kind=self.kind)
        if self.image is not None:
            raise BadInput(f"--image gives a depth map its colours, and {self.source} is a photograph: leave it out.")
        if self.kind is not None:
            raise BadInput(f"--kind is for depth maps, and {self.source} is a photograph: leave it out.")
        scale = None
        if self.scale_from:
            from leadline.inference.metric_scale import scaler_from_options

            scale = scaler_from_options(self.scale_from, 1)
        if self.measured:
            if self.model != DEFAULT or self.as_name:
                raise BadInput(
                    "--measured takes the depth in the photograph, and --model predicts one: give one of them."
                )
            return coloured_depth_in_photograph(self.source, camera, scale)
        model = load_predictor(self.model, self.device, self.as_name)
        return coloured_depth_of_photograph(model, self.source, camera, scale)

    @staticmethod
    def _check_picture(path: Path) -> None:
        if path.is_dir() or (path.exists() and not read_leadline_metadata(path)):
            raise BadInput(f"{path} is there, and Leadline did not write it: choose another --normals, or remove it.")
        check_picture_name(path)

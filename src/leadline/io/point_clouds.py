"""Point clouds and meshes: depth and its camera as coloured points, surfaces cut at depth jumps, and normals."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image

from leadline.core.camera import unproject
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.core.ranges import Within, check_value
from leadline.io.atomic import atomic_write
from leadline.io.outputs import PREFIX, printable

MAX_SLANT = 86.0
"""Degrees between the line of sight and a surface's normal beyond which two neighbouring pixels are taken for two
surfaces: a floor 1.5 m below the camera is cut from 21 m on, a step from 1 to 2 m wherever it is."""

CLOUD_SUFFIXES = (".ply", ".glb")

DepthArray = Float[np.ndarray, "H W"]
"""Depth along the optical axis, NaN where it is not known."""
Points = Float[np.ndarray, "N 3"]
Colours = UInt8[np.ndarray, "N 3"]
Picture = UInt8[np.ndarray, "h w 3"]
"""RGB, of the same view as the depth, of any size."""


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Hold coloured points with normals in the camera's frame: x to the right, y down, z along the optical axis."""

    points: Points
    """In the unit of the depth: metres."""
    colours: Colours
    normals: Points
    """Of length 1, towards the camera; 0 where no surface is known."""

    def __len__(self) -> int:
        return len(self.points)

    def save(self, path: StrPath, metadata: Mapping[str, str] | None = None) -> None:
        """Write a binary PLY file, in the camera's frame.

        Args:
            path: the file, `.ply`.
            metadata: key → text for its comments.

        Raises:
            BadInput: another suffix, or the file cannot be written.
        """
        if Path(path).suffix.lower() != ".ply":
            raise BadInput(f"{path}: points are written as .ply, surfaces (`mesh`) as .ply or .glb.")
        _write_ply(Path(path), self.points, self.normals, self.colours, None, metadata or {})


@dataclass(frozen=True, eq=False)
class Mesh:
    """Hold a surface with the photograph on it: triangles between points in the camera's frame."""

    points: Points
    colours: Colours
    normals: Points
    triangles: Integer[np.ndarray, "T 3"]
    """Numbers of their corners, anticlockwise seen from the camera."""
    picture: Picture
    places: Float[np.ndarray, "N 2"]
    """Of each point in the picture, 0 … 1 from its left and from its upper edge."""

    def save(self, path: StrPath, metadata: Mapping[str, str] | None = None) -> None:
        """Write the surface, by the suffix of `path`.

        `.ply` is in the camera's frame, coloured by points. `.glb` (binary glTF 2.0, the picture as its texture) is in
        that of glTF: x to the right, y up, z towards the viewer, so that viewers show it upright.

        Args:
            path: the file, `.ply` or `.glb`.
            metadata: key → text that the file says of itself.

        Raises:
            BadInput: another suffix, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in CLOUD_SUFFIXES:
            raise BadInput(f"{path}: surfaces are written as {' or '.join(CLOUD_SUFFIXES)}.")
        if not len(self.points):
            raise BadInput(f"{path} was not written: the surface has no points, for no depth of it is known.")
        if path.suffix.lower() == ".ply":
            _write_ply(path, self.points, self.normals, self.colours, self.triangles, metadata or {})
        else:
            _write_glb(path, self, metadata or {})


def point_cloud(
    depth: DepthArray,
    camera: Sequence[float],
    picture: Picture,
    *,
    max_points: int | None = None,
    max_slant: float = MAX_SLANT,
) -> PointCloud:
    """Return the points of a depth map; those that lie on no surface, between a near and a far one, are left out.

    Args:
        depth: along the optical axis, NaN where it is not known.
        camera: fx, fy, cx, cy in pixels of the map.
        picture: the photograph, of any size.
        max_points: keep each n-th row and column, so that there are no more; None: all.
        max_slant: degrees from which on a surface seen at a grazing angle counts as a depth jump; 90 cuts nothing.

    Raises:
        BadInput: no point may stay.
    """
    surface = mesh(depth, camera, picture, max_points=max_points, max_slant=max_slant)
    return PointCloud(surface.points, surface.colours, surface.normals)


def mesh(
    depth: DepthArray,
    camera: Sequence[float],
    picture: Picture,
    *,
    max_points: int | None = None,
    max_slant: float = MAX_SLANT,
) -> Mesh:
    """Join neighbouring pixels to triangles, but not across depth jumps.

    Args:
        depth: along the optical axis, NaN where it is not known.
        camera: fx, fy, cx, cy in pixels of the map.
        picture: the photograph, of any size.
        max_points: as for `point_cloud`.
        max_slant: as for `point_cloud`.

    Raises:
        BadInput: no point may stay.
    """
    if max_points is not None:
        check_value("max_points", max_points, [Within(1)], is_whole=True)
    fx, fy, cx, cy = camera
    height, width = depth.shape
    step = 1
    while max_points is not None and -(-height // step) * -(-width // step) > max_points:
        step += 1
    depth, camera = depth[::step, ::step], (fx / step, fy / step, cx / step, cy / step)
    depth = np.where(depth > 0, depth, np.float32(np.nan)).astype(np.float32, copy=False)
    triangles = _triangles(*_joined(depth, camera, max_slant))
    is_used = np.zeros(depth.size, bool)
    is_used[triangles.ravel()] = True
    number = np.cumsum(is_used) - 1
    kept = np.flatnonzero(is_used)
    rows, columns = (each.astype(np.float64) for each in np.divmod(kept, depth.shape[1]))
    x, y = unproject(columns, rows, camera)
    z = depth.reshape(-1)[kept]
    points = np.stack([x * z, y * z, z], axis=1).astype(np.float32)
    triangles = number[triangles].astype(np.int32)
    normals = surface_normals(depth, camera, max_slant=max_slant).reshape(-1, 3)[kept]
    places = np.stack([(columns * step + 0.5) / width, (rows * step + 0.5) / height], axis=1)
    seen = (places * [picture.shape[1], picture.shape[0]]).astype(np.intp)
    return Mesh(
        points=points,
        colours=picture[seen[:, 1], seen[:, 0]],
        normals=_completed(normals, points, triangles),
        triangles=triangles,
        picture=picture,
        places=places.astype(np.float32),
    )


def surface_normals(
    depth: DepthArray, camera: Sequence[float], *, max_slant: float = MAX_SLANT
) -> Float[np.ndarray, "H W 3"]:
    """Return the unit normal of the surface at each pixel, towards the camera; 0 where it is not known.

    Inverse depth of a plane n · X = c is linear in the pixels, 1/z = n · ((u − cx)/fx, (v − cy)/fy, 1) / c, so the
    gradient of inverse depth gives the plane exactly; differences are not taken across depth jumps.

    Args:
        depth: along the optical axis, NaN where it is not known.
        camera: fx, fy, cx, cy in pixels of the map.
        max_slant: as for `point_cloud`.
    """
    fx, fy, cx, cy = camera
    inverse = 1 / depth.astype(np.float64)
    across, down = _joined(depth, camera, max_slant)
    slope_u, slope_v = _slope(inverse, across, axis=1), _slope(inverse, down, axis=0)
    rows, columns = np.ogrid[: depth.shape[0], : depth.shape[1]]
    along = inverse - (columns - cx) * slope_u - (rows - cy) * slope_v
    normals = -np.stack([fx * slope_u, fy * slope_v, along], axis=-1)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(length > 0, normals / length, 0).astype(np.float32)


def normals_picture(normals: Float[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Return normals as colours: red to the right, green up, blue towards the camera, −1 … 1 as 0 … 255; grey: none."""
    towards = normals * np.array([1, -1, -1], np.float32)
    return np.rint((towards + 1) / 2 * 255).astype(np.uint8)


def is_own_cloud(path: StrPath) -> bool:
    """Tell whether a PLY or GLB file says that Leadline wrote it."""
    with Path(path).open("rb") as file:
        return (PREFIX + "writer").encode() in file.read(1 << 16)


def check_cloud_replaceable(path: StrPath, option: str) -> None:
    """Refuse to write where there is a file that Leadline did not write.

    Args:
        path: the PLY or GLB file to be written.
        option: how the user named the place, for the message: `--out`.

    Raises:
        BadInput: there is a folder, or a file of others.
    """
    if Path(path).is_dir():
        raise BadInput(f"{path} is a folder: choose another {option}.")
    if os.path.lexists(path) and not (Path(path).is_file() and is_own_cloud(path)):
        raise BadInput(f"{path} is there, and Leadline did not write it: choose another {option}, or remove it.")


_Joined = Bool[np.ndarray, "_ _"]
"""Of each pair of neighbours, whether they lie on one surface."""


def _joined(depth: DepthArray, camera: Sequence[float], max_slant: float) -> tuple[_Joined, _Joined]:
    """Return (H, W − 1) and (H − 1, W): whether a pixel and the next one across, or down, lie on one surface."""
    steepest = np.tan(np.radians(max_slant)) if max_slant < 90 else np.inf
    pairs = ((depth[:, :-1], depth[:, 1:], camera[0]), (depth[:-1], depth[1:], camera[1]))
    across, down = (
        # The pixels are as far apart as the nearer of the two surfaces has them; NaN joins nothing.
        np.isfinite(one) & np.isfinite(other) & ~(np.abs(one - other) > steepest * np.minimum(one, other) / focal)
        for one, other, focal in pairs
    )
    return across, down


def _triangles(across: _Joined, down: _Joined) -> Integer[np.ndarray, "T 3"]:
    """Return the corners' pixels of triangles whose sides are all joined; half a square where the other half is cut."""
    height, width = across.shape[0], down.shape[1]
    corner = np.arange(height * width).reshape(height, width)
    here, right, below, far = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    top, bottom, left, other = across[:-1], across[1:], down[:, :-1], down[:, 1:]
    # Each half of a square is joined by two of its sides; the diagonal between them follows.
    halves = (
        (left & bottom, (here, below, far)),
        (top & other, (here, far, right)),
        (top & left & ~(bottom | other), (here, below, right)),
        (bottom & other & ~(top | left), (right, below, far)),
    )
    return np.concatenate([np.stack(corners, axis=-1)[is_whole] for is_whole, corners in halves])


def _slope(values: np.ndarray, joined: _Joined, axis: int) -> np.ndarray:
    """Return the mean of the differences to the neighbours that are joined; NaN where neither is."""
    steps = np.where(joined, np.diff(values, axis=axis), 0)
    pad = [(0, 0), (0, 0)]
    pad[axis] = (1, 1)
    steps, counts = np.pad(steps, pad), np.pad(joined.astype(np.uint8), pad)
    before, after = (np.take(each, np.arange(values.shape[axis]), axis) for each in (steps, counts))
    following, after_counts = (np.take(each, np.arange(1, values.shape[axis] + 1), axis) for each in (steps, counts))
    count = after + after_counts
    return np.where(count > 0, (before + following) / np.maximum(count, 1), np.nan)


def _completed(normals: Points, points: Points, triangles: Integer[np.ndarray, "T 3"]) -> Points:
    """Give a triangle's normal to its corners that have none: the tips that a cut leaves."""
    is_missing = np.logical_not(np.any(normals, axis=1))
    one, two, three = np.moveaxis(points[triangles[is_missing[triangles].any(axis=1)]].astype(np.float64), 1, 0)
    flat = np.cross(two - one, three - one)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
    corners = triangles[is_missing[triangles].any(axis=1)]
    completed = normals.copy()
    for corner in corners.T:
        completed[corner[is_missing[corner]]] = flat[is_missing[corner]]
    return completed


def _write_ply(
    path: Path,
    points: Points,
    normals: Points,
    colours: Colours,
    triangles: np.ndarray | None,
    metadata: Mapping[str, str],
) -> None:
    """Write Turk's polygon format (1994), binary, with the lowest byte first."""
    said = {"writer": "Leadline", **metadata}
    vertex = np.empty(len(points), [(name, "<f4") for name in _PLACE] + [(name, "u1") for name in _COLOUR])
    for name, column in zip((*_PLACE, *_COLOUR), (*points.T, *normals.T, *colours.T), strict=True):
        vertex[name] = column
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {PREFIX}{key} {' '.join(printable(text).split())}" for key, text in said.items()),
        f"element vertex {len(points)}",
        *(f"property float {name}" for name in _PLACE),
        *(f"property uchar {name}" for name in _COLOUR),
    ]
    faces = np.empty(0, np.uint8)
    if triangles is not None:
        header += [f"element face {len(triangles)}", "property list uchar int vertex_indices"]
        faces = np.empty(len(triangles), [("count", "u1"), ("corners", "<i4", (3,))])
        faces["count"], faces["corners"] = 3, triangles
    with atomic_write(path) as half, half.open("wb") as file:
        file.write("\n".join([*header, "end_header\n"]).encode())
        vertex.tofile(file)
        faces.tofile(file)


_PLACE, _COLOUR = ("x", "y", "z", "nx", "ny", "nz"), ("red", "green", "blue")


def _write_glb(path: Path, surface: Mesh, metadata: Mapping[str, str]) -> None:
    import trimesh
    from trimesh.exchange.gltf import export_glb
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    said = {PREFIX + key: printable(text) for key, text in {"writer": "Leadline", **metadata}.items()}
    upright = np.array([1, -1, -1], np.float32)
    solid = trimesh.Trimesh(
        surface.points * upright,
        surface.triangles,
        vertex_normals=surface.normals * upright,
        visual=TextureVisuals(
            # Of the lower edge, as trimesh counts.
            uv=np.stack([surface.places[:, 0], 1 - surface.places[:, 1]], axis=1),
            material=PBRMaterial(baseColorTexture=_texture(surface.picture), doubleSided=True),
        ),
        process=False,
    )

    def finish(tree: dict[str, Any]) -> None:
        tree["asset"]["extras"] = said
        # A photograph has its light in it, and a viewer's lamps would add a second one.
        tree["extensionsUsed"] = [*tree.get("extensionsUsed", ()), _UNLIT]
        for material in tree["materials"]:
            material["extensions"] = {_UNLIT: {}}

    content = export_glb(trimesh.Scene(solid), include_normals=True, tree_postprocessor=finish)
    with atomic_write(path) as half:
        half.write_bytes(content)


_UNLIT = "KHR_materials_unlit"
"""The extension of glTF for surfaces that are shown in their own colours."""


_LARGEST_TEXTURE = 4096
"""Pixels of a side, which every graphics card takes."""


def _texture(picture: Picture) -> Image.Image:
    whole = Image.fromarray(picture)
    whole.thumbnail((_LARGEST_TEXTURE, _LARGEST_TEXTURE))
    content = io.BytesIO()
    whole.save(content, "JPEG", quality=90)
    return Image.open(content)

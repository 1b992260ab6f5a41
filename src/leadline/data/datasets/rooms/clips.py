"""Clips: a camera's path through a rendered room, with exact depth and exact motion."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from leadline.core.camera import project, unproject
from leadline.core.errors import BadInput, unknown
from leadline.data.datasets.rooms.domains import DOMAINS
from leadline.data.datasets.rooms.render import render
from leadline.data.datasets.rooms.scene import Camera, furnish


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """Hold one frame of a clip."""

    image: UInt8[np.ndarray, "H W 3"]
    depth: Float[np.ndarray, "H W"]
    """Metres along the optical axis, everywhere."""
    camera: tuple[float, float, float, float]
    """fx, fy, cx, cy in pixels."""
    columns: Float[np.ndarray, "H W"]
    rows: Float[np.ndarray, "H W"]
    """Where each pixel was in the frame before; of the first frame, where it is."""
    is_seen: Bool[np.ndarray, "H W"]
    """Whether its surface was visible there."""


def room_clip(
    index: int = 0, *, frames: int = 60, height: int = 192, width: int = 256, domain: str = "a", sway: float = 0.25
) -> Iterator[ClipFrame]:
    """Render a room as a hand-held camera sees it that sways, nods and walks a little.

    Args:
        index: of the room, as a training sample of the domain.
        frames: how many; at 30 a second the camera sways once in four seconds.
        height: of the frames in pixels.
        width: of the frames in pixels.
        domain: a key of `DOMAINS`.
        sway: metres from the middle of the path to its end.

    Raises:
        BadInput: no such domain, or a count that is not positive.
    """
    if domain not in DOMAINS:
        raise unknown("domain", domain, DOMAINS)
    if min(frames, height, width) < 1:
        raise BadInput(f"A clip needs frames and sides of at least 1, not {frames}, {height}×{width}.")
    scene = furnish(DOMAINS[domain], np.random.default_rng((0, 0, index)))
    before: tuple[Camera, np.ndarray] | None = None
    for number in range(frames):
        camera = _moved(scene.camera, number / 120, sway)
        rng = np.random.default_rng((index, number))
        view = render(scene._replace(camera=camera), height, width, rng)
        columns, rows, is_seen = _traced(camera, view.depth, *(before or (camera, view.depth)))
        before = camera, view.depth
        intrinsics = camera.intrinsics(height, width)
        yield ClipFrame(
            np.ascontiguousarray(view.image.transpose(1, 2, 0)), view.depth, intrinsics, columns, rows, is_seen
        )


def _moved(camera: Camera, turns: float, sway: float) -> Camera:
    phase = 2 * math.pi * turns
    right, _, forward = camera.rotation().T
    place = np.array(camera.eye) + sway * (math.sin(phase) * right + 0.5 * math.sin(2 * phase) * forward)
    return camera._replace(
        eye=(float(place[0]), float(place[1]), float(camera.eye[2] + 0.03 * math.sin(3 * phase))),
        yaw=camera.yaw + 0.15 * math.sin(phase + 1),
        pitch=camera.pitch + 0.04 * math.sin(2 * phase),
    )


def _traced(
    now: Camera, depth: np.ndarray, then: Camera, depth_then: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where each pixel of `now` is seen by `then`, and whether it is: no nearer surface is in the way."""
    height, width = depth.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    x, y = unproject(columns, rows, now.intrinsics(height, width))
    world = np.stack([x * depth, y * depth, depth], axis=-1) @ now.rotation().T + np.array(now.eye)
    x, y, z = np.moveaxis((world - np.array(then.eye)) @ then.rotation(), -1, 0)
    z = np.where(z > 0.05, z, np.nan)
    columns, rows = project(x, y, z, then.intrinsics(height, width))
    is_inside = (columns >= 0) & (rows >= 0) & (columns <= width - 1) & (rows <= height - 1)
    column = np.nan_to_num(columns).round().astype(int).clip(0, width - 1)
    row = np.nan_to_num(rows).round().astype(int).clip(0, height - 1)
    # Between pixels a slanting surface differs a little.
    is_seen = is_inside & (np.abs(depth_then[row, column] - z) < 0.03 * z)
    return columns.astype(np.float32), rows.astype(np.float32), is_seen

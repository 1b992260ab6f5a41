"""Flicker: how much the depth of one surface changes from frame to frame without a reason."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.evaluation.tables import TextTable
from leadline.inference.optical_flow import Flow, estimate_flow
from leadline.io.depth_maps import read_depth
from leadline.io.video import read_frames

Numbers = Float[np.ndarray, "H W"]


@dataclass
class FlickerMeter:
    """Add up the temporal change of log depth over a video's frames.

    With ground truth, the change of the error: rms of e(t) − w(e(t − 1)), e = ln d̂ − ln d, where w moves the frame
    before along the motion; a camera that moves changes the depth of what it sees, and this leaves that out, as it
    leaves out an error that stays. Without, the self-consistent one: the same of ln d̂, from which nothing is
    subtracted, which counts the camera's own motion too.
    """

    squares: float = 0.0
    count: float = 0.0
    error_squares: float = 0.0
    error_count: int = 0

    def add(
        self,
        depth: Numbers,
        before: Numbers | None,
        flow: Flow | None,
        truth: Numbers | None = None,
        truth_before: Numbers | None = None,
    ) -> None:
        """Add one frame.

        Args:
            depth: predicted, positive.
            before: that of the frame before; None at the first frame and after a cut.
            flow: from the frame to the one before, with its trust; None as `before`.
            truth: ground truth of the frame in metres, NaN where it is not known; None: there is none.
            truth_before: that of the frame before.
        """
        if truth is not None:
            known = np.isfinite(truth)
            self.error_squares += float(np.square(depth - truth, dtype=np.float64)[known].sum())
            self.error_count += int(known.sum())
        if before is None or flow is None:
            return
        if truth is not None and truth_before is not None:
            now, was = np.log(depth) - np.log(truth), np.log(before) - np.log(truth_before)
        else:
            now, was = np.log(depth), np.log(before)
        change = now - flow.warp(was.astype(np.float32))
        weight = np.where(np.isfinite(change), flow.trust, 0)  # unknown in one of the two
        self.squares += float((weight * np.square(np.nan_to_num(change), dtype=np.float64)).sum())
        self.count += float(weight.sum())

    @property
    def flicker(self) -> float:
        """The rms change of log depth from frame to frame: 0.02 is two per cent of the depth."""
        return float(np.sqrt(self.squares / self.count)) if self.count else float("nan")

    @property
    def rmse(self) -> float:
        """The root mean square error in metres over all known pixels of all frames; NaN without ground truth."""
        return float(np.sqrt(self.error_squares / self.error_count)) if self.error_count else float("nan")


def measure_flicker(
    clip: StrPath, predictions: StrPath, truth: StrPath | None = None, *, depth_scale: float | None = None
) -> FlickerMeter:
    """Measure the flicker of a folder of depth maps, along the optical flow of the video that they are of.

    Args:
        clip: the video.
        predictions: a folder of maps `000000.png` or `.npz`, as `leadline predict` writes them.
        truth: a folder of ground truth of the same names and size; None: the flicker is the self-consistent one.
        depth_scale: numbers in the ground truth that make a metre, where it does not say so.

    Raises:
        BadInput: a map is missing, is relative or has another size.
        UnreadableFile: no video.
    """
    meter = FlickerMeter()
    grey = before = truth_before = None
    for frame in read_frames(clip):
        depth = _map(Path(predictions), frame.index, None)
        known = None if truth is None else _map(Path(truth), frame.index, depth_scale)
        if known is not None and known.shape != depth.shape:
            raise BadInput(f"Frame {frame.index}: ground truth of {known.shape}, predictions of {depth.shape} pixels.")
        pixels = cv2.resize(frame.pixels, depth.shape[::-1], interpolation=cv2.INTER_AREA)
        now = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        flow = None if grey is None else estimate_flow(now, grey)
        is_new = flow is None or flow.is_cut
        meter.add(depth, None if is_new else before, None if is_new else flow, known, truth_before)
        grey, before, truth_before = now, depth, known
    return meter


def flicker_table(meters: dict[str, FlickerMeter]) -> TextTable:
    """Return a table of flicker and RMSE, a row for each entry: the way the frames were predicted."""
    rows = tuple(
        (name, f"{each.flicker:.4f}", "–" if np.isnan(each.rmse) else f"{each.rmse:.3f}")
        for name, each in meters.items()
    )
    return TextTable("", ("frames", "flicker (ln)", "RMSE (m)"), rows)


def exact_flow(columns: Numbers, rows: Numbers, is_seen: Bool[np.ndarray, "H W"]) -> Flow:
    """Return a flow that is known: where each pixel was in the frame before, and whether it was seen there.

    Args:
        columns: of each pixel in the frame before.
        rows: of each pixel in the frame before.
        is_seen: whether its surface is visible there.
    """
    return Flow(columns.astype(np.float32), rows.astype(np.float32), is_seen.astype(np.float32))


def _map(folder: Path, index: int, depth_scale: float | None) -> Numbers:
    """Read the depth of a frame, NaN where it is not known."""
    found = next((path for suffix in (".png", ".npz") if (path := folder / f"{index:06}{suffix}").is_file()), None)
    if found is None:
        if not folder.is_dir():
            raise BadInput(f"No folder {folder}.")
        inner = [place for place in sorted(folder.iterdir()) if (place / f"{index:06}.png").is_file()]
        if len(inner) == 1:  # what `predict --out FOLDER` wrote in FOLDER/VIDEO
            raise BadInput(f"{folder} has no map of frame {index}, but {inner[0]} has: give that folder.")
        raise BadInput(
            f"{folder} has no map of frame {index} ({index:06}.png or .npz): predict with --video.frames png."
        )
    depth = read_depth(found, depth_scale=depth_scale)
    if depth.kind is DepthKind.RELATIVE:
        raise BadInput(f"{found}: {depth.kind.guarantee}, and flicker is of depth: scale it first.")
    return depth.numpy()

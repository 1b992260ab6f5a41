"""`leadline evaluate video`."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import tyro

from leadline.core.ranges import Positive, check_fields
from leadline.core.terminal import print_table
from leadline.evaluation.flicker import flicker_table, measure_flicker
from leadline.io.atomic import atomic_write
from leadline.io.outputs import check_replaceable


@dataclass(frozen=True)
class EvaluateVideoCommand:
    """Measure how much the depth of a video flickers: the rms change of log depth between frames, along the motion.

    With ground truth it is the error that must not change, and a camera that moves adds nothing; without, the depth
    itself, which a camera that walks changes too: compare such figures for one video only.
    """

    clip: tyro.conf.Positional[Path]
    """The video, whose frames say what moved where."""
    predictions: tuple[Path, ...]
    """Folders of depth maps 000000.png, 000001.png … (or .npz), one row of the table for each."""
    ground_truth: Path | None = None
    """Folder of ground truth of the same names."""
    depth_scale: Positive | None = None
    """Numbers in the ground truth that make a metre, where it does not say so."""
    json: Path | None = None
    """Write the figures to this file too."""

    def run(self) -> int:
        check_fields(self)
        if self.json is not None:
            check_replaceable(self.json, "--json", keys=frozenset({"flicker"}))
        meters = {
            str(folder): measure_flicker(self.clip, folder, self.ground_truth, depth_scale=self.depth_scale)
            for folder in self.predictions
        }
        print_table(flicker_table(meters))
        if self.json is not None:
            figures = {
                name: {"flicker": each.flicker, "rmse": None if math.isnan(each.rmse) else each.rmse}
                for name, each in meters.items()
            }
            with atomic_write(self.json) as half:
                half.write_text(json.dumps({"flicker": figures}, indent=1), encoding="utf-8")
        return 0

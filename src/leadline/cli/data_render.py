"""`leadline data render`."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from leadline.core.ranges import AtLeastOne, Seed, Side, check_fields
from leadline.data.furnished_rooms.render import RoomsConfig, render_rooms


@dataclass(frozen=True)
class RenderCommand:
    """Render furnished rooms with Blender: photographs with exact depth, for training; the same command resumes."""

    catalogues: Path
    """Folder that holds the furniture catalogues (*.sh3f): Debian's package sweethome3d-furniture, unpacked."""
    out: Path
    """Folder to fill: SPLIT/SCENE/rgb and SPLIT/SCENE/depth in millimetres, scenes.json, CREDITS.txt."""
    python: str
    """A Python 3.11 that has Blender's module: an environment of its own with `pip install 'bpy==4.2.0' 'numpy<2'`."""
    scenes: AtLeastOne = 2000
    """Rooms; one in twenty is for validation, one for the test."""
    views: AtLeastOne = 10
    """Photographs of each room, at most."""
    size: tuple[Side, Side] = (192, 256)
    """Height and width of the photographs."""
    samples: AtLeastOne = 2
    """Of light, for each pixel."""
    seed: Seed = 0
    """Another seed furnishes other rooms."""
    jobs: AtLeastOne = 1
    """Rooms rendered at a time, on a thread each."""

    def run(self) -> int:
        check_fields(self)
        config = RoomsConfig(self.scenes, self.views, self.size, self.samples, self.seed)
        count = render_rooms(
            self.catalogues, self.out, config, python=self.python, jobs=self.jobs, progress=_Progress().tell
        )
        print(f"{count} photographs of {self.scenes} rooms in {self.out}")
        return 0


class _Progress:
    """A line every minute."""

    def __init__(self) -> None:
        self.printed_at = -60.0

    def tell(self, done: int, total: int) -> None:
        if time.monotonic() - self.printed_at >= 60 or done == total:
            self.printed_at = time.monotonic()
            print(f"{done} of {total} rooms", file=sys.stderr, flush=True)

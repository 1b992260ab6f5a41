"""`leadline data inspect`."""

from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from leadline.core.errors import BadInput
from leadline.core.ranges import AtLeastOne, check_fields
from leadline.core.terminal import print_json
from leadline.data_quality.cards import card_report, card_text
from leadline.data_quality.doctor import stats_of
from leadline.data_quality.index import index_data
from leadline.data_quality.inspect import dataset_card
from leadline.io.atomic import atomic_write
from leadline.io.outputs import check_replaceable
from leadline.reporting.report import page


@dataclass(frozen=True)
class InspectCommand:
    """Find out what a dataset is, and print a card: counts, sizes, unit, depths, holes, cameras, licence."""

    data: tyro.conf.Positional[str]
    """What a training would take: a folder of rgb/ and depth/, a CSV file, rooms, nyu:DIR, with options as in
    DIR,depth_scale=1000. Where the scale is not stated it is guessed, and the reason printed."""
    out: Path | None = None
    """An HTML page to write, with pictures in it."""
    frames: AtLeastOne | None = None
    """Look at no more than this many of each scene, the first; unset: all."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        check_fields(self)
        if self.out and self.out.suffix.lower() != ".html":
            raise BadInput(f"--out {self.out} is to be a page: name it {self.out.with_suffix('.html')}.")
        if self.out:
            check_replaceable(self.out, "--out")
        collection = index_data(self.data, frames=self.frames)
        frames = stats_of(collection)
        made = dataset_card(collection, frames)
        if self.json:
            print_json(asdict(made), indent=1)
        else:
            print(card_text(made))
        if self.out:
            text = page(card_report(made, collection, frames))
            with atomic_write(self.out) as half:
                half.write_text(text, encoding="utf-8")
        return 0

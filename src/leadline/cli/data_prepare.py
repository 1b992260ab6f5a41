"""`leadline data prepare`."""

import re
from dataclasses import dataclass
from typing import Literal

import tyro

from leadline.core.errors import BadInput
from leadline.core.ranges import NotNegative, check_fields
from leadline.data.prepare import prepare


@dataclass(frozen=True)
class PrepareCommand:
    """Make a store of a dataset: small, checked, quick to read anywhere; the same command resumes.

    Reading it is `--data store:OUT`. Images are averaged and depth is picked at the nearest pixel, as training does;
    the whole picture is kept, squeezed where its shape is not that of --size, and the intrinsics follow.
    """

    data: tyro.conf.Positional[str]
    """What to prepare: nyu:DIR, DIR,depth_scale=1000, or any other dataset."""
    out: str
    """Folder of the store, or an address to write to: s3://…, gs://….; their packages are s3fs and gcsfs."""
    size: str
    """HEIGHT:WIDTH of the samples, as in 192:256."""
    split: Literal["train", "val", "test", "all"] = "train"
    """Of the dataset; `all` takes those that it has. A store takes further splits later."""
    workers: NotNegative = 4
    """Processes that write shards; 0: this one does."""
    compression: Literal["none", "lz4", "zstd"] = "none"
    """None is mapped into memory as it is; the others suit stores that are read over a network."""
    verify: bool = False
    """Read what is there, and make damaged shards again."""
    skip_unreadable: bool = False
    """Leave out samples whose files cannot be read, and print them."""
    licence: str = ""
    """What the store says of the data's licence; unset: what its folder or its reader says."""

    def run(self) -> int:
        check_fields(self)
        prepared = prepare(
            self.data,
            self.out,
            _sides(self.size),
            split=self.split,
            workers=self.workers,
            compression=None if self.compression == "none" else self.compression,
            verify=self.verify,
            skip_unreadable=self.skip_unreadable,
            licence=self.licence,
            progress=True,
        )
        for part in prepared:
            print(
                f"{part.split}: {part.samples} samples in {part.shards} shards, {part.written} of them written now",
                *(f"  left out: {fault}" for fault in part.faults),
                sep="\n",
            )
        print(f"Read it as --data store:{self.out}")
        return 1 if any(part.faults for part in prepared) else 0


def _sides(size: str) -> tuple[int, int]:
    sides = re.fullmatch(r"([1-9]\d*):([1-9]\d*)", size)
    if not sides:
        raise BadInput(f"{size!r} is no size: write HEIGHT:WIDTH, as in 192:256.")
    return int(sides[1]), int(sides[2])

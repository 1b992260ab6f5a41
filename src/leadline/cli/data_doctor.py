"""`leadline data doctor`."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from leadline.core.progress import track
from leadline.core.ranges import AtLeastOne, check_fields
from leadline.core.terminal import print_json
from leadline.data_quality.checks import CHECKS
from leadline.data_quality.doctor import SHOWN, diagnose, missing_unit, stats_of
from leadline.data_quality.frame_stats import FrameStats, collect_photo_stats
from leadline.data_quality.index import index_data
from leadline.data_quality.issues import Issue, count_files
from leadline.data_quality.near_duplicates import leaked_images


@dataclass(frozen=True)
class DoctorCommand:
    """Find what is wrong with a dataset and name the files; the exit code is 1 if anything is, and 0 if it is sound."""

    data: tyro.conf.Positional[str]
    """What a training would take: a folder of rgb/ and depth/, a CSV file, rooms, nyu:DIR, with options as in
    DIR,depth_scale=1000; files that a training would refuse are looked at all the same."""
    against: str | None = None
    """A dataset whose pictures must not be in the train split: nyu:DIR for NYU's official test."""
    against_split: str = "test"
    """Which split of it."""
    frames: AtLeastOne | None = None
    """Look at no more than this many of each scene, the first; unset: all."""
    json: bool = False
    """Print JSON, with all files of every fault."""

    def run(self) -> int:
        check_fields(self)
        collection = index_data(self.data, frames=self.frames)
        frames = stats_of(collection)
        faults = diagnose(collection, frames)
        if self.against:
            others = index_data(self.against, split=self.against_split).entries
            faults += leaked_images(frames, list(collect_photo_stats(track(others, len(others), "frames", "compared"))))
        if self.json:
            facts = {
                "data": self.data,
                "frames": len(frames),
                "refused": collection.refused,
                "unit": missing_unit(collection, frames),
            }
            print_json(facts | {"faults": [_plain(fault) for fault in faults]}, indent=1)
        else:
            print(
                "\n".join(
                    [
                        *(f"not looked at: {reason}" for reason in collection.refused),
                        *filter(None, [missing_unit(collection, frames)]),
                        _text(self.data, frames, faults),
                    ]
                )
            )
        return 1 if faults or collection.refused else 0


def _plain(fault: Issue) -> dict[str, str | list[str]]:
    return {"check": fault.check, "message": fault.message, "files": fault.files}


def _text(words: str, frames: Sequence[FrameStats], faults: Sequence[Issue]) -> str:
    lines = []
    for name in dict.fromkeys(fault.check for fault in faults):
        lines.append(f"{name}: {_MEANINGS[name]}")
        for fault in [fault for fault in faults if fault.check == name]:
            files = fault.files
            more = [f"… and {len(files) - SHOWN} more"] if len(files) > SHOWN else []
            lines += [f"  {fault.message}", *(f"    {file}" for file in [*files[:SHOWN], *more])]
    faulty = len({id(frame) for fault in faults for frame in fault.frames})
    verdict = f"{faulty} of them with a fault" if faults else f"sound, by {len(CHECKS)} checks"
    unpaired = sum(not frame.entry.is_frame for frame in frames)
    lone = f" and {count_files(unpaired)} without a partner" if unpaired else ""
    return "\n".join([*lines, f"{len(frames) - unpaired} frames{lone} of {words}: {verdict}."])


_MEANINGS = {name: check.meaning for name, check in CHECKS.items()} | {
    "leaked": "a training picture is in the set that is to judge it"
}

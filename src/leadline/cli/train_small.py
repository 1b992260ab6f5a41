"""`leadline train small`."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from leadline.core.ranges import check_fields
from leadline.recipes.leadline_small import SmallNetworkOptions, train_small_network
from leadline.training.trainer import HardwareConfig


@dataclass(frozen=True)
class TrainSmallCommand(SmallNetworkOptions):
    """Train a small network for photographs; run the same command again to resume.

    It learns from procedural rooms of domain c and from measured photographs: first at 96 × 128, where an hour shows it
    many pictures, then at its own 192 × 256; then from furnished rooms too, where there are some.
    """

    hardware: Annotated[HardwareConfig, tyro.conf.arg(name="")] = field(default_factory=HardwareConfig)

    def run(self) -> int:
        check_fields(self)
        train_small_network(self)
        print(f"The network is in {self.out / 'model'}")
        return 0

"""A network that reads depth from the red channel, and images that tell it there: for tests of what goes in between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.sample import Sample
from leadline.data.datasets import Dataset
from leadline.models.base import DepthModel, ModelSpec, Preprocessing, Provenance, Resize


class Seer(DepthModel):
    """Ten times the red channel is the depth, which `bent` changes; for a relative kind, 3 / depth − 0.1."""

    def __init__(
        self, kind: DepthKind = DepthKind.METRIC, bent: Callable[[Tensor], Tensor] = lambda depth: depth
    ) -> None:
        preprocessing = Preprocessing(size=(32, 32), multiple=1, resize=Resize.OWN)
        super().__init__(kind, preprocessing, Provenance(), spec=ModelSpec("seer"))
        self.encoder = nn.Identity()
        self.factor = nn.Parameter(torch.tensor(10.0))
        self.bent = bent

    def forward_canonical(self, image: Tensor) -> Tensor:
        depth = self.bent(self.factor * image[:, :1])
        return 3 / depth - 0.1 if self.kind is DepthKind.RELATIVE else depth

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.encoder(image),)


@dataclass
class Listed:
    samples: Sequence[Sample]
    name: str = "listed train"
    kind: DepthKind = DepthKind.METRIC

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


class Changed:
    """A dataset, each of whose samples is what `change` makes of its index and of the sample."""

    def __init__(self, dataset: Dataset, change: Callable[[int, Sample], Sample]) -> None:
        self.dataset, self.change, self.name, self.kind = dataset, change, dataset.name, dataset.kind

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return self.change(index, self.dataset[index])


def view(number: int, size: tuple[int, int] = (32, 32), valid: Tensor | None = None) -> Sample:
    """A slanted plane whose red channel tells its depth, 1 to 9 metres."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, size[0]), torch.linspace(0, 1, size[1]), indexing="ij")
    depth = (1 + 4 * rows + 3 * columns + number % 7 / 7)[None]
    valid = torch.ones_like(depth, dtype=torch.bool) if valid is None else valid
    return Sample(depth.expand(3, -1, -1) / 10, torch.where(valid, depth, 0), valid, name=f"view/{number}")


def views(count: int, **settings) -> Listed:
    return Listed([view(number, **settings) for number in range(count)])

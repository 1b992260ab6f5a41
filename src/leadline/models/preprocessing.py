"""Preprocessing and provenance: how a photograph becomes a network's input, and where its weights come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, floor, sqrt
from typing import Literal

from leadline.core.arrays import ImageTensor, Intrinsics
from leadline.core.camera import pinhole

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Interpolation = Literal[
    "bilinear", "bilinear_sharp", "bilinear_corners", "bilinear_inverse", "cubic", "cubic_smooth", "area"
]
"""`bilinear` and `cubic_smooth` (Pillow's bicubic: Keys with a = −0.5, held to [0, 1]) smooth first where they shrink;
`bilinear_sharp` and `cubic` (OpenCV's INTER_CUBIC: a = −0.75) never do; `bilinear_corners` is sharp too, and lays the
centres of the corner pixels on each other; `bilinear_inverse` is sharp too, on one over the numbers;
`area` averages the pixels that each new one covers."""

Restoring = Literal[Interpolation, "guided"]
"""How depth comes back to the photograph's size: by an interpolation, or `guided` by the photograph's edges, which
`leadline.inference.guided` explains and which needs positive depth."""


class Resize(StrEnum):
    """How a photograph's size becomes the network's; each side is then rounded to the multiple."""

    SAME_AREA = "same_area"
    """Keep the aspect and the native number of pixels, so that time and memory never depend on the photograph."""
    LOWER_BOUND = "lower_bound"
    """Keep the aspect; both sides at least the native ones."""
    UPPER_BOUND = "upper_bound"
    """Keep the aspect; both sides at most the native ones."""
    MINIMAL = "minimal"
    """Keep the aspect; fit the side whose scale is nearer to one."""
    STRETCH = "stretch"
    """The native size, whatever the aspect."""
    OWN = "own"
    """The photograph's own size, each side cut down to the multiple."""


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes what the network was trained on."""

    size: tuple[int, int]
    """Native height and width in pixels."""
    multiple: int = 32
    """Both sides of every input divide by it."""
    resize: Resize = Resize.SAME_AREA
    interpolation: Interpolation = "bilinear"
    """Brings the photograph to the network's size."""
    restore: Restoring = "bilinear"
    """Brings the prediction back to the photograph's size."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of RGB in [0, 1]; the model subtracts it itself."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Of RGB in [0, 1]; the model divides by it itself."""
    focal: float | None = None
    """Focal length, in pixels of the network's input, of the camera whose metres the network answers: the canonical
    camera of Yin et al. 2023 (Metric3D). None: it answers for whatever camera it sees."""
    margin: float = 0.0
    """Times √(side / 2): pixels by which a mirror continues the photograph at each edge; the answer is cut back."""

    def camera(self, image: ImageTensor) -> Intrinsics | None:
        """Return the camera that an unknown one is taken for, in pixels of `image`; None without a canonical camera."""
        focal = self.focal_for(image.shape[-2], image.shape[-1])
        return None if focal is None else pinhole(focal, image)

    def focal_for(self, height: int, width: int) -> float | None:
        """Return the focal length in pixels that an unknown camera of `height` × `width` pixels is taken to have."""
        return None if self.focal is None else self.focal * sqrt(height * width / (self.size[0] * self.size[1]))

    def margin_for(self, height: int, width: int) -> tuple[int, int]:
        """Rows above and below, and columns left and right, that a photograph gets before it is resized."""
        # A mirror at the last pixel has one pixel less to show than there are.
        return (
            min(int(sqrt(height / 2) * self.margin), height - 1),
            min(int(sqrt(width / 2) * self.margin), width - 1),
        )

    def size_for(self, height: int, width: int, scale: float = 1.0) -> tuple[int, int]:
        """Return the height and width that a photograph is resized to.

        Args:
            height: of the photograph in pixels, margins included.
            width: likewise.
            scale: factor on both sides of the network's input; before both are rounded to the multiple.
        """
        native_height, native_width = scale * self.size[0], scale * self.size[1]
        tall, wide = native_height / height, native_width / width
        match self.resize:
            case Resize.SAME_AREA:
                tall = wide = sqrt(tall * wide)
            case Resize.LOWER_BOUND:
                tall = wide = max(tall, wide)
            case Resize.UPPER_BOUND:
                tall = wide = min(tall, wide)
            case Resize.MINIMAL:
                tall = wide = wide if abs(1 - wide) < abs(1 - tall) else tall
            case Resize.STRETCH:
                pass
            case Resize.OWN:
                rows, columns = int(scale * height) // self.multiple, int(scale * width) // self.multiple
                return max(rows, 1) * self.multiple, max(columns, 1) * self.multiple
        return self._rounded(tall * height, native_height), self._rounded(wide * width, native_width)

    def _rounded(self, side: float, native: float) -> int:
        """The multiple nearest to `side` that keeps to the bound that `native` sets, and at least one multiple."""
        steps = round(side / self.multiple)
        if self.resize is Resize.LOWER_BOUND and steps * self.multiple < native:
            steps = ceil(side / self.multiple)
        if self.resize is Resize.UPPER_BOUND and steps * self.multiple > native:
            steps = floor(side / self.multiple)
        return max(steps, 1) * self.multiple


FREE_LICENCES = ("apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "mit")
"""Licences, as the hub spells them, under which what is made of the licensed may be given away as we give it."""


@dataclass(frozen=True)
class Provenance:
    """Where a model's weights come from and what may be done with them."""

    training_data: str = ""
    """What the whole model was trained on; empty: nothing yet."""
    encoder: str = ""
    """What the encoder held before that training; empty: random numbers."""
    licence: str = "Apache-2.0"
    notes: str = ""
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What the model scored: data and protocol in words → metric → value."""

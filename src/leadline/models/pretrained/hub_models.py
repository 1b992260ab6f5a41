"""Depth networks of the Hugging Face hub that have a short name: where they are, their kind, licence and figures."""

from collections.abc import Mapping
from dataclasses import dataclass

from leadline.core.depth_kind import DepthKind
from leadline.models.pretrained.releases import Figures


@dataclass(frozen=True)
class HubModel:
    """One repository of the hub, which the transformers library or its authors' package loads."""

    repository: str
    kind: DepthKind
    parameters: int
    """As published, rounded."""
    size: int
    """Bytes of its weights, rounded."""
    input_size: tuple[int, int]
    """Height and width that its preprocessing aims at."""
    licence: str
    """Of the weights, as their page states it; the page decides."""
    terms: str
    revision: str | None = None
    """Commit that is loaded; None: the newest, which is recorded in what is written."""
    nyu: Figures | None = None

    @property
    def spec(self) -> str:
        """What `leadline.load` takes for it."""
        revision = f",revision={self.revision}" if self.revision else ""
        return f"hub:{self.repository}{revision}"


_SYNTHETIC = "Trained on synthetic images, and on 62 million photographs that its teacher labelled."
_CONVERTED = "The licence is that of the original weights: the page of these, converted ones states none."
_ZOE = "Trained on twelve relative datasets, each with terms of its own"
_EIGEN = "nyu_eigen: 654 test images, Eigen crop, cap 10 m, averaged per image"

HUB_MODELS: Mapping[str, HubModel] = {
    "depth_anything_v2_small": HubModel(
        "depth-anything/Depth-Anything-V2-Small-hf",
        DepthKind.RELATIVE,
        24_800_000,
        99_200_000,
        (518, 518),
        "Apache-2.0",
        _SYNTHETIC,
    ),
    "depth_anything_v2_indoor_small": HubModel(
        "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",
        DepthKind.METRIC,
        24_800_000,
        99_200_000,
        (518, 518),
        "Apache-2.0",
        f"{_SYNTHETIC} Finetuned on Hypersim, indoors. {_CONVERTED}",
        "4d5187ef4957085a714f15b6ae43230a8b813c03",
    ),
    "depth_anything_v2_outdoor_small": HubModel(
        "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf",
        DepthKind.METRIC,
        24_800_000,
        99_200_000,
        (518, 518),
        "Apache-2.0",
        f"{_SYNTHETIC} Finetuned on Virtual KITTI 2, streets. {_CONVERTED}",
    ),
    "depth_anything_3_metric": HubModel(
        "depth-anything/DA3METRIC-LARGE",
        DepthKind.METRIC,
        350_000_000,
        1_400_000_000,
        (504, 504),
        "Apache-2.0",
        "Metres follow the focal length: state it, or 300 pixels at 504 are assumed. Needs its authors' package, "
        "which has to be installed once: docs/sharing.md says how.",
    ),
    "zoedepth_nyu": HubModel(
        "Intel/zoedepth-nyu",
        DepthKind.METRIC,
        345_000_000,
        1_380_000_000,
        (384, 512),
        "MIT",
        f"{_ZOE}; finetuned on NYU Depth v2, which is for research and states no terms for trained weights.",
        nyu=Figures({"abs_rel": 0.077, "rmse": 0.282, "d1": 0.951}, _EIGEN, "Bhat et al. 2023 (ZoeDepth-N)"),
    ),
    "zoedepth_nyu_kitti": HubModel(
        "Intel/zoedepth-nyu-kitti",
        DepthKind.METRIC,
        345_000_000,
        1_380_000_000,
        (384, 512),
        "MIT",
        f"{_ZOE}; finetuned on NYU Depth v2 (research) and KITTI (CC BY-NC-SA 3.0: not for commercial use).",
        "f364d4c7936e91f465abba182208dd68142bf0ca",
    ),
    "depth_pro": HubModel(
        "apple/DepthPro-hf",
        DepthKind.METRIC,
        952_000_000,
        1_900_000_000,
        (1536, 1536),
        "apple-amlr: for research only",
        "Its licence forbids commercial use.",
    ),
}
"""Short name → repository. Sizes, licences and commits are those of the repositories' pages."""

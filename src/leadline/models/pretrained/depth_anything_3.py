"""Depth Anything 3 (Lin et al. 2025): its metric network, in the code of the authors' package, as a depth model."""

import json
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known
from leadline.core.paths import StrPath
from leadline.models.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DepthModel,
    ModelSpec,
    Preprocessing,
    Provenance,
    Resize,
    init_on_meta,
    shapes,
    state_dict_mismatch,
)
from leadline.models.description import read_json

METRIC = "da3metric-large"
"""The `model_name` in config.json of the network that gives metres: DA3METRIC-LARGE."""
INSTALL = (
    "pip install --no-deps git+https://github.com/ByteDance-Seed/Depth-Anything-3 && "
    "pip install addict einops omegaconf"
)
"""Without its own dependencies, which are for its other networks, and want a NumPy before 2."""
FOCAL = 300.0
"""Focal length in pixels of the network's input for which its output is metres: metres = output · focal / 300."""
SKY = 0.3
"""Output of the network's sky head from which a pixel is sky; its depth becomes that of the farthest things."""
FARTHEST = 0.99
"""Quantile of the depth of what is not sky that stands for the farthest things."""
_BACKBONES: Mapping[str, tuple[int, tuple[int, ...]]] = {
    "vits": (384, (2, 5, 8, 11)),
    "vitb": (768, (2, 5, 8, 11)),
    "vitl": (1024, (4, 11, 17, 23)),
}
"""Name of the package's backbone → the channels of its tokens, and the blocks whose tokens are decoded."""


def depth_anything_3(*, backbone: str = "vitl", features: int = 256) -> "DepthAnything3Model":
    """Build the untrained metric network of Depth Anything 3; as it is by default, DA3METRIC-LARGE.

    Args:
        backbone: the package's name of a DINOv2: "vits", "vitb" or "vitl".
        features: channels of the decoder.

    Raises:
        BadInput: an unknown backbone, or the package is not installed.
    """
    check_known("backbone", backbone, _BACKBONES)
    channels, blocks = _BACKBONES[backbone]
    network, dinov2, dpt = (_library(f"model.{part}") for part in ("da3", "dinov2.dinov2", "dpt"))
    widths = [features, 2 * features, 4 * features, 4 * features]
    with _RatesOnCpu():
        whole = network.DepthAnything3Net(
            net=dinov2.DinoV2(backbone, out_layers=list(blocks), cat_token=False),
            head=dpt.DPT(channels, output_dim=1, features=features, out_channels=widths),
        )
    return DepthAnything3Model(whole, Provenance())


def load_depth_anything_3_folder(folder: StrPath, name: str) -> "DepthAnything3Model":
    """Load DA3METRIC-LARGE as its authors publish it, in evaluation mode; nothing but JSON and safetensors is read.

    Args:
        folder: where it lies.
        name: what its provenance calls it.

    Raises:
        BadInput: another network of Depth Anything 3, weights that do not fit, or the package is not installed.
    """
    config = read_json(Path(folder) / "config.json")
    if config.get("model_name") != METRIC:
        raise BadInput(
            f"{name} is {config.get('model_name')!r}: of Depth Anything 3 only {METRIC} (DA3METRIC-LARGE) gives metres "
            "from one photograph."
        )
    try:
        weights = load_file(Path(folder) / "model.safetensors")
    except (OSError, SafetensorError) as problem:
        raise BadInput(f"{name} has no whole model.safetensors ({problem}): download it again.") from problem
    arguments = _arguments(config)
    with init_on_meta():
        model = depth_anything_3(**arguments)
    # The package's class wraps the network as `model`.
    found = {f"network.{key.removeprefix('model.')}": tensor.float() for key, tensor in weights.items()}
    if fault := state_dict_mismatch(shapes(model.state_dict()), shapes(found)):
        raise BadInput(f"{name} has no weights that fit the package's network: {fault}.")
    model.load_state_dict(found, assign=True)
    model.provenance = Provenance(
        training_data=f"{name}: as its model card says", licence="Apache-2.0", notes="of Depth Anything 3"
    )
    model.set_spec(ModelSpec("depth_anything_3", arguments))
    return model.eval()


def is_depth_anything_3(folder: StrPath) -> bool:
    """Return whether a folder holds a network as the package of Depth Anything 3 saves it."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and str(config.get("model_name", "")).startswith("da3")


class DepthAnything3Model(DepthModel):
    """The metric network of Depth Anything 3, which sees one photograph and needs its focal length for metres."""

    network: Any

    def __init__(self, network: nn.Module, provenance: Provenance, *, spec: ModelSpec | None = None) -> None:
        preprocessing = Preprocessing(
            (504, 504),
            multiple=14,
            resize=Resize.UPPER_BOUND,
            interpolation="area",
            restore="bilinear",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            focal=FOCAL,
        )
        super().__init__(DepthKind.METRIC, preprocessing, provenance, spec=spec)
        self.network = network

    @property
    def encoder(self) -> nn.Module:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The package's DINOv2; a property, for a second name would store its weights twice."""
        return self.network.backbone

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        height, width = image.shape[-2:]
        # The package's networks take several views of a scene; these are scenes of one view.
        answer = self.network.head(self._tokens(image), height, width, patch_start_idx=0)
        return torch.stack([_with_sky(*each) for each in zip(answer["depth"], answer["sky"], strict=True)])

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Return the tokens of the blocks that are decoded, as maps, shallowest first."""
        rows, columns = (side // self.preprocessing.multiple for side in image.shape[-2:])
        return tuple(each[0][:, 0].transpose(1, 2).unflatten(2, (rows, columns)) for each in self._tokens(image))

    def _tokens(self, image: Float[Tensor, "B 3 H W"]) -> Any:
        tokens, _ = self.network.backbone(
            self.normalize(image)[:, None],
            cam_token=None,
            export_feat_layers=[],
            ref_view_strategy="saddle_balanced",
        )
        return tokens


def _with_sky(depth: Float[Tensor, "1 H W"], sky: Float[Tensor, "1 H W"]) -> Float[Tensor, "1 H W"]:
    """Put the sky as far as the farthest things, as the package does unless there is hardly any of either."""
    is_ground = sky < SKY
    if is_ground.sum() <= 10 or (~is_ground).sum() <= 10:
        return depth
    return depth.where(is_ground, torch.quantile(depth[is_ground], FARTHEST))


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `depth_anything_3` that a config.json describes; DA3METRIC-LARGE's where it describes none."""
    described = config.get("config")
    if not isinstance(described, Mapping):
        return {"backbone": "vitl", "features": 256}
    try:
        features = described["head"]["features"]
        backbone, blocks = described["net"]["name"], described["net"]["out_layers"]
    except (KeyError, TypeError) as problem:
        raise BadInput(f"config.json describes no network of Depth Anything 3 ({problem!r}).") from problem
    check_known("backbone", str(backbone), _BACKBONES)
    if list(blocks) != list(_BACKBONES[backbone][1]):
        raise BadInput(f"config.json decodes the blocks {blocks!r:.80} of {backbone}, and not those of {METRIC}.")
    if not isinstance(features, int) or not 1 <= features <= 1024:
        raise BadInput(f"config.json: head.features {features!r:.80} must be a whole number from 1 to 1024.")
    return {"backbone": backbone, "features": features}


class _RatesOnCpu(TorchFunctionMode):
    """The package reads numbers off a tensor when it builds a network, and one on the meta device has none."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        on_cpu = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**on_cpu, **(kwargs or {})})


def _library(part: str) -> Any:
    os.environ.setdefault("DA3_LOG_LEVEL", "ERROR")  # or else it prints to standard output
    try:
        return import_module(f"depth_anything_3.{part}")
    except ImportError as problem:
        raise BadInput(
            f"Depth Anything 3 needs its authors' package ({problem.name} is missing): {INSTALL}"
        ) from problem

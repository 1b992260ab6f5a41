"""Checkpoints: the weight files that MiDaS and DPT were published as, recognised by their keys and made our models."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor

from leadline.core.errors import BadInput, UnreadableFile, check_known
from leadline.core.paths import StrPath
from leadline.models.base import DepthModel, Provenance, as_dtype_of, shapes, state_dict_mismatch
from leadline.models.pretrained.releases import RELEASES
from leadline.models.registry import MODELS, build_empty
from leadline.models.saving import save


def convert(file: StrPath, directory: StrPath, as_name: str | None = None) -> DepthModel:
    """Convert an official checkpoint to a model folder, and return the model.

    Args:
        file: the checkpoint.
        directory: the folder to write.
        as_name: which model it is, where neither its keys nor its name say it.

    Raises:
        BadInput: as `load_checkpoint`, or the folder cannot be written.
    """
    directory = Path(directory)
    file = Path(file)
    model = load_checkpoint(file, as_name)
    save(model, directory)
    return model


def load_checkpoint(file: StrPath, as_name: str | None = None) -> DepthModel:
    """Load an official checkpoint, in evaluation mode; `provenance.notes` says what was recognised.

    `as_name` decides between models of one layout (the three DPT hybrids); without it the release's file name must.
    The weights stay in the file until they are read, so it must not be overwritten while the model lives.

    Raises:
        BadInput: no such file, one that holds more than tensors, keys of no known layout, or a model left undecided.
    """
    file = Path(file)
    weights = _tensors(file)
    layout = _recognised(file, weights)
    name = _decided(file, layout, as_name)
    model = build_empty(name)
    expected = model.state_dict()
    read = {
        key: as_dtype_of(tensor, weights[layout.official(key)], f"{layout.official(key)} in {file}")
        for key, tensor in expected.items()
    }
    model.load_state_dict(read, assign=True)
    notes = f"Converted from {file.name}, which has {layout.name}'s layout. {RELEASES[name].terms}"
    model.provenance = replace(_PROVENANCE[name], notes=notes, licence=RELEASES[name].licence)
    return model.eval()


@dataclass(frozen=True, eq=False)
class _Layout:
    """How the official key of every tensor is found from ours."""

    models: tuple[str, ...]
    """That share it."""
    prefixes: Mapping[str, str]
    """Ours → official."""

    @property
    def name(self) -> str:
        return self.models[0]

    def official(self, key: str) -> str:
        ours = next(prefix for prefix in self.prefixes if key.startswith(prefix))
        return self.prefixes[ours] + key.removeprefix(ours)


def _tensors(file: Path) -> dict[str, Tensor]:
    """The file's tensors by name, mapped rather than read where it is a zip archive (all but the oldest are)."""
    if not file.is_file():
        raise BadInput(f"No checkpoint at {file}.")
    try:
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zipfile(file))
    except Exception as problem:  # torch.load raises whatever the bytes lead it to.
        raise UnreadableFile(
            f"{file} is damaged, or holds more than tensors ({problem}): download it again."
        ) from problem
    if isinstance(held, dict) and "optimizer" in held:
        held = held.get("model")  # MiDaS's training saved both.
    if not isinstance(held, dict) or not all(isinstance(key, str) and _is_plain(held[key]) for key in held):
        raise BadInput(f"{file} is no checkpoint: it holds no names with a tensor each.")
    return held


def _is_plain(tensor: Any) -> bool:
    """Whether it is a tensor of numbers in memory: not sparse, quantised, nor a shape alone."""
    return (
        isinstance(tensor, Tensor)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
    )


def _recognised(file: Path, weights: Mapping[str, Tensor]) -> _Layout:
    """The layout that the file has to the last key, those aside that no output depends on."""
    found = {key: shape for key, shape in shapes(weights).items() if not key.startswith(_IDLE)}
    nearest = min(_LAYOUTS, key=lambda layout: len(_expected(layout).items() ^ found.items()))
    if fault := state_dict_mismatch(_expected(nearest), found):
        raise BadInput(f"{file} is none of the known checkpoints. Nearest is {nearest.name}, but for {fault}.")
    return nearest


@cache
def _expected(layout: _Layout) -> dict[str, tuple[int, ...]]:
    """Official key → shape, those aside that no output depends on."""
    return {layout.official(key): shape for key, shape in shapes(build_empty(layout.name).state_dict()).items()}


def _decided(file: Path, layout: _Layout, as_name: str | None) -> str:
    """Which of the layout's models the file is: as told, or the only one, or by the name it was published under."""
    if as_name is not None:
        check_known("model", as_name, MODELS)
        if as_name not in layout.models:
            raise BadInput(f"{file} cannot be {as_name}: it has the layout of {' or '.join(layout.models)}.")
        return as_name
    if len(layout.models) == 1:
        return layout.name
    if (released := _RELEASED_AS.get(file.stem)) in layout.models:
        return released
    raise BadInput(
        f"{file} may be {' or '.join(layout.models)}: their files have the same keys, and answer in other units. "
        "Give it the name it was published under, or say which: as_name=… (--as on the command line)."
    )


def _decoder() -> dict[str, str]:
    prefixes = {"head.": "scratch.output_conv."}
    for level in range(4):
        prefixes[f"decoder.bring.{level}."] = f"scratch.layer{level + 1}_rn."
        for ours, theirs in (
            ("skip.first", "resConfUnit1.conv1"),
            ("skip.second", "resConfUnit1.conv2"),
            ("refine.first", "resConfUnit2.conv1"),
            ("refine.second", "resConfUnit2.conv2"),
            ("mix", "out_conv"),
        ):
            prefixes[f"decoder.levels.{level}.{ours}."] = f"scratch.refinenet{level + 1}.{theirs}."
    return prefixes


def _dpt(reassembled: range) -> dict[str, str]:
    """`reassembled`: the numbers of the maps that come from tokens."""
    prefixes = {"encoder.vit.": "pretrained.model.", **_decoder()}
    for number, official in enumerate(reassembled):
        for ours, theirs in (("readout.0", "0.project.0"), ("project", "3"), ("resample", "4")):
            prefixes[f"encoder.reassemble.{number}.{ours}."] = f"pretrained.act_postprocess{official}.{theirs}."
    return prefixes


_IDLE = ("pretrained.model.norm.", "pretrained.model.head.", "scratch.refinenet4.resConfUnit1.")
"""Begins the official keys that no output depends on."""


_LAYOUTS = (
    _Layout(
        ("midas_v21",),
        {
            "encoder.conv1.": "pretrained.layer1.0.",
            "encoder.bn1.": "pretrained.layer1.1.",
            "encoder.layer1.": "pretrained.layer1.4.",
            "encoder.layer": "pretrained.layer",
            **_decoder(),
        },
    ),
    _Layout(
        ("midas_small",),
        {
            "encoder.conv_stem.": "pretrained.layer1.0.",
            "encoder.bn1.": "pretrained.layer1.1.",
            "encoder.blocks.0.": "pretrained.layer1.3.",
            "encoder.blocks.1.": "pretrained.layer1.4.",
            "encoder.blocks.2.": "pretrained.layer2.0.",
            "encoder.blocks.3.": "pretrained.layer3.0.",
            "encoder.blocks.4.": "pretrained.layer3.1.",
            "encoder.blocks.5.": "pretrained.layer4.0.",
            "encoder.blocks.6.": "pretrained.layer4.1.",
            **_decoder(),
        },
    ),
    _Layout(("dpt_large",), _dpt(range(1, 5))),
    _Layout(("dpt_hybrid", "dpt_hybrid_nyu", "dpt_hybrid_kitti"), _dpt(range(3, 5))),
)


_RELEASED_AS = {
    "dpt_hybrid-midas-501f0c75": "dpt_hybrid",
    "dpt_hybrid_384": "dpt_hybrid",
    "dpt_hybrid_nyu-2ce69ec7": "dpt_hybrid_nyu",
    "dpt_hybrid_nyu_new-217f207d": "dpt_hybrid_nyu",
    "dpt_hybrid_kitti-cb926ef4": "dpt_hybrid_kitti",
}
"""Published file name, without its ending → model, where a layout has several."""


_TEN_DATASETS = (
    "ReDWeb, DIML, Movies, MegaDepth, WSVD, TartanAir, HRWSI, ApolloScape, BlendedMVS, IRS "
    "(relative depth; stereo, photogrammetry and synthetic)"
)


_PROVENANCE = {
    "midas_v21": Provenance(_TEN_DATASETS, encoder="ResNeXt-101 of weakly supervised Instagram images"),
    "midas_small": Provenance(_TEN_DATASETS, encoder="EfficientNet-Lite3 of ImageNet"),
    "dpt_large": Provenance(_TEN_DATASETS, encoder="ViT-L/16 of ImageNet-21k"),
    "dpt_hybrid": Provenance(_TEN_DATASETS, encoder="ResNet-50 + ViT-B of ImageNet-21k"),
    "dpt_hybrid_nyu": Provenance(f"{_TEN_DATASETS}, then NYU Depth v2", encoder="ResNet-50 + ViT-B of ImageNet-21k"),
    "dpt_hybrid_kitti": Provenance(
        f"{_TEN_DATASETS}, then KITTI (Eigen split)", encoder="ResNet-50 + ViT-B of ImageNet-21k"
    ),
}

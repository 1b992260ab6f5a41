"""Checkpoints: weight files as MiDaS, DPT and BTS published them, recognised by their keys and made our models."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals

from leadline.core.errors import BadInput, UnreadableFile, check_known
from leadline.core.paths import StrPath
from leadline.models.base import DepthModel, Provenance, as_dtype_of, shapes, state_dict_mismatch
from leadline.models.layers.planar_decoder import DILATIONS
from leadline.models.pretrained.releases import RELEASES
from leadline.models.registry import MODELS, build_empty, build_on_meta
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

    `as_name` decides between models of one layout (the three DPT hybrids, BTS of NYU and of KITTI); without it the
    name that the file or its folder was published under must.
    The weights stay in the file until they are read, so it must not be overwritten while the model lives.

    Raises:
        BadInput: no such file, one that holds more than tensors, keys of no known layout, or a model left undecided.
    """
    file = Path(file)
    weights = _tensors(file)
    layout = _recognised(file, weights)
    name = _decided(file, layout, as_name)
    model = build_empty(name, **layout.arguments)
    expected = model.state_dict()
    read = {
        key: as_dtype_of(tensor, weights[layout.official(key)], f"{layout.official(key)} in {file}")
        for key, tensor in expected.items()
    }
    model.load_state_dict(read, assign=True)
    known = _PROVENANCE[name]
    licence, terms = (
        (RELEASES[name].licence, RELEASES[name].terms) if name in RELEASES else (known.licence, known.notes)
    )
    notes = f"Converted from {file.name}, which has {layout.name}'s layout. {terms}"
    model.provenance = replace(known, notes=notes, licence=licence, encoder=known.encoder or layout.encoder)
    return model.eval()


@dataclass(frozen=True, eq=False)
class _Layout:
    """How the official key of every tensor is found from ours."""

    models: tuple[str, ...]
    """That share it."""
    prefixes: Mapping[str, str]
    """Ours → official."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of the builder."""

    @property
    def name(self) -> str:
        return self.models[0]

    @property
    def encoder(self) -> str:
        """What the encoder held before the training, where it depends on the layout."""
        return f"{self.arguments['encoder']} of ImageNet" if "encoder" in self.arguments else ""

    def official(self, key: str) -> str:
        ours = next(prefix for prefix in self.prefixes if key.startswith(prefix))
        return self.prefixes[ours] + key.removeprefix(ours)


_EXPORTED = (".onnx", ".xml", ".pt2")
"""Suffixes of what `leadline export` writes."""


def _reason(problem: Exception) -> str:
    """Return the one line of what torch.load says that is about the file; the others are about its arguments."""
    lines = str(problem).splitlines() or [type(problem).__name__]
    marked = [line.partition("WeightsUnpickler error:")[2].strip() for line in lines]
    return next(filter(None, marked), lines[0])[:200].rstrip(". ")


_CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".tar", ".bin")
_CHECKPOINT_STARTS = (b"PK", b"\x80")
"""How zip archives and pickles begin, which are what torch.save writes."""


def _tensors(file: Path) -> dict[str, Tensor]:
    """The file's tensors by name, mapped rather than read where it is a zip archive (all but the oldest are)."""
    if not file.is_file():
        raise BadInput(f"No checkpoint at {file}.")
    if file.suffix.lower() in _EXPORTED:
        raise BadInput(f"{file} is an exported model, which only predicts: give the model that it was made of.")
    if file.suffix.lower() == ".bin" and (whole := file.with_suffix(".xml")).is_file():
        raise BadInput(f"{file} holds the weights of {whole}, an exported model: give that file.")
    with file.open("rb") as stream:
        start = stream.read(4)
    if not start.startswith(_CHECKPOINT_STARTS):
        if file.suffix.lower() in _CHECKPOINT_SUFFIXES:
            raise UnreadableFile(f"{file} is damaged, or no checkpoint of PyTorch: download it again.")
        raise UnreadableFile(
            f"{file} is no model: a saved one is a folder, others are checkpoints of PyTorch or exported files."
        )
    try:
        with safe_globals(_ARRAY):
            held = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zipfile(file))
    except Exception as problem:  # torch.load raises whatever the bytes lead it to.
        raise UnreadableFile(
            f"{file} is damaged, or holds more than tensors ({_reason(problem)}): download it again."
        ) from problem
    if isinstance(held, dict) and "optimizer" in held:
        held = held.get("model")  # MiDaS's and BTS's trainings saved both.
    if not isinstance(held, dict) or not all(isinstance(key, str) and _is_plain(held[key]) for key in held):
        raise BadInput(f"{file} is no checkpoint: it holds no names with a tensor each.")
    # What was saved while it was spread over several devices.
    return {key.removeprefix("module."): tensor for key, tensor in held.items()}


_ARRAY: list[Any] = [
    np.ndarray,
    np.dtype,
    np.dtypes.Int32DType,
    (np.array(0).__reduce__()[0], "numpy.core.multiarray._reconstruct"),
    (np.array(0).__reduce__()[0], "numpy._core.multiarray._reconstruct"),
    (codecs.encode, "_codecs.encode"),
]
"""What a whole-numbered array of NumPy is read by: BTS's training saved one beside the weights."""


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
    layouts = _bts_layouts(found) if any(key.startswith("decoder.daspp") for key in found) else _LAYOUTS
    nearest = min(layouts, key=lambda layout: len(_expected(layout).items() ^ found.items()))
    if fault := state_dict_mismatch(_expected(nearest), found):
        raise BadInput(f"{file} is none of the known checkpoints. Nearest is {nearest.name}, but for {fault}.")
    return nearest


@cache
def _expected(layout: _Layout) -> dict[str, tuple[int, ...]]:
    """Official key → shape, those aside that no output depends on."""
    empty = build_on_meta(layout.name, **layout.arguments)
    return {layout.official(key): shape for key, shape in shapes(empty.state_dict()).items()}


def _decided(file: Path, layout: _Layout, as_name: str | None) -> str:
    """Which of the layout's models the file is: as told, or the only one, or by the name it was published under."""
    if as_name is not None:
        check_known("model", as_name, MODELS)
        if as_name not in layout.models:
            raise BadInput(f"{file} cannot be {as_name}: it has the layout of {' or '.join(layout.models)}.")
        return as_name
    if len(layout.models) == 1:
        return layout.name
    for released in (file.stem, file.resolve().parent.name):  # BTS's files are all called model.
        if (model := _released_as(released)) in layout.models:
            return model
    raise BadInput(
        f"{file} may be {' or '.join(layout.models)}: their files have the same keys, and answer in other units. "
        "Give it the name it was published under, or say which: as_name=… (--as on the command line)."
    )


def _released_as(name: str) -> str | None:
    """The model that a file or a folder of this name was published as."""
    if name.startswith("bts_"):
        return "bts_kitti" if name.startswith("bts_eigen") else "bts" if name.startswith("bts_nyu") else None
    return _RELEASED_AS.get(name)


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


def _bts(encoder: str) -> _Layout:
    """BTS over one of timm's encoders; torchvision's, which BTS took, have the same names inside."""
    prefixes = {"encoder.features." if encoder.startswith("densenet") else "encoder.": "encoder.base_model."}
    for ours, theirs in _BTS_PARTS.items():
        prefixes[f"decoder.{ours}."] = f"decoder.{theirs}."
    for number, dilation in enumerate(DILATIONS):
        branch = f"daspp_{dilation}.atrous_conv"
        for layer, inner in (
            (0, "first_bn"),
            (2, "aconv_sequence.1"),
            (3, "aconv_sequence.2"),
            (5, "aconv_sequence.4"),
        ):
            prefixes[f"decoder.aspp.branches.{number}.{layer}."] = f"decoder.{branch}.{inner}."
    for ours, theirs, channels in (
        ("planes8.reduce", "reduc8x8", (128, 128, 64, 32, 16, 8)),
        ("planes4.reduce", "reduc4x4", (128, 64, 32, 16, 8)),
        ("planes2.reduce", "reduc2x2", (64, 32, 16, 8)),
        ("reduce1", "reduc1x1", (32, 16, 8)),
    ):
        steps = list(pairwise(channels))
        for number, (wide, narrow) in enumerate(steps):
            prefixes[f"decoder.{ours}.{number}.0."] = f"decoder.{theirs}.reduc.inter_{wide}_{narrow}.0."
        last = "final.0" if ours == "reduce1" else "plane_params"
        prefixes[f"decoder.{ours}.{len(steps)}."] = f"decoder.{theirs}.reduc.{last}."
    return _Layout(("bts", "bts_kitti"), prefixes, {"encoder": encoder, "camera": "any"})


_BTS_PARTS: Mapping[str, str] = {
    **{f"up{ratio}.conv": f"upconv{level}.conv" for ratio, level in ((16, 5), (8, 4), (4, 3), (2, 2), (1, 1))},
    **{f"norm{ratio}": f"bn{level}" for ratio, level in ((16, 5), (8, 4), (4, 3), (2, 2))},
    **{f"join{ratio}": f"conv{level}" for ratio, level in ((16, 5), (8, 4), (4, 3), (2, 2), (1, 1))},
    "norm8_joined": "bn4_2",
    "aspp.merge": "daspp_conv",
    "depth": "get_depth.0",
}
"""Part of our decoder → of theirs."""


_IDLE = (
    "pretrained.model.norm.",
    "pretrained.model.head.",
    "scratch.refinenet4.resConfUnit1.",
    "encoder.base_model.fc.",
)
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


def _bts_layouts(found: Mapping[str, tuple[int, ...]]) -> list[_Layout]:
    """BTS over the encoder whose telling tensor is there; over all where none is."""
    probes = ((name, f"encoder.base_model.{key}", shape) for name, (key, shape) in _BTS_ENCODERS.items())
    told = next((name for name, key, shape in probes if found.get(key) == shape), None)
    return [_bts(name) for name in ([told] if told else _BTS_ENCODERS)]


_BTS_ENCODERS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "densenet121": ("norm5.weight", (1024,)),
    "densenet161": ("norm5.weight", (2208,)),
    "resnet101": ("layer3.22.conv2.weight", (256, 256, 3, 3)),
    "resnext101_32x8d": ("layer3.22.conv2.weight", (1024, 32, 3, 3)),
    "resnet50": ("layer3.5.conv2.weight", (256, 256, 3, 3)),
    "resnext50_32x4d": ("layer3.5.conv2.weight", (512, 16, 3, 3)),
}
"""timm's encoder → a tensor that it has and those before it do not; building all six takes seconds."""


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


_GPL = "GPL-3.0, of the repository that released the weights"
_PROVENANCE = {
    "bts": Provenance(
        "NYU Depth v2",
        licence=_GPL,
        notes="NYU Depth v2 is for research and states no terms for trained weights.",
    ),
    "bts_kitti": Provenance(
        "KITTI (Eigen split)", licence=_GPL, notes="KITTI's data are CC BY-NC-SA 3.0: not for commercial use."
    ),
    "midas_v21": Provenance(_TEN_DATASETS, encoder="ResNeXt-101 of weakly supervised Instagram images"),
    "midas_small": Provenance(_TEN_DATASETS, encoder="EfficientNet-Lite3 of ImageNet"),
    "dpt_large": Provenance(_TEN_DATASETS, encoder="ViT-L/16 of ImageNet-21k"),
    "dpt_hybrid": Provenance(_TEN_DATASETS, encoder="ResNet-50 + ViT-B of ImageNet-21k"),
    "dpt_hybrid_nyu": Provenance(f"{_TEN_DATASETS}, then NYU Depth v2", encoder="ResNet-50 + ViT-B of ImageNet-21k"),
    "dpt_hybrid_kitti": Provenance(
        f"{_TEN_DATASETS}, then KITTI (Eigen split)", encoder="ResNet-50 + ViT-B of ImageNet-21k"
    ),
}

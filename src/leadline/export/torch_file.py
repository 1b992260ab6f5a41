"""PyTorch files: the whole way of a photograph as one exported program (.pt2), which needs no code of ours."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.export.network import (
    LARGEST_BATCH,
    LARGEST_SIDE,
    exportable,
    first_cause,
    followed_by_exporter,
    outputs,
    quiet,
)
from leadline.inference.backends import METADATA_KEY
from leadline.inference.guided import restore_guided
from leadline.inference.tensors import interpolate
from leadline.models.base import DepthModel
from leadline.models.preprocessing import Preprocessing, Resize


def write(
    model: DepthModel,
    path: Path,
    precision: str,
    calibration: Sequence[Any],
    about: Mapping[str, Any],
    rounded_from: int,
) -> None:
    """Write a model as a program of torch.export.

    Args:
        model: the model.
        path: the file.
        precision: fp32; a program of PyTorch computes in no other.
        calibration: nothing.
        about: the metadata.
        rounded_from: nothing.

    Raises:
        BadInput: another precision, or the network cannot be exported.
    """
    if precision != "fp32":
        raise BadInput(f"An export to torch is fp32, not {precision}: give --to onnx or --to openvino.")
    if model.preprocessing.margin or model.preprocessing.interpolation == "area":
        raise BadInput(f"{model.name!r} mirrors or averages photographs at their size: give --to onnx.")
    dim = torch.export.Dim
    batch, height, width = (
        dim("batch", max=LARGEST_BATCH),
        *(dim(side, min=2, max=LARGEST_SIDE) for side in ("height", "width")),
    )
    try:
        with torch.no_grad(), quiet(), followed_by_exporter(model):
            program = torch.export.export(
                _Whole(exportable(model)).eval(),
                (torch.zeros(2, *_example(model.preprocessing), 3, dtype=torch.uint8), torch.zeros(2)),
                dynamic_shapes=({0: batch, 1: height, 2: width}, {0: batch}),
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
            for module in program.graph_module.modules():
                for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                    node.meta.pop("stack_trace", None)  # paths of files on the computer of whoever exports
            torch.export.save(program, path, extra_files={METADATA_KEY: json.dumps(about)})
    except Exception as problem:  # the exporter raises whatever a network leads it to
        raise BadInput(
            f"{model.name!r} cannot be exported with images of any size ({first_cause(problem)})."
        ) from problem


def label(path: Path, about: Mapping[str, Any]) -> None:
    """Replace the metadata of a file."""
    program = torch.export.load(path)
    torch.export.save(program, path, extra_files={METADATA_KEY: json.dumps(about)})


def _example(rule: Preprocessing) -> tuple[int, int]:
    """Return the height and width of a photograph that the network sees in no native size, where there is such a size.

    The program holds what the network does for this photograph only, and where a network does nothing at its native
    size (it resamples no position embedding), that would be wrong for every other.
    """
    return min(((301, 403), (403, 301), (223, 601), (601, 223)), key=lambda size: _special_sides(rule, *size))


def _special_sides(rule: Preprocessing, height: int, width: int) -> int:
    rows, columns = rule.size_for(height, width)
    return (rows == rule.size[0]) + (columns == rule.size[1]) + (rows == columns)


class _Whole(nn.Module):
    """RGB of 8 bits (B, H, W, 3) and focal lengths in pixels (B,), 0 where unknown → depth (B, 1, H, W), and scores
    (B,) if the network has a scope head."""

    def __init__(self, model: DepthModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, focal: Tensor) -> tuple[Tensor, ...]:
        model, rule = self.model, self.model.preprocessing
        pixels = image.permute(0, 3, 1, 2).float() / 255
        height, width = pixels.shape[-2:]
        rows, columns = _network_size(rule, height, width)
        seen = interpolate(pixels, (rows, columns), rule.interpolation)
        depth, *scores = outputs(*model.forward_canonical_scored(seen))
        scaled = focal * torch.sym_sqrt(rows * columns / (height * width))
        if (zoom := model.zoom(torch.stack([scaled] * 4, 1))) is not None:
            depth = depth * zoom
        if rule.restore == "guided":
            restored = restore_guided(depth, seen, pixels)
        else:
            restored = interpolate(depth, (height, width), rule.restore)
        if model.kind is not DepthKind.RELATIVE:
            restored = torch.maximum(restored, depth.amin((1, 2, 3), True))
        return restored, *scores


def _network_size(rule: Preprocessing, height: Any, width: Any) -> tuple[Any, Any]:
    """`Preprocessing.size_for`, in operations that a program can hold; what lies halfway is rounded up."""
    if rule.resize is Resize.OWN:
        rows, columns = (torch.sym_max(side // rule.multiple, 1) * rule.multiple for side in (height, width))
        return rows, columns
    tall, wide = rule.size[0] / height, rule.size[1] / width
    match rule.resize:
        case Resize.SAME_AREA:
            tall = wide = torch.sym_sqrt(rule.size[0] * rule.size[1] / (height * width))
        case Resize.LOWER_BOUND:
            tall = wide = torch.sym_max(tall, wide)
        case Resize.UPPER_BOUND:
            tall = wide = torch.sym_min(tall, wide)
        case Resize.MINIMAL:
            raise BadInput("Photographs fitted by their nearer side cannot be exported to torch: give --to onnx.")
        case Resize.STRETCH:
            return rule.size
    sides = zip((tall, wide), (height, width), rule.size, strict=True)
    rows, columns = (_rounded(scale * side / rule.multiple, native, rule) for scale, side, native in sides)
    return rows, columns


def _rounded(exact: Any, native: int, rule: Preprocessing) -> Any:
    steps = math.trunc(exact + 0.5)
    if rule.resize is Resize.LOWER_BOUND:
        steps = torch.sym_max(steps, -(-native // rule.multiple))
    if rule.resize is Resize.UPPER_BOUND:
        steps = torch.sym_min(steps, native // rule.multiple)
    return torch.sym_max(steps, 1) * rule.multiple

"""The network alone as an ONNX graph: any batch, and sides of any multiple of the network's."""

import copy
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from leadline.core.errors import BadInput, first_line
from leadline.export.onnx_operators import translations
from leadline.models.base import DepthModel, Resize
from leadline.models.names import OUT_OF_SCOPE, SCOPE

OPSET = 18
"""The first in which Resize smooths where it shrinks."""
LARGEST_BATCH, LARGEST_SIDE = 1024, 16384
"""What the exporter may assume of the sizes."""


class Canonical(nn.Module):
    """A network for the canonical camera: image in [0, 1] → depth, and its score if it has a scope head."""

    def __init__(self, model: DepthModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return outputs(*self.model.forward_canonical_scored(image))


def outputs(depth: Tensor, scores: Tensor | None) -> tuple[Tensor, ...]:
    """Return what an exported file has as outputs: depth, and the scores if there are any."""
    return (depth.float(),) if scores is None else (depth.float(), scores.float())


def exportable(model: DepthModel) -> DepthModel:
    """Return a copy of a model whose graph depends on no size, in evaluation mode, on the CPU and in float32."""
    copied = copy.deepcopy(model).cpu().float().eval()
    _make_padding_static(copied)
    return copied


def variable_sides(model: DepthModel) -> dict[int, Any]:
    """Return the dimensions of the network's input that may change, for torch.export.

    Where photographs are stretched to one size, it is the only one that the network ever sees.
    """
    if model.preprocessing.resize is Resize.STRETCH:
        return {0: torch.export.Dim("batch", max=LARGEST_BATCH)}
    multiple, most = model.preprocessing.multiple, LARGEST_SIDE // model.preprocessing.multiple
    dim = torch.export.Dim
    rows, columns = (multiple * dim(side, max=most) for side in ("rows", "columns"))
    return {0: dim("batch", max=LARGEST_BATCH), 2: rows, 3: columns}


def example(model: DepthModel) -> Tensor:
    """Return a batch of two images of no native side, because exporters take what is 1 or equal for what stays so."""
    if model.preprocessing.resize is Resize.STRETCH:
        return _noise(*model.preprocessing.size_for(*model.preprocessing.size))
    multiple = model.preprocessing.multiple
    height, width = (
        (side // multiple + more) * multiple for side, more in zip(model.preprocessing.size, (1, 2), strict=True)
    )
    width += multiple * (height == width)
    return _noise(height, width)


def _noise(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def network_graph(model: DepthModel) -> Any:
    """Return the network as an `onnx.ModelProto` from `image` (B, 3, H, W) to `depth` (B, 1, H, W).

    One with a scope head has a second output, `out_of_scope` (B,).

    Raises:
        BadInput: the exporter cannot follow the network, or is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as problem:
        raise BadInput(f"Exporting needs {problem.name}: pip install 'leadline[export]'.") from problem
    try:
        with torch.no_grad(), quiet(), followed_by_exporter(model):
            program = torch.onnx.export(
                Canonical(exportable(model)).eval(),
                (example(model),),
                dynamo=True,
                dynamic_shapes=(variable_sides(model),),
                input_names=["image"],
                output_names=["depth", OUT_OF_SCOPE] if SCOPE in model.arguments else ["depth"],
                opset_version=OPSET,
                custom_translation_table=dict(translations()),
                verbose=False,
            )
    except Exception as problem:  # the exporter raises whatever a network leads it to
        raise BadInput(
            f"{model.name!r} cannot be exported with sides of any size ({first_cause(problem)})."
        ) from problem
    assert program is not None
    network = program.model_proto  # made anew whenever it is asked for
    forget_origins(network)
    return network


def first_cause(problem: BaseException) -> str:
    """Return the first line of what an error came from, without the colours of a terminal."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return re.sub(r"\x1b\[[0-9;]*m", "", first_line(problem))[:200]


def forget_origins(message: Any) -> None:
    """Remove what the exporter notes of each part of an ONNX message: lines of code, with the paths of their files.

    They would name the folders of whoever exports, and make files differ that compute the same.
    """
    names = message.DESCRIPTOR.fields_by_name
    for name in ("metadata_props", "doc_string"):
        if name in names:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if hasattr(value, "ListFields") else value:
                forget_origins(each)


_TALKATIVE = (None, "torch.onnx", "torch.export", "torch.fx", "torch.utils.cpp_extension")
"""Loggers of exporters and quantisers; None: the root, to which ONNX Runtime's quantiser talks."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' warnings, which no user can act on, from the terminal."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


@contextmanager
def followed_by_exporter(model: nn.Module) -> Iterator[None]:
    """Change what the code of the transformers library does while it is exported.

    `int(side)` returns a side that may change as it is: it would become that of the example, and the exported network
    would give every image the example's size. And where no token is masked there is no mask: it would hold True for
    each pair of tokens, and cost a third of an attention.
    """
    modules = {sys.modules[type(each).__module__] for each in model.modules()}
    with ExitStack() as stack:
        for module in modules:
            if module.__name__.startswith("transformers."):
                stack.enter_context(patch.object(module, "int", _int_or_symbol, create=True))
                if make_mask := getattr(module, _MASK, None):
                    stack.enter_context(patch.object(module, _MASK, partial(_mask_if_needed, make_mask)))
        yield


def _int_or_symbol(value: Any = 0, *base: Any) -> Any:
    return value if isinstance(value, torch.SymInt) else int(value, *base)


_MASK = "create_bidirectional_mask"


def _mask_if_needed(
    make: Callable[..., Any], config: Any, inputs_embeds: Any, attention_mask: Any = None, *more: Any, **options: Any
) -> Any:
    if attention_mask is None and not more and not options:
        return None
    return make(config, inputs_embeds, attention_mask, *more, **options)


def _make_padding_static(module: nn.Module) -> None:
    """Replace layers that pad as TensorFlow's "same" by layers of fixed padding.

    The padding depends on the size only where a side does not divide by the stride, and sides divide by all strides.
    """
    for name, child in module.named_children():
        kind = type(child).__name__
        if kind in ("Conv2dSame", "StdConv2dSame"):
            setattr(module, name, _fixed_convolution(child))
        elif kind == "MaxPool2dSame":
            setattr(module, name, _fixed_pool(child, nn.MaxPool2d, -float("inf")))
        elif kind == "AvgPool2dSame":
            setattr(module, name, _fixed_pool(child, nn.AvgPool2d, 0.0))
        elif kind.endswith("Same"):
            raise BadInput(f"A layer {kind}, whose padding depends on the size of the image, cannot be exported.")
        else:
            _make_padding_static(child)


def _fixed_convolution(layer: Any) -> nn.Module:
    from timm.layers.std_conv import StdConv2d

    has_standard_weight = type(layer).__name__ == "StdConv2dSame"
    fixed = (StdConv2d if has_standard_weight else nn.Conv2d)(
        *(layer.in_channels, layer.out_channels, layer.kernel_size),
        stride=layer.stride,
        padding=0,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
        **({"eps": layer.eps} if has_standard_weight else {}),
    )
    fixed.weight, fixed.bias = layer.weight, layer.bias
    pads = _padding(layer.kernel_size, layer.stride, layer.dilation)
    return nn.Sequential(nn.ZeroPad2d(pads), fixed) if any(pads) else fixed


def _fixed_pool(layer: Any, pool: type[nn.Module], value: float) -> nn.Module:
    pair = [each if isinstance(each, tuple | list) else (each, each) for each in (layer.kernel_size, layer.stride)]
    pads = _padding(*pair, (1, 1))  # pyright: ignore[reportCallIssue]
    return nn.Sequential(nn.ConstantPad2d(pads, value), pool(*map(tuple, pair)))  # pyright: ignore[reportArgumentType]


def _padding(kernel: Any, stride: Any, dilation: Any) -> tuple[int, int, int, int]:
    """Left, right, top and bottom."""
    pads: list[int] = []
    for axis in (1, 0):
        total = max((kernel[axis] - 1) * dilation[axis] + 1 - stride[axis], 0)
        pads += [total // 2, total - total // 2]
    left, right, top, bottom = pads
    return left, right, top, bottom

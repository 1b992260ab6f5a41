"""The whole way of a photograph in one ONNX graph: resize, network, camera, resize back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.export.network import OPSET
from leadline.inference import guided
from leadline.models.base import DepthModel
from leadline.models.names import OUT_OF_SCOPE
from leadline.models.preprocessing import Interpolation, Preprocessing, Resize

SMOOTHING = "leadline/smoothing"
"""How the names of Resize nodes begin that smooth where they shrink."""
IR_VERSION = 10
"""Of the file format: what ONNX Runtime 1.18 and later read."""


def whole_graph(network: Any, model: DepthModel, *, focal_is_optional: bool = True) -> Any:
    """Put preprocessing around a network.

    Args:
        network: an `onnx.ModelProto` from `image` (B, 3, H, W) in [0, 1] to `depth` (B, 1, H, W), for the canonical
            camera, and to `out_of_scope` (B,) if it has a scope head.
        model: what the network was made from: its preprocessing, kind of depth and use of the focal length.
        focal_is_optional: whether the second input may be left out, which OpenVINO cannot read.

    Returns:
        An `onnx.ModelProto` from `image`, (B, H, W, 3) RGB of 8 bits, and `focal`, (B,) or (1,) focal lengths in pixels
        of the image (0: unknown, which is also what it is where it is left out), to `depth`, (B, 1, H, W), and to the
        network's second output, if it has one.

    Raises:
        BadInput: a network that keeps each photograph's own size.
    """
    rule, kind = model.preprocessing, model.kind
    power = 1.0 if model.focal_power is None else model.focal_power.item()
    graph = _Graph()
    pixels = graph("Cast", graph("Transpose", "image", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    height, width = (graph.side(pixels, axis) for axis in (2, 3))
    if rule.margin:
        rows, columns = (_margin(graph, side, rule.margin) for side in (height, width))
        pixels = _reflected(graph, pixels, rows, columns)
        whole = [graph.side(pixels, axis) for axis in (2, 3)]
    else:
        rows = columns = None
        whole = [height, width]
    # Before the network, so that the photograph need not be held meanwhile.
    brightness = _brightness(graph, pixels) if rule.restore == "guided" else ""
    size = _network_size(graph, whole, rule)
    small = _resized(graph, pixels, size, rule.interpolation, high=255.0)
    normal = graph("Div", small, graph.number(255.0))
    inner = compose.add_prefix(network, "network/")
    graph.nodes.append(helper.make_node("Identity", [normal], [inner.graph.input[0].name]))
    graph.nodes.extend(inner.graph.node)
    depth = inner.graph.output[0].name
    if rule.focal is not None and kind is DepthKind.METRIC:
        depth = graph("Mul", depth, _zoom(graph, whole, size, rule.focal, power))
    if rule.restore == "guided":
        restored = _guided(graph, depth, normal, brightness, whole)
    else:
        restored = _resized(graph, depth, whole, rule.restore)
    if rows is not None and columns is not None:
        restored = _cut(graph, restored, rows, columns, height, width)
    if kind is not DepthKind.RELATIVE:
        # Cubic interpolation overshoots at edges, and nothing is nearer than zero.
        restored = graph("Max", restored, graph("ReduceMin", depth, graph.whole([1, 2, 3]), keepdims=1))
    graph.nodes.append(helper.make_node("Identity", [restored], ["depth"]))
    scores = [each.name for each in inner.graph.output[1:]]
    graph.nodes.extend(helper.make_node("Identity", [each], [OUT_OF_SCOPE]) for each in scores)
    made = helper.make_graph(
        graph.nodes,
        "leadline",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3]),
            helper.make_tensor_value_info("focal", TensorProto.FLOAT, ["cameras"]),
        ],
        [
            helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["batch", 1, "height", "width"]),
            *(helper.make_tensor_value_info(OUT_OF_SCOPE, TensorProto.FLOAT, ["batch"]) for _ in scores),
        ],
        [
            *graph.constants,
            *inner.graph.initializer,
            *([numpy_helper.from_array(np.zeros(1, np.float32), "focal")] if focal_is_optional else []),
        ],
    )
    whole_model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    _cubic_as_products(whole_model)
    onnx.checker.check_model(whole_model)
    return whole_model


def _cubic_as_products(model: Any) -> None:
    """Replace cubic interpolation by two products with matrices of its weights.

    ONNX Runtime's Resize takes a microsecond a pixel for it, ten times as long as products of matrices that are mostly
    zero. A number that is not finite would spread over its row and column.
    """
    graph = _Graph("leadline/cubic_")
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Resize" and (sizes := _cubic_sizes(node)):
            depth = graph("Pad", node.input[0], graph.whole([0, 0, _REACH, _REACH] * 2), mode="edge")
            rows, columns = (_cubic_weights(graph, node.input[0], sizes, axis) for axis in (2, 3))
            products = graph("MatMul", graph("MatMul", rows, depth), graph("Transpose", columns, perm=[1, 0]))
            graph.nodes.append(helper.make_node("Identity", [products], [node.output[0]]))
            nodes += graph.nodes
            graph.nodes = []
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(graph.constants)


def _cubic_sizes(node: Any) -> str:
    """Return the sides that a Resize brings to by PyTorch's bicubic interpolation; empty if it does something else."""
    found = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    is_ours = (
        found.get("mode") == b"cubic"
        and not found.get("antialias")
        and found.get("coordinate_transformation_mode", b"half_pixel") in (b"half_pixel", b"pytorch_half_pixel")
        and not found.get("exclude_outside")
        and "axes" not in found
    )
    return node.input[3] if is_ours and len(node.input) > 3 else ""


_REACH = 2
"""How many pixels away cubic interpolation looks."""
_SHARPNESS = -0.75
"""a of Keys 1981, eq. 4, as PyTorch has it (-1/2 in the paper)."""


def _cubic_weights(graph: "_Graph", images: str, sizes: str, axis: int) -> str:
    """Return the weight of each row (or column) of images, whose edges are repeated, for each one of the result.

    Args:
        graph: where the nodes are added.
        images: (B, C, H, W).
        sizes: the four sides of the result, int64.
        axis: 2 for rows, 3 for columns.

    Returns:
        (sides of the result, sides of the images and four more), Keys 1981, eq. 4.
    """
    last = graph.whole([axis + 1])
    before, after = graph.side(images, axis), graph("Slice", sizes, graph.whole([axis]), last)
    half, one = graph.number(0.5), graph.number(1.0)
    number = [graph("Cast", graph("Squeeze", side), to=TensorProto.FLOAT) for side in (before, after)]
    steps = graph("Range", graph.number(0.0), number[1], one)
    places = graph("Sub", graph("Mul", graph("Add", steps, half), graph("Div", *number)), half)
    padded = graph("Add", number[0], graph.number(float(_REACH)))
    pixels = graph("Range", graph.number(-float(_REACH)), padded, one)
    away = graph("Abs", graph("Sub", graph("Unsqueeze", places, graph.whole([1])), pixels))
    a = _SHARPNESS
    near, far = (_polynomial(graph, away, some) for some in ((a + 2, -a - 3, 0.0, 1.0), (a, -5 * a, 8 * a, -4 * a)))
    outside = graph("Where", graph("Less", away, graph.number(2.0)), far, graph.number(0.0))
    return graph("Where", graph("Less", away, one), near, outside)


def _polynomial(graph: "_Graph", variable: str, factors: Sequence[float]) -> str:
    value = graph.number(factors[0])
    for each in factors[1:]:
        value = graph("Add", graph("Mul", value, variable), graph.number(each))
    return value


def scope_head(graph: Any) -> list[str]:
    """Return the names of the nodes that only the score of what is out of scope depends on.

    Args:
        graph: of what `whole_graph` returned.
    """
    makers = {output: node for node in graph.node for output in node.output}
    return sorted({*_above(OUT_OF_SCOPE, makers)} - {*_above("depth", makers)} - {""})


def _above(tensor: str, makers: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the nodes that a tensor is computed by."""
    waiting, seen = [tensor], set[str]()
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.output[0] not in seen:
            seen.add(node.output[0])
            waiting += node.input
            yield node.name


class _Graph:
    """Nodes and constants, with names that are made up as they come."""

    def __init__(self, prefix: str = "leadline/") -> None:
        self.prefix = prefix
        self.count = 0
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"{self.prefix}{operator}_{self.count}"
        self.count += 1
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def number(self, value: float, of: Any = np.float32) -> str:
        return self._constant(np.array(value, of))

    def whole(self, values: Sequence[int]) -> str:
        return self._constant(np.array(values, np.int64))

    def side(self, tensor: str, axis: int) -> str:
        """A side of a tensor, (1,) int64."""
        return self("Shape", tensor, start=axis, end=axis + 1)

    def array(self, values: np.ndarray) -> str:
        return self._constant(values.astype(np.float32))

    def _constant(self, array: np.ndarray) -> str:
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def _double(graph: _Graph, value: str) -> str:
    return graph("Cast", value, to=TensorProto.DOUBLE)


def _margin(graph: _Graph, side: str, margin: float) -> str:
    """`Preprocessing.margin_for` of one side."""
    root = graph("Sqrt", graph("Div", _double(graph, side), graph.number(2, np.float64)))
    wanted = graph("Cast", graph("Mul", root, graph.number(margin, np.float64)), to=TensorProto.INT64)
    return graph("Min", wanted, graph("Sub", side, graph.whole([1])))


def _reflected(graph: _Graph, pixels: str, rows: str, columns: str) -> str:
    none = graph.whole([0, 0])
    return graph("Pad", pixels, graph("Concat", none, rows, columns, none, rows, columns, axis=0), mode="reflect")


def _cut(graph: _Graph, depth: str, rows: str, columns: str, height: str, width: str) -> str:
    start = graph("Concat", rows, columns, axis=0)
    end = graph("Add", start, graph("Concat", height, width, axis=0))
    return graph("Slice", depth, start, end, graph.whole([2, 3]))


def _network_size(graph: _Graph, whole: Sequence[str], rule: Preprocessing) -> list[str]:
    """`Preprocessing.size_for`."""
    if rule.resize is Resize.OWN:
        multiple = graph.whole([rule.multiple])
        return [graph("Mul", graph("Max", graph("Div", side, multiple), graph.whole([1])), multiple) for side in whole]
    # In double precision, as Python computes: what lies between two multiples must be rounded to the same one.
    sides = [_double(graph, side) for side in whole]
    tall, wide = (
        graph("Div", graph.number(native, np.float64), side) for native, side in zip(rule.size, sides, strict=True)
    )
    match rule.resize:
        case Resize.SAME_AREA:
            tall = wide = graph("Sqrt", graph("Mul", tall, wide))
        case Resize.LOWER_BOUND:
            tall = wide = graph("Max", tall, wide)
        case Resize.UPPER_BOUND:
            tall = wide = graph("Min", tall, wide)
        case Resize.MINIMAL:
            one = graph.number(1, np.float64)
            away = [graph("Abs", graph("Sub", one, scale)) for scale in (wide, tall)]
            tall = wide = graph("Where", graph("Less", *away), wide, tall)
        case Resize.STRETCH:
            pass
    return [
        _rounded(graph, graph("Mul", scale, side), native, rule)
        for scale, side, native in zip((tall, wide), sides, rule.size, strict=True)
    ]


def _rounded(graph: _Graph, side: str, native: int, rule: Preprocessing) -> str:
    """`Preprocessing._rounded`, as (1,) int64."""
    exact = graph("Div", side, graph.number(rule.multiple, np.float64))
    steps = graph("Round", exact)
    if rule.resize is Resize.LOWER_BOUND:
        bound = graph.number(native / rule.multiple, np.float64)
        steps = graph("Where", graph("Less", steps, bound), graph("Ceil", exact), steps)
    if rule.resize is Resize.UPPER_BOUND:
        bound = graph.number(native / rule.multiple, np.float64)
        steps = graph("Where", graph("Greater", steps, bound), graph("Floor", exact), steps)
    steps = graph("Max", graph("Cast", steps, to=TensorProto.INT64), graph.whole([1]))
    return graph("Mul", steps, graph.whole([rule.multiple]))


def _zoom(graph: _Graph, whole: Sequence[str], size: Sequence[str], canonical: float, power: float) -> str:
    """How much farther the network's answer is for the camera than for the canonical one, (cameras, 1, 1, 1); 1 where
    the camera is not known."""
    before, after = (graph("Mul", *(_double(graph, side) for side in sides)) for sides in (whole, size))
    scale = graph("Cast", graph("Sqrt", graph("Div", after, before)), to=TensorProto.FLOAT)
    zoom = graph("Div", graph("Mul", "focal", scale), graph.number(canonical))
    known = graph("Greater", zoom, graph.number(0))
    zoom = graph("Where", known, zoom, graph.number(1))
    if power != 1:
        zoom = graph("Pow", zoom, graph.number(power))
    return graph("Reshape", zoom, graph.whole([-1, 1, 1, 1]))


def _brightness(graph: _Graph, pixels: str) -> str:
    """Return the mean of the channels of pixels in [0, 255], (B, 1, H, W), in [0, 1]."""
    # A product of matrices takes a third of the time of a mean over channels.
    thirds, rows = graph.array(np.full((1, 3), 1 / (3 * 255))), graph("Reshape", pixels, graph.whole([0, 3, -1]))
    sides = [graph("Shape", pixels, start=start, end=end) for start, end in ((0, 1), (2, 4))]
    shape = graph("Concat", sides[0], graph.whole([1]), sides[1], axis=0)
    return graph("Reshape", graph("MatMul", thirds, rows), shape)


def _guided(graph: _Graph, depth: str, seen: str, brightness: str, whole: Sequence[str]) -> str:
    """`leadline.inference.guided.restore_guided`."""

    def halved(maps: str) -> str:
        return graph("AveragePool", maps, kernel_shape=[2, 2], strides=[2, 2])

    def padded(maps: str, pixels: int) -> str:
        return graph("Pad", maps, graph.whole([0, 0, pixels, pixels] * 2), mode="edge")

    def to_neighbours(maps: str) -> str:
        dilated = {"kernel_shape": [3, 3], "dilations": [guided.REACH] * 2}
        return graph("Conv", padded(maps, guided.REACH), kernel, **dilated)

    def spread(value: float) -> str:
        return graph.number(-1 / (2 * value**2))

    def window_mean(maps: str) -> str:
        return graph("AveragePool", padded(maps, 1), kernel_shape=[3, 3], strides=[1, 1])

    kernel = graph.array(guided.neighbour_kernel().numpy())
    axes = graph.whole([1])
    logs, colours = graph("Log", halved(depth)), halved(seen)
    nearest, farthest = (graph(each, logs, graph.whole([2, 3]), keepdims=1) for each in ("ReduceMin", "ReduceMax"))
    sides = graph("Shape", colours, start=2)
    flat = graph("Reshape", colours, graph("Concat", graph.whole([-1, 1]), sides, axis=0))
    of_channels = graph("Reshape", to_neighbours(flat), graph("Concat", graph.whole([-1, 3, 8]), sides, axis=0))
    apart = graph("ReduceSum", graph("Mul", of_channels, of_channels), axes, keepdims=0)
    alike = graph("Mul", apart, spread(guided.COLOUR_SPREAD))
    for _ in range(guided.STEPS):
        away = to_neighbours(logs)
        near = graph("Mul", graph("Mul", away, away), spread(guided.LOG_SPREAD))
        weights = graph("Exp", graph("Add", alike, near))
        moved = graph("ReduceSum", graph("Mul", weights, away), axes, keepdims=1)
        total = graph("Add", graph("ReduceSum", weights, axes, keepdims=1), graph.number(1.0))
        logs = graph("Add", logs, graph("Div", moved, total))
    grey = graph("ReduceMean", colours, axes, keepdims=1)
    mean_grey, mean_logs = window_mean(grey), window_mean(logs)
    covariance = graph("Sub", window_mean(graph("Mul", grey, logs)), graph("Mul", mean_grey, mean_logs))
    variance = graph("Sub", window_mean(graph("Mul", grey, grey)), graph("Mul", mean_grey, mean_grey))
    slope = graph("Div", covariance, graph("Add", variance, graph.number(guided.REGULARISER)))
    level = graph("Sub", mean_logs, graph("Mul", slope, mean_grey))
    # One after the other: of a photograph of 25 megapixels each map takes 100 MB.
    rising = graph("Mul", _resized(graph, window_mean(slope), whole, "bilinear_sharp"), brightness)
    restored = graph("Add", rising, _resized(graph, window_mean(level), whole, "bilinear_sharp"))
    return graph("Exp", graph("Min", graph("Max", restored, nearest), farthest))


_RESIZE: dict[Interpolation, dict[str, Any]] = {
    "bilinear": {"mode": "linear", "antialias": 1, "exclude_outside": 1},
    "bilinear_sharp": {"mode": "linear"},
    "bilinear_corners": {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    "bilinear_inverse": {"mode": "linear"},
    "cubic": {"mode": "cubic", "cubic_coeff_a": -0.75},
    "cubic_smooth": {"mode": "cubic", "cubic_coeff_a": -0.5, "antialias": 1, "exclude_outside": 1},
}
"""Interpolation → attributes of Resize that compute what PyTorch does."""


def _resized(graph: _Graph, images: str, size: Sequence[str], interpolation: Interpolation, high: float = 1.0) -> str:
    """Resize as `leadline.inference.predict` does; `high` is what 1 of an image is here."""
    if interpolation not in _RESIZE:
        raise BadInput(f"An export cannot resize by {interpolation!r}: choose one of {', '.join(_RESIZE)}.")
    sides = graph("Concat", graph("Shape", images, start=0, end=2), *size, axis=0)
    if interpolation == "bilinear_inverse":
        images = graph("Reciprocal", images)
    attributes = _RESIZE[interpolation]
    resized = graph("Resize", images, "", "", sides, **attributes)
    if "antialias" in attributes:
        graph.nodes[-1].name = f"{SMOOTHING}/{graph.count}"
    if interpolation == "bilinear_inverse":
        resized = graph("Reciprocal", resized)
    if interpolation == "cubic_smooth":
        resized = graph("Clip", resized, graph.number(0), graph.number(high))
    return resized

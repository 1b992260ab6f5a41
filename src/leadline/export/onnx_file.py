"""ONNX files: a model with its preprocessing, its weights and what it says of itself."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from leadline.core.errors import BadInput
from leadline.export.network import network_graph, quiet
from leadline.export.onnx_graph import scope_head, whole_graph
from leadline.inference.backends import CONTENT_SHA256, METADATA_KEY, NO_SHA256, content_sha256
from leadline.models.base import DepthModel

LARGEST = 2**31 - 2**20
"""Bytes of a file: the format ends at 2 GiB."""


def write(
    model: DepthModel,
    path: Path,
    precision: str,
    calibration: Sequence[Any],
    about: Mapping[str, Any],
    rounded_from: int,
) -> None:
    """Write a model as ONNX.

    Args:
        model: the model.
        path: the file.
        precision: fp32, fp16 or int8.
        calibration: images for int8.
        about: the metadata.
        rounded_from: weights of more numbers than this become float16 in fp16.

    Raises:
        BadInput: the network cannot be exported, or is too large for the format.
    """
    graph = whole_graph(stored_network(model, precision, rounded_from), model)
    if graph.ByteSize() > LARGEST:
        raise BadInput(f"{path} would have more than 2 GB, and ONNX keeps no more in one file: give --precision fp16.")
    save(graph, path, about)
    if precision == "int8":
        quantise(path, calibration)
        label(path, about)


def stored_network(model: DepthModel, precision: str, rounded_from: int) -> Any:
    """Return the network as an `onnx.ModelProto` whose weights are stored as a precision wants it.

    Args:
        model: the model.
        precision: fp32, fp16 or int8.
        rounded_from: weights of more numbers than this become float16 in fp16.
    """
    network = network_graph(model)
    # The quantisers want weights as they are.
    return network if precision == "int8" else in_half(network, None if precision == "fp32" else rounded_from)


def label(path: Path, about: Mapping[str, Any]) -> None:
    """Replace the metadata of a file."""
    save(onnx.load(path), path, about)


def save(graph: Any, path: Path, about: Mapping[str, Any]) -> None:
    """Write a graph with its metadata, and no others; the same graph always becomes the same bytes.

    Args:
        graph: an `onnx.ModelProto`, which is changed.
        path: the file.
        about: the metadata.
    """
    del graph.metadata_props[:]
    about = {**about, "export": {**about["export"], CONTENT_SHA256: NO_SHA256}}
    helper.set_model_props(graph, {METADATA_KEY: json.dumps(about)})
    graph.producer_name = "leadline"
    graph.doc_string = ""
    path.write_bytes(graph.SerializeToString(deterministic=True))
    helper.set_model_props(graph, {METADATA_KEY: json.dumps(about).replace(NO_SHA256, content_sha256(path))})
    path.write_bytes(graph.SerializeToString(deterministic=True))


def quantise(path: Path, calibration: Sequence[Any]) -> None:
    """Compute the network's convolutions and products in 8 bits, by ONNX Runtime's static quantiser.

    Weights get a scale per channel and 7 bits: without VNNI a processor adds two products of 8 bits in 16, which then
    hold them. The first convolutions, the scope head and what is around the network stay as they are.
    """
    import onnxruntime
    from onnxruntime import quantization

    graph = onnx.load(path).graph
    chosen, _ = nodes_in_8_bits(graph)
    feeds = iter([{"image": image[None]} for image in calibration])

    class Images(quantization.CalibrationDataReader):
        def get_next(self) -> Any:
            return next(feeds, None)

    whole = path.with_name(f"whole{path.suffix}")
    path.replace(whole)
    # That the focal length is an input with a default is no fault, as its calibration says.
    onnxruntime.set_default_logger_severity(_ERRORS)
    try:
        with quiet():
            quantization.quantize_static(
                whole,
                path,
                Images(),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                nodes_to_quantize=chosen,
            )
    finally:
        onnxruntime.set_default_logger_severity(_WARNINGS)
        whole.unlink()
    path.write_bytes(_with_inputs_of(graph, onnx.load(path)).SerializeToString())


_WARNINGS, _ERRORS = 2, 3
"""Severities of ONNX Runtime; warnings are its default."""


def nodes_in_8_bits(graph: Any) -> tuple[list[str], list[str]]:
    """Return the names of the convolutions and products that are quantised, and of the network's nodes that are not.

    Args:
        graph: of what `whole_graph` returned.
    """
    head = scope_head(graph)
    networks = [node for node in graph.node if node.name.startswith("network/") and node.op_type in _IN_8_BITS]
    names = [node.name for node in networks if node.name not in head]
    first = names[:_FIRST_IN_FLOAT] if len(names) > _FIRST_IN_FLOAT else []
    return names[len(first) :], [*first, *head]


def _with_inputs_of(source: Any, model: Any) -> Any:
    """Return a model with the inputs of another graph: the quantiser drops what no node takes, here the camera's."""
    missing = {each.name for each in source.input} - {each.name for each in model.graph.input}
    model.graph.input.extend(each for each in source.input if each.name in missing)
    model.graph.initializer.extend(each for each in source.initializer if each.name in missing)
    return model


_IN_8_BITS = ("Conv", "MatMul", "Gemm")
_FIRST_IN_FLOAT = 2
"""How many of the first convolutions are not quantised. The second one of a MobileNet takes each channel by itself, and
one range of numbers suits them badly: `leadline_small` lost 0.085 of δ1 by it."""


def in_half(graph: Any, rounded_from: int | None) -> Any:
    """Store weights as float16, from which they are made float32 when the file is opened.

    Args:
        graph: the network.
        rounded_from: weights of more numbers than this are rounded; None: only what float16 holds exactly becomes that,
            which is most of a model that was saved by halves.
    """
    kept, casts = [], []
    for tensor in graph.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            with np.errstate(over="ignore"):
                halves = values.astype(np.float16)
            is_exact = values.size > 16 and np.array_equal(halves, values)
            if is_exact or (rounded_from is not None and values.size > rounded_from and np.isfinite(halves).all()):
                stored = f"{tensor.name}/half"
                kept.append(numpy_helper.from_array(halves, stored))
                casts.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
                continue
        kept.append(tensor)
    nodes = [*casts, *graph.graph.node]
    del graph.graph.initializer[:], graph.graph.node[:]
    graph.graph.initializer.extend(kept)
    graph.graph.node.extend(nodes)
    return graph

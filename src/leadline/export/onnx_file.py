"""ONNX files: a model with its preprocessing, its weights and what it says of itself."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from leadline.core.errors import BadInput
from leadline.export.network import network_graph
from leadline.export.onnx_graph import whole_graph
from leadline.inference.backends import METADATA_KEY
from leadline.models.base import DepthModel

LARGEST = 2**31 - 2**20
"""Bytes of a file: the format ends at 2 GiB."""


def write(model: DepthModel, path: Path, precision: str, calibration: Sequence[Any], about: Mapping[str, Any]) -> None:
    """Write a model as ONNX.

    Args:
        model: the model.
        path: the file.
        precision: fp32, fp16 or int8.
        calibration: images for int8.
        about: the metadata.

    Raises:
        BadInput: the network cannot be exported, or is too large for the format.
    """
    graph = whole_graph(_compact(network_graph(model)), model.preprocessing, model.kind)
    if graph.ByteSize() > LARGEST:
        raise BadInput(f"{path} would have more than 2 GB, and ONNX keeps no more in one file: give --precision fp16.")
    _save(graph, path, about)


def label(path: Path, about: Mapping[str, Any]) -> None:
    """Replace the metadata of a file."""
    _save(onnx.load(path), path, about)


def _save(graph: Any, path: Path, about: Mapping[str, Any]) -> None:
    del graph.metadata_props[:]
    helper.set_model_props(graph, {METADATA_KEY: json.dumps(about)})
    graph.producer_name = "leadline"
    graph.doc_string = ""
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _compact(graph: Any) -> Any:
    """Store weights as float16 where that holds each of them exactly, as those of models that were saved by halves."""
    kept, casts = [], []
    for tensor in graph.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            halves = values.astype(np.float16)
            if values.size > 16 and np.array_equal(halves.astype(np.float32), values):
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

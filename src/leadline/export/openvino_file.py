"""OpenVINO files: the graph of the ONNX file, with the smoothing that OpenVINO's reader of ONNX leaves out."""

import io
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.errors import BadInput
from leadline.export import onnx_file
from leadline.export.network import quiet
from leadline.export.onnx_graph import SMOOTHING, whole_graph
from leadline.inference.backends import WEIGHTS_SHA256
from leadline.inference.openvino_runner import METADATA_PATH, import_openvino
from leadline.io.outputs import file_sha256
from leadline.models.base import DepthModel


def write(
    model: DepthModel,
    path: Path,
    precision: str,
    calibration: Sequence[Any],
    about: Mapping[str, Any],
    rounded_from: int,
) -> None:
    """Write a model as OpenVINO's .xml and .bin.

    Args:
        model: the model.
        path: the .xml file.
        precision: fp32, fp16 or int8.
        calibration: images for int8.
        about: the metadata.
        rounded_from: weights of more numbers than this become float16 in fp16.

    Raises:
        BadInput: OpenVINO is not installed, or the network cannot be exported.
    """
    runtime = _openvino()
    source = path.with_suffix(".onnx")
    network = onnx_file.stored_network(model, precision, rounded_from)
    graph = whole_graph(network, model, focal_is_optional=False)
    onnx_file.save(graph, source, about)
    read = runtime.Core().read_model(source)
    _smooth(runtime, read)
    if precision == "int8":
        read = _quantised(read, calibration, onnx_file.nodes_in_8_bits(graph.graph)[1])
    read.set_rt_info(json.dumps(about), METADATA_PATH)
    runtime.save_model(read, path, compress_to_fp16=False)  # of all weights, also of those that must not be
    source.unlink()


def label(path: Path, about: Mapping[str, Any]) -> None:
    """Replace the metadata of a file; the hash of its weights, which are in the other file, is added to it."""
    runtime = _openvino()
    model = runtime.Core().read_model(path)
    weights_sha256 = file_sha256(path.with_suffix(".bin"))
    about = {**about, "export": {**about["export"], WEIGHTS_SHA256: weights_sha256}}
    model.set_rt_info(json.dumps(about), METADATA_PATH)
    labelled = path.with_name(f"labelled{path.suffix}")
    runtime.save_model(model, labelled, compress_to_fp16=False)
    del model  # it maps the weights of the file
    if file_sha256(labelled.with_suffix(".bin")) != weights_sha256:
        raise RuntimeError(f"OpenVINO has written other weights for {path} than it read")
    for suffix in (".bin", ".xml"):
        labelled.with_suffix(suffix).replace(path.with_suffix(suffix))


def _openvino() -> Any:
    try:
        return import_openvino()
    except ImportError as problem:
        raise BadInput("openvino is not installed: pip install 'leadline[cpu]'") from problem


def _quantised(model: Any, calibration: Sequence[Any], in_float: Sequence[str]) -> Any:
    """Compute the network in 8 bits, by NNCF's static quantiser; what is around the network stays as it is.

    So do the two products of an attention: OpenVINO computes them and the softmax between them at once, in floats, and
    rounding what goes in and comes out costs time and accuracy.

    Args:
        model: as OpenVINO has read it.
        calibration: images.
        in_float: nodes of the network that stay as they are, too.
    """
    os.environ.setdefault("NNCF_CI", "1")  # or else it reports its use to its makers
    try:
        with quiet():
            import nncf
    except ImportError as problem:
        raise BadInput("int8 for OpenVINO needs nncf: pip install 'leadline[export]'") from problem
    unknown = np.zeros(1, np.float32)
    # OpenVINO reads a convolution with a bias as two nodes, NAME/WithoutBiases and NAME.
    kept = [
        "leadline/.*",
        *(f"{re.escape(name)}(/.*)?" for name in in_float),
        *(re.escape(node.get_friendly_name()) for node in model.get_ordered_ops() if _multiplies_activations(node)),
    ]
    # Steps that are alike on both sides of 0 came nearer to `leadline_small`; NNCF advises others after a GELU.
    is_lopsided = any(node.get_type_name() in ("Gelu", "Erf") for node in model.get_ordered_ops())
    logging.getLogger("nncf").setLevel(logging.ERROR)
    # Its progress bars go to standard output, among what a command says.
    with redirect_stdout(io.StringIO()), quiet():
        return nncf.quantize(
            model,
            nncf.Dataset([{"image": image[None], "focal": unknown} for image in calibration]),
            subset_size=len(calibration),
            preset=nncf.QuantizationPreset.MIXED if is_lopsided else nncf.QuantizationPreset.PERFORMANCE,
            ignored_scope=nncf.IgnoredScope(patterns=kept, validate=False),
        )


def _smooth(runtime: Any, model: Any) -> None:
    """Replace what was read of a Resize that smooths by OpenVINO's operation that does."""
    from openvino import opset11, opset13

    for node in list(model.get_ordered_ops()):
        if node.get_type_name() == "Interpolate" and node.get_friendly_name().startswith(SMOOTHING):
            is_cubic = "cubic" in str(node.get_attributes()["mode"])
            sides = opset13.gather(
                node.input_value(1), opset13.constant([-2, -1], np.int64), opset13.constant(0, np.int64)
            )
            smooth = opset11.interpolate(
                node.input_value(0),
                sides,
                mode="bicubic_pillow" if is_cubic else "bilinear_pillow",
                shape_calculation_mode="sizes",
                axes=opset13.constant([2, 3], np.int64),
                cube_coeff=-0.5,
            )
            smooth.set_friendly_name(
                f"{node.get_friendly_name()}/by_pillow"
            )  # so that it is known as around the network
            for target in node.output(0).get_target_inputs():
                target.replace_source_output(smooth.output(0))
    model.validate_nodes_and_infer_types()


def _multiplies_activations(node: Any) -> bool:
    """Whether a node is a matrix product of which neither side is a weight."""
    sides = map(_origin, node.input_values()) if node.get_type_name() == "MatMul" else ()
    kinds = [side.get_type_name() for side in sides]
    return bool(kinds) and "Constant" not in kinds


def _origin(value: Any) -> Any:
    """The node that a value comes from, before it was moved or converted."""
    node = value.get_node()
    while node.get_type_name() in ("Convert", "Reshape", "Transpose"):
        node = node.input_value(0).get_node()
    return node

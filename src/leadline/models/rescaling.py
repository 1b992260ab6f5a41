"""Rescaling: a metric network whose output is multiplied by one factor, exactly, in its own weights."""

import math

import torch
from torch import nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.models.base import DepthModel
from leadline.models.heads import InverseReadout, bounded_log_offset
from leadline.models.registry import build


def rescale(model: DepthModel, factor: float) -> DepthModel:
    """Build the same network with all metres multiplied by `factor`, bounds included.

    A head in log depth moves its bounds, and the bias of its last convolution by what that shifts; a read-out of
    inverse depth divides both of its numbers.

    Args:
        model: metric depth, with a head in log depth or a read-out.
        factor: positive.

    Returns:
        A new model in evaluation mode.

    Raises:
        BadInput: the factor is not positive, or the head has no such form.
    """
    if not 0 < factor < math.inf:
        raise BadInput(f"A scale of {factor:g}: give a positive number.")
    if model.kind is not DepthKind.METRIC:
        raise BadInput(f"{model.name!r} outputs {model.kind.value} depth: only metres have a scale to correct.")
    arguments = dict(model.arguments)
    if arguments.get("head") == "log":
        arguments |= {bound: factor * arguments[bound] for bound in ("min_depth", "max_depth")}
    elif not arguments.get("readout"):
        raise BadInput(
            f"The head of {model.name!r} has no factor to change: finetune it with a head in log depth "
            "(--model start:MODEL,head=log)."
        )
    scaled = build(model.name, **arguments)
    scaled.load_state_dict(model.state_dict())
    scaled.set_preprocessing(model.preprocessing)
    scaled.provenance = model.provenance
    scaled.weight_bits = model.weight_bits
    with torch.no_grad():
        if arguments.get("head") == "log":
            before, after = (
                bounded_log_offset(each["min_depth"], each["max_depth"]) for each in (model.arguments, arguments)
            )
            *_, last = (each for each in scaled.get_submodule("head").modules() if isinstance(each, nn.Conv2d))
            last.get_parameter("bias").add_(before - after)
        else:
            readout = scaled.get_submodule("readout")
            assert isinstance(readout, InverseReadout)
            readout.log_scale.sub_(math.log(factor))
            readout.log_shift.sub_(math.log(factor))
    return scaled.eval()

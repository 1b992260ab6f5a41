"""ONNX operators for what PyTorch's exporter writes in a form that runtimes do not recognise."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch


def translations() -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """Return operations of PyTorch → functions that write them, for `torch.onnx.export`."""
    return {
        torch.ops.aten.scaled_dot_product_attention.default: _attention,
        torch.ops.aten.gelu.default: _gelu,
    }


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Write softmax(q kᵀ s) v as two products and a softmax, which runtimes fuse.

    The exporter transposes keys by way of their shape, and looks for NaN where there is a mask.
    """
    from onnxscript.function_libs.torch_lib.ops import nn
    from onnxscript.onnx_opset import opset18

    op: Any = opset18
    if attn_mask is not None or is_causal or enable_gqa or len(query.shape) != 4:
        return nn.aten_scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
        )
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scaled = op.Mul(query, op.Constant(value_float=factor))
    return op.MatMul(op.Softmax(op.MatMul(scaled, op.Transpose(key, perm=[0, 1, 3, 2])), axis=-1), value)


def _gelu(self: Any, approximate: str = "none") -> Any:
    """Write x (1 + erf(x / √2)) / 2 in the order that runtimes fuse."""
    from onnxscript.function_libs.torch_lib.ops import nn
    from onnxscript.onnx_opset import opset18

    op: Any = opset18
    if approximate != "none":
        return nn.aten_gelu(self, approximate)
    cumulative = op.Add(op.Erf(op.Div(self, op.Constant(value_float=math.sqrt(2)))), op.Constant(value_float=1.0))
    return op.Mul(op.Mul(self, cumulative), op.Constant(value_float=0.5))

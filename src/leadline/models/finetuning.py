"""Finetuning: a network that predicts relative depth as the start of one that predicts metres."""

from dataclasses import replace

import torch
from torch import nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.models.base import DepthModel
from leadline.models.registry import build


def with_metric_head(
    model: DepthModel, *, head: str = "log", min_depth: float = 0.1, max_depth: float = 100.0
) -> DepthModel:
    """Build the same network for metres: all its weights but those of the last convolution, which starts afresh.

    The source paper finetunes MiDaS to metres. The last convolution begins near zero, so the network first answers the
    typical indoor depth everywhere, whatever the numbers of the relative network were.

    Args:
        model: any network of ours, an official MiDaS or DPT, or a network of the hub that predicts inverse depth.
        head: "log" or "softplus", as `leadline.models.heads.output_activation`; a network of the hub keeps its whole
            head and has `leadline.models.heads.InverseReadout` after it.
        min_depth: metres that the output never falls below.
        max_depth: metres that it never exceeds.

    Returns:
        The network, in training mode.

    Raises:
        BadInput: the network has no such head.
    """
    if model.name == "hub" and model.kind is DepthKind.RELATIVE:
        return _with_readout(model)
    options = {"kind": DepthKind.METRIC.value, "head": head, "min_depth": min_depth, "max_depth": max_depth}
    if missing := options.keys() - model.arguments.keys():
        raise BadInput(
            f"{model.name!r} cannot be given a head in metres (it has no {', '.join(sorted(missing))}): start from "
            "cnn, hybrid, midas_v21, midas_small, dpt_large, dpt_hybrid, or a relative network of the hub."
        )
    metric = build(model.name, **{**model.arguments, **options})
    last = [
        name for name, module in metric.named_modules() if name.startswith("head.") and isinstance(module, nn.Conv2d)
    ]
    fresh = metric.get_submodule(last[-1])
    assert isinstance(fresh, nn.Conv2d)
    kept = {key: value for key, value in model.state_dict().items() if not key.startswith(f"{last[-1]}.")}
    metric.load_state_dict(kept, strict=False)
    nn.init.normal_(fresh.weight, std=0.01)
    if fresh.bias is not None:
        nn.init.zeros_(fresh.bias)
    if model.preprocessing.focal is None:
        metric.set_preprocessing(replace(metric.preprocessing, focal=None))
    encoder = model.provenance.encoder or model.provenance.training_data
    metric.provenance = replace(model.provenance, encoder=encoder, figures={})
    return metric.train()


def _with_readout(model: DepthModel) -> DepthModel:
    """A network of the hub, and a read-out of metres whose unit is the median of what it outputs for noise."""
    metric = build("hub", **{**model.arguments, "kind": DepthKind.METRIC.value, "readout": True})
    metric.load_state_dict(model.state_dict(), strict=False)
    noise = torch.rand(1, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        middle = model.eval()(noise).median().clamp_min(1e-6)
    metric.get_submodule("readout").get_buffer("unit").copy_(middle)
    encoder = model.provenance.encoder or model.provenance.training_data or "a network of the hub"
    metric.provenance = replace(model.provenance, encoder=encoder, figures={})
    return metric.train()

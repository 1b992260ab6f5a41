"""Pruning: a convolutional network with fewer channels, which reconstruct the outputs of the next layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from leadline.compression.channels import ChannelRanking, LayerSamples, rank_by_lasso
from leadline.core.errors import BadInput
from leadline.core.progress import track
from leadline.core.ranges import Within, check_value
from leadline.models.base import DepthModel
from leadline.models.decoders import FusionModel
from leadline.models.names import PRUNED
from leadline.models.registry import build, build_on_meta
from leadline.models.scope import without_scope
from leadline.models.widths import changed_widths, is_depthwise, widths_of

PRUNABLE = "cnn with a convolutional encoder (a MobileNet, an EfficientNet, a ResNet), midas_v21 and midas_small"
"""What can be pruned, in words."""
POSITIONS = 48
"""Positions of each layer that are looked at in a calibration image: He et al. 2017 take 10."""
_BATCH = 8
_LEAST = 2
"""Channels that every layer keeps."""


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that go together, as outputs of layers that are added to each other do, and who reads them."""

    count: int
    root: str
    """A convolution that makes them."""
    readers: tuple[str, ...]
    """Convolutions that mix them, and read nothing else."""
    members: Mapping[str, tuple[bool, bool]]
    """Layer whose width they are → whether they come in, and whether they go out."""


def prune(
    model: DepthModel,
    images: Float[Tensor, "N 3 H W"],
    keep: float,
    *,
    rank: ChannelRanking = rank_by_lasso,
) -> DepthModel:
    """Build the network with fewer channels that needs at most a fraction of the multiply-adds (He et al. 2017).

    How many channels each group keeps follows from how much worse the outputs of the layers that read them are then
    reconstructed, for the multiply-adds that it saves. Group by group, from the image to the depth, the channels that
    `rank` puts first are kept, and the weights of these layers are fitted to the outputs of the unpruned network.

    Args:
        model: a trained `FusionModel` of convolutions and batch normalisations.
        images: calibration images, RGB in [0, 1], at a size that the model takes; no ground truth is needed.
        keep: the fraction of the multiply-adds, between 0 and 1.
        rank: which channels of a group are kept first.

    Returns:
        The pruned network, in evaluation mode, without a scope head.

    Raises:
        BadInput: the fraction is out of range or cannot be reached, the model cannot be pruned, there are no images,
            or torch-pruning is not installed.
    """
    check_value("keep", keep, [Within(0, 1, above=True, below=True)])
    if not len(images):
        raise BadInput("Pruning needs calibration images: there are none.")
    check_prunable(model)
    check_installed()
    model = without_scope(model)
    original = deepcopy(model).cpu().eval().requires_grad_(False)
    pruned = deepcopy(original)
    graph, groups = _channel_groups(pruned, images[:1])
    areas = _areas(original, images[:1])
    _check_reach(original, groups, areas, keep)
    surgeon = _Surgeon(original, pruned, graph, images)
    groups = surgeon.in_order(groups)
    errors = {group.root: surgeon.errors(group) for group in track(groups, len(groups), "layers", "measuring")}
    counts = _counts(original, groups, areas, errors, keep)
    for group in track(groups, len(groups), "layers", "pruning"):
        surgeon.prune(group, counts[group.root], rank)
    outline = build_on_meta(model.name, **model.arguments)
    made = build(model.name, **{**model.arguments, PRUNED: changed_widths(pruned, outline)})
    made.load_state_dict(pruned.state_dict())
    made.set_preprocessing(model.preprocessing)
    made.provenance = model.provenance
    return made.eval()


def check_prunable(model: DepthModel) -> None:
    """Refuse a network that `prune` cannot represent.

    Raises:
        BadInput: it is pruned already, or is none of convolutions and batch normalisations alone.
    """
    if PRUNED in model.arguments:
        raise BadInput(
            f"This {model.name!r} is pruned already: give the model that it was made of, and a smaller keep."
        )
    if model.weight_bits:
        raise BadInput(
            f"This {model.name!r} has weights of {model.weight_bits} bits: prune the model that it was made of, and "
            "quantise the pruned one."
        )
    others = sorted({type(each).__name__ for each in model.modules() if _has_weights(each) and not _is_plain(each)})
    if others or not isinstance(model, FusionModel):
        reason = f"it has layers of type {', '.join(others)}" if others else "its layers are wired in its own way"
        raise BadInput(f"{model.name!r} cannot be pruned ({reason}). These can: {PRUNABLE}.")


def check_reach(model: DepthModel, keep: float) -> None:
    """Refuse a fraction of the multiply-adds that no pruning of a network reaches, before anything is read or written.

    Args:
        model: what `check_prunable` lets pass.
        keep: the fraction, between 0 and 1.

    Raises:
        BadInput: it is out of range or cannot be reached, or torch-pruning is not installed.
    """
    check_value("keep", keep, [Within(0, 1, above=True, below=True)])
    check_installed()
    original = deepcopy(without_scope(model)).cpu().eval().requires_grad_(False)
    image = torch.zeros(1, 3, *model.preprocessing.size)
    _check_reach(original, _channel_groups(deepcopy(original), image)[1], _areas(original, image), keep)


def check_installed() -> None:
    """Refuse to begin where the libraries of the extra `compress` are not installed.

    Raises:
        BadInput: one of them is not.
    """
    for module, library in (("torch_pruning", "torch-pruning"), ("sklearn", "scikit-learn")):
        if find_spec(module) is None:
            raise BadInput(f"Pruning needs {library}: pip install 'leadline[compress]'.")


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def _is_plain(module: nn.Module) -> bool:
    """Tell whether a layer computes with its weights as they are: timm has convolutions that standardise them."""
    is_standardised = "Std" in type(module).__name__
    return isinstance(module, nn.Conv2d | nn.BatchNorm2d) and not is_standardised


def _channel_groups(model: DepthModel, image: Tensor) -> tuple[Any, list[ChannelGroup]]:
    """Trace which channels depend on each other, with torch-pruning (Fang et al. 2023)."""
    import torch_pruning

    names = {module: name for name, module in model.named_modules()}
    with torch.enable_grad():
        model.requires_grad_(True)
        graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=image)
        model.requires_grad_(False)
    found = []
    for group in graph.get_all_groups(root_module_types=[nn.Conv2d]):
        root = group[0].dep.target.module
        count = root.out_channels
        readers: list[str] = []
        members: dict[str, tuple[bool, bool]] = {}
        is_whole = count > _LEAST
        for dependency, places in group:
            layer = dependency.target.module
            if layer not in names:
                continue
            is_output = graph.is_out_channel_pruning_fn(dependency.handler)
            is_input = graph.is_in_channel_pruning_fn(dependency.handler)
            # A grouped convolution ties its channels to each other, and so does a concatenation: they keep them all.
            is_whole &= len(places) == count and (is_depthwise(layer) or getattr(layer, "groups", 1) == 1)
            is_whole &= count == widths_of(layer)[0 if is_input else -1]
            name = names[layer]
            entering, leaving = members.get(name, (False, False))
            both = is_depthwise(layer) or isinstance(layer, nn.BatchNorm2d)
            members[name] = (entering or is_input or both, leaving or is_output or both)
            if isinstance(layer, nn.Conv2d) and is_input and not is_depthwise(layer):
                readers.append(name)
        if is_whole and readers:
            found.append(ChannelGroup(count, names[root], tuple(readers), members))
    return graph, found


def _areas(model: DepthModel, image: Tensor) -> dict[str, int]:
    """Return the positions of each convolution's output in one image of the model's own size."""
    areas: dict[str, int] = {}
    convolutions = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    with _watching(convolutions, lambda name, _, out: areas.update({name: out.shape[-2] * out.shape[-1]})):
        _compute(model, image)
    return areas


def _check_reach(model: DepthModel, groups: Sequence[ChannelGroup], areas: Mapping[str, int], keep: float) -> None:
    layers = {name: layer for name, layer in model.named_modules() if name in areas}
    least = _cost(layers, areas, {group.root: _LEAST for group in groups}, groups) / _cost(layers, areas, {}, groups)
    if least > keep:
        raise BadInput(
            f"keep={keep:g}: with {_LEAST} channels in every layer that can be pruned, {model.name!r} still needs "
            f"{least:.1%} of its multiply-adds. Give a larger keep."
        )


def _counts(
    model: DepthModel,
    groups: Sequence[ChannelGroup],
    areas: Mapping[str, int],
    errors: Mapping[str, Mapping[int, float]],
    keep: float,
) -> dict[str, int]:
    """Return how many channels each group keeps, by its root.

    The group goes down a step whose error grows least for the multiply-adds saved, until `keep` is reached.

    Args:
        model: the unpruned network.
        groups: its groups.
        areas: of `_areas`.
        errors: root → count of channels, from all down → error of the layers that read them.
        keep: the fraction of the multiply-adds.
    """
    layers = {name: layer for name, layer in model.named_modules() if name in areas}
    most = keep * _cost(layers, areas, {}, groups)
    chosen = {group.root: group.count for group in groups}
    steps = {root: list(known) for root, known in errors.items()}
    before = dict(chosen)
    while (now := _cost(layers, areas, chosen, groups)) > most:
        best, rate = "", 0.0
        for root, counts in steps.items():
            place = counts.index(chosen[root])
            if place + 1 == len(counts):
                continue
            saved = now - _cost(layers, areas, {**chosen, root: counts[place + 1]}, groups)
            grown = errors[root][counts[place + 1]] - errors[root][counts[place]]
            if saved > 0 and (not best or grown / saved < rate):
                best, rate = root, grown / saved
        before[best] = chosen[best]
        chosen[best] = steps[best][steps[best].index(chosen[best]) + 1]
    # Steps are coarse: channels of the last ones come back as far as they fit.
    for root in sorted(chosen, key=lambda each: before[each] - chosen[each]):
        while chosen[root] < before[root]:
            more = {**chosen, root: chosen[root] + 1}
            if _cost(layers, areas, more, groups) > most:
                break
            chosen = more
    return chosen


def _cost(
    layers: Mapping[str, nn.Module], areas: Mapping[str, int], counts: Mapping[str, int], groups: Sequence[ChannelGroup]
) -> int:
    """Return the multiply-adds of all convolutions where the groups keep these counts."""
    gone_in: dict[str, int] = {}
    gone_out: dict[str, int] = {}
    for group in groups:
        gone = group.count - counts.get(group.root, group.count)
        for name, (entering, leaving) in group.members.items():
            gone_in[name] = gone_in.get(name, 0) + gone * entering
            gone_out[name] = gone_out.get(name, 0) + gone * leaving
    total = 0
    for name, layer in layers.items():
        assert isinstance(layer, nn.Conv2d)
        entering, leaving = (
            each - gone.get(name, 0) for each, gone in zip(widths_of(layer), (gone_in, gone_out), strict=True)
        )
        per_output = 1 if is_depthwise(layer) else entering // layer.groups
        total += areas[name] * leaving * per_output * layer.kernel_size[0] * layer.kernel_size[1]
    return total


class _Surgeon:
    """Prune one group after the other, and remember which channels of the original the network still has."""

    def __init__(self, original: DepthModel, pruned: DepthModel, graph: Any, images: Tensor) -> None:
        self.pruned, self.graph, self.images = pruned, graph, images
        self.layers = {name: layer for name, layer in pruned.named_modules() if isinstance(layer, nn.Conv2d)}
        self.left = {name: torch.arange(layer.out_channels) for name, layer in self.layers.items()}
        """Convolution → which of the original's outputs it still has."""
        self.targets: dict[str, list[Tensor]] = {name: [] for name in self.layers}
        """Convolution → what it gave in the original network, by batch: (positions, outputs)."""
        self.order: list[str] = []
        """Convolutions as they compute."""
        convolutions = {name: layer for name, layer in original.named_modules() if isinstance(layer, nn.Conv2d)}
        with _watching(convolutions, self._remember):
            for batch in images.split(_BATCH):
                _compute(original, batch)

    def in_order(self, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
        """Sort groups from the image to the depth, by the first layer that reads them."""
        place = {name: number for number, name in enumerate(dict.fromkeys(self.order))}
        return sorted(groups, key=lambda group: min(place[name] for name in group.readers))

    def errors(self, group: ChannelGroup) -> dict[int, float]:
        """Return the error of the layers that read a group, for counts of channels from all down to the least."""
        samples = list(self._samples(group).values())
        ranked = rank_by_lasso(samples)
        counts = {max(round(group.count * tenth / 10), _LEAST): tenth for tenth in range(9, -1, -1)}
        return {group.count: 0.0} | {
            count: sum(each.error(ranked[:count], each.refit(ranked[:count])) for each in samples) for count in counts
        }

    def prune(self, group: ChannelGroup, count: int, rank: ChannelRanking) -> None:
        """Keep `count` channels of a group, and fit the layers that read them."""
        if count >= group.count:
            return
        samples = self._samples(group)
        kept = sorted(rank(list(samples.values()))[:count])
        weights = {name: each.refit(kept) for name, each in samples.items()}
        gone = sorted(set(range(group.count)) - set(kept))
        places = torch.tensor(kept)
        owned = {
            name: self.left[name][places]
            for name, (_, leaving) in group.members.items()
            if name in self.left and leaving
        }
        self._cut(group.root, gone)
        self.left.update(owned)
        for name, weight in weights.items():
            layer = self.layers[name]
            layer.weight.data.copy_(weight.permute(2, 0, 1).unflatten(2, layer.kernel_size))

    def _cut(self, root: str, gone: list[int]) -> None:
        import torch_pruning

        layer = self.layers[root]
        self.graph.get_pruning_group(layer, torch_pruning.prune_conv_out_channels, idxs=gone).prune()

    def _samples(self, group: ChannelGroup) -> dict[str, LayerSamples]:
        """Run the network as it is now, and collect what the group's readers see and what they should give."""
        batches: dict[str, list[Tensor]] = {name: [] for name in group.readers}
        last = max(group.readers, key=self.order.index)

        def see(name: str, entered: Tensor, out: Tensor) -> None:
            batches[name].append(_patches(self.layers[name], entered, out))
            if name == last:
                raise _SeenEnough

        with _watching({name: self.layers[name] for name in group.readers}, see):
            for batch in self.images.split(_BATCH):
                with suppress(_SeenEnough):
                    _compute(self.pruned, batch)
        samples = {}
        for name, inputs in batches.items():
            weight = self.layers[name].weight.detach().flatten(2).permute(1, 2, 0)
            samples[name] = LayerSamples(weight, torch.cat(inputs), torch.cat(self.targets[name])[:, self.left[name]])
        return samples

    def _remember(self, name: str, _: Tensor, out: Tensor) -> None:
        self.order.append(name)
        bias = self.layers[name].bias
        out = out if bias is None else out - bias.detach()[:, None, None]
        flat = out.flatten(2)
        self.targets[name].append(flat[:, :, _positions(flat.shape[-1])].permute(0, 2, 1).flatten(0, 1))


class _SeenEnough(Exception):
    """Ends a forward pass after the last layer that is looked at."""


def _positions(count: int) -> Tensor:
    """Return the numbers of the positions that are looked at, evenly spread; the same in every network and image."""
    return torch.linspace(0, count - 1, min(count, POSITIONS)).round().long()


def _patches(layer: nn.Conv2d, entered: Tensor, out: Tensor) -> Tensor:
    """Return what the inputs of a convolution bring to the positions that are looked at, (B positions, n, taps)."""
    (tall, wide), (down, right), (dilate_down, dilate_right) = layer.kernel_size, layer.stride, layer.dilation
    if type(layer) is nn.Conv2d:
        above, left = layer.padding if isinstance(layer.padding, tuple) else (0, 0)
        entered = F.pad(entered, (left, left, above, above))
    else:
        # timm's convolutions that pad as TensorFlow does, by the size of what comes in.
        from timm.layers.padding import pad_same

        entered = pad_same(entered, list(layer.kernel_size), list(layer.stride), list(layer.dilation))
    height, width = out.shape[-2:]
    places = _positions(height * width)
    rows, columns = places // width, places % width
    rows = rows[:, None, None] * down + torch.arange(tall)[:, None] * dilate_down
    columns = columns[:, None, None] * right + torch.arange(wide) * dilate_right
    return entered[:, :, rows, columns].permute(0, 2, 1, 3, 4).flatten(3).flatten(0, 1)


@torch.no_grad()
def _compute(model: DepthModel, images: Tensor) -> None:
    model(images)


@contextmanager
def _watching(layers: Mapping[str, nn.Module], see: Callable[[str, Tensor, Tensor], Any]) -> Iterator[None]:
    """Call `see(name, what enters, what leaves)` whenever one of these layers computes."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, entered, left: see(name, entered[0], left) and None

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

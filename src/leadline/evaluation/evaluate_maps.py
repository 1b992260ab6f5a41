"""Evaluate predicted depth maps in files against measured ones."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.core.paths import StrPath
from leadline.core.progress import ProgressBar
from leadline.core.ranges import Within, check_value
from leadline.core.threads import map_in_threads, usable_cores
from leadline.data.datasets import subsample_evenly
from leadline.data.datasets.depth_reading import DepthReading
from leadline.evaluation.alignment_kinds import check_alignment
from leadline.evaluation.map_pairs import match_maps, pair_maps
from leadline.evaluation.metrics import Pixels
from leadline.evaluation.protocols import EvalProtocol, check_protocol
from leadline.evaluation.score_table import SPREAD, constants_of, score_table
from leadline.evaluation.scoring import ScoredPair, one_torch_thread, sample_pixels, score_pair
from leadline.evaluation.tables import Table
from leadline.io.depth_maps import DepthMap, read_depth, read_numbers, stated_scale
from leadline.io.depth_units import is_plausible
from leadline.io.outputs import read_leadline_metadata


def evaluate_maps(
    predictions: StrPath,
    ground_truth: StrPath,
    protocol: EvalProtocol,
    *,
    depth_scale: float | None = None,
    prediction_scale: float | None = None,
    kind: DepthKind | None = None,
    invalid: Sequence[float] | None = (),
    max_depth: float | None = None,
    resize: bool = False,
    progress: bool = False,
) -> Table:
    """Evaluate a folder of predicted depth maps against a folder of measured ones, matched by file name.

    What a file states itself about its numbers holds, whatever is given here. The pictures NAME.colour.png that
    `leadline predict` draws beside its maps are ignored. A prediction for a published crop of the image is placed back
    where it was cut out, and counts there only. What was ignored, placed or resized is a note of the table, and so is
    that both folders are one.

    Args:
        predictions: a folder of predicted maps.
        ground_truth: a folder of measured maps.
        protocol: how they are compared.
        depth_scale: numbers in the files are metres × this, where they do not state their own unit; None: they do, or
            are floats: ground truth in metres, predictions in the unit of `kind`.
        prediction_scale: the same of the predictions, where it is another.
        kind: what predictions guarantee whose files do not state it; None: metres.
        invalid: numbers in the measured maps that mean "not measured", as a renderer's 1e10; None: none does. Numbers
            that no camera measures are refused until this or `max_depth` says what they are.
        max_depth: metres; what is measured farther away is not measured.
        resize: bring predictions of another size and of the ground truth's aspect to its size.
        progress: draw a bar.

    Raises:
        BadInput: an empty folder, unmatched names, sizes that do not fit, an unknown unit, measured maps with
            numbers that no camera measures, one scale for both folders that makes no depth of one, or as `evaluate`.
    """
    check_protocol(protocol)
    for name, scale in (("depth_scale", depth_scale), ("prediction_scale", prediction_scale)):
        if scale is not None:
            check_value(name, scale, [Within(0, above=True)])
    if protocol.flip:
        raise BadInput("Maps in files cannot be predicted again from mirrored images: leave --flip out.")
    if protocol.scales != (1.0,):
        raise BadInput("Maps in files cannot be predicted again from images of other sizes: leave --scales out.")
    predictions, ground_truth = Path(predictions), Path(ground_truth)
    pairs, ignored = match_maps(predictions, ground_truth)
    reading = DepthReading(depth_scale, None if invalid is None else tuple(invalid), max_depth)

    def read_prediction(path: Path) -> DepthMap:
        scale = depth_scale if prediction_scale is None else prediction_scale
        own = _stated_beside(path)
        with _naming_options("--prediction-scale and --kind"):
            return read_depth(path, depth_scale=None if own else scale, kind=kind or own)

    def read_target(path: Path) -> DepthMap:
        own = _stated_beside(path)
        try:
            scale = None if own else depth_scale
            with _naming_options("--depth-scale, --invalid and --max-depth"):
                return replace(reading, depth_scale=scale).read(path, DepthKind(own or DepthKind.METRIC), None)
        except BadInput:
            own = read_leadline_metadata(path).get("kind")
            if own in (None, DepthKind.METRIC):
                raise
            return read_depth(path, kind=own)  # which is then refused as ground truth

    names = list(pairs)
    promised = read_prediction(pairs[names[0]][0]).kind
    if depth_scale is not None and prediction_scale is None:
        _check_one_scale_for_both((pairs[name][0] for name in names), read_prediction, depth_scale)
        _check_one_scale_for_both((pairs[name][1] for name in names), read_target, depth_scale)
    check_alignment(protocol.alignment, promised)

    def compare(name: str) -> _ComparedFiles:
        prediction_file, target_file = pairs[name]
        target = read_target(target_file)
        pair = pair_maps(name, read_prediction(prediction_file), target, promised, resize=resize)
        scored = score_pair(pair, promised, protocol, steps=depth_scale)
        assert scored.target is not None
        if not pair.is_part:
            return _ComparedFiles(scored, scored.target.sample, pair.change)
        depth, valid = cast("tuple[Any, Any]", (target.values, target.mask))
        outside = protocol.counts(depth, valid & ~pair.valid)
        sample = sample_pixels(depth[protocol.counts(depth, valid)])
        return _ComparedFiles(scored, sample, pair.change, int(outside.sum()))

    def compare_all(chosen: Sequence[str], known: tuple[float, ...] | None) -> Iterator[_ComparedFiles]:
        def work(name: str) -> _ComparedFiles:
            each = compare(name)
            if known is None:
                return each
            return replace(each, scored=each.scored.with_constants(known, protocol), sample=None)

        for each in map_in_threads(work, chosen, threads=threads):
            bar.update()
            yield each

    threads = usable_cores()
    # The constants are of some maps' depths: these come first, and are then held as few numbers each.
    first = subsample_evenly(names, SPREAD)
    later = sorted(set(names) - set(first))
    uses_torch = protocol.alignment != "none" or resize
    with one_torch_thread() if uses_torch else nullcontext(), ProgressBar(len(names), "maps", is_shown=progress) as bar:
        done = {each.scored.name: each for each in compare_all(first, None)}  # pyright: ignore[reportArgumentType]
        baseline = constants_of(
            (each.sample for each in done.values() if each.sample is not None), protocol, "the ground truth"
        )
        known = (baseline.mean, baseline.median)

        def score_constants(each: _ComparedFiles) -> _ComparedFiles:
            return replace(each, scored=each.scored.with_constants(known, protocol), sample=None)

        done = {each.scored.name: each for each in map_in_threads(score_constants, done.values(), threads=threads)}
        done |= {each.scored.name: each for each in compare_all(later, known)}
    ordered = [done[name] for name in names]
    changes = Counter(each.change for each in ordered if each.change)
    outside = sum(each.outside for each in ordered)
    title = f"{predictions} against {ground_truth}"
    table = score_table(
        (each.scored for each in ordered),
        predictions.name,
        promised,
        protocol,
        baseline,
        title=title,
        is_from_files=True,
    )
    notes = [f"{count} of {len(pairs)} predictions are {change}." for change, count in changes.items()]
    if predictions.resolve() == ground_truth.resolve():
        notes.insert(0, "Predictions and ground truth are one folder: the figures compare each map with itself.")
    if outside:
        notes.append(f"{outside:,} measured pixels that the protocol counts lie outside the crops, and are left out.")
    if ignored:
        notes.append(f"Ignored in both folders: {', '.join(f'{n} {what}' for what, n in sorted(ignored.items()))}.")
    return replace(table, notes=(*table.notes, *notes))


@contextmanager
def _naming_options(options: str) -> Iterator[None]:
    """Say which options of the command state what a file does not state itself."""
    try:
        yield
    except UnreadableFile:
        raise
    except BadInput as fault:
        if not re.search(r"\b(depth_scale|kind|invalid)=", str(fault)):
            raise
        raise BadInput(f"{fault} Here the options are {options}.") from fault


def _check_one_scale_for_both(files: Iterable[Path], read: Callable[[Path], DepthMap], scale: float) -> None:
    """Refuse a scale that was stated for both folders where it makes no depth in metres of the files of one.

    Floats in metres beside 16-bit millimetres would be read as a thousandth. The first map that holds depth tells.
    """
    path, depth = next(((path, depth) for path in files if (depth := read(path)).mask.any()), (None, None))
    if path is None or depth is None or depth.kind is not DepthKind.METRIC:
        return
    middle = float(np.median(depth.values[depth.mask]))
    if is_plausible(middle) or stated_scale(path, read_numbers(path)[1]) is not None:
        return
    numbers = middle * scale
    seems = "it seems to be in metres" if is_plausible(numbers) else f"its numbers have a median of {numbers:,.4g}"
    raise BadInput(
        f"{path} has a median of {middle:,.4g} m by --depth-scale {scale:g}, which is no depth, and {seems}: give "
        "each folder's own, --depth-scale for the ground truth and --prediction-scale for the predictions (1: metres)."
    )


@dataclass(frozen=True, eq=False)
class _ComparedFiles:
    """Hold what is known of two files once they were compared."""

    scored: ScoredPair
    sample: Pixels | None
    """Some of the measured depths that count."""
    change: str = ""
    """As `Pair.change`."""
    outside: int = 0
    """Measured pixels that count, and for which nothing was predicted because they lie outside a crop."""


def _stated_beside(path: Path) -> str | None:
    """Return the kind that the picture beside a PFM of Leadline's states; other files state theirs themselves."""
    return read_leadline_metadata(path).get("kind") if path.suffix.lower() == ".pfm" else None

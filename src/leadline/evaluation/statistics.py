"""Differences: two treatments compared seed by seed, and what their figures support, in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student_t

from leadline.core.errors import BadInput
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import COLUMNS, Row, TextTable

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """One metric of two treatments, paired by seed: the first less the second."""

    metric: str
    mean: float
    margin: float
    """Half the width of the 95 % confidence interval of the mean (Student's t); infinite for a single pair."""
    p_value: float = math.nan
    """Of Student's paired t test of a mean of 0, two-sided; NaN for a single pair."""

    @property
    def winner(self) -> int | None:
        """0 if the first is better, 1 if the second is, None where the interval holds zero."""
        if not abs(self.mean) > self.margin:
            return None
        return self.leader

    @property
    def leader(self) -> int:
        """0 if the first is better on average, else 1."""
        return 0 if (self.mean > 0) == METRICS[self.metric].higher_is_better else 1


def paired_difference(metric: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compute the mean difference of one metric over pairs that share a seed, with its confidence interval.

    Args:
        metric: its name in `METRICS`.
        first: values of the first variant, by seed.
        second: values of the second variant, for the same seeds.

    Returns:
        First less second; the 95 % interval is Student's t over the pairs, infinite for one pair.
    """
    differences = [one - other for one, other in zip(first, second, strict=True)]
    count = len(differences)
    if count < 2:
        return Difference(metric, fmean(differences), math.inf)
    quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, count - 1))
    mean, error = fmean(differences), stdev(differences) / math.sqrt(count)
    p_value = 2 * float(student_t.sf(abs(mean) / error, count - 1)) if error else float(mean == 0)
    return Difference(metric, mean, quantile * error, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false decision among them stays below the level (Holm 1979).

    Args:
        p_values: of all tests of a family; one that is NaN decides nothing and counts as 1.

    Returns:
        Adjusted p-values in the same order, each to be held against the level itself.
    """
    known = [1.0 if math.isnan(each) else each for each in p_values]
    adjusted, largest = [1.0] * len(known), 0.0
    for rank, place in enumerate(sorted(range(len(known)), key=known.__getitem__)):
        largest = max(largest, min((len(known) - rank) * known[place], 1.0))
        adjusted[place] = largest
    return adjusted


def compare_rows(first: Sequence[Row], second: Sequence[Row]) -> list[Difference]:
    """Compare two variants by every metric of a table's columns, over rows that share a seed."""
    return [
        paired_difference(metric, [row.metrics[metric] for row in first], [row.metrics[metric] for row in second])
        for metric in COLUMNS
    ]


def check_seeds(seeds: int) -> None:
    """Refuse to compare what is never trained."""
    if seeds < 1:
        raise BadInput(f"--seeds {seeds}: a comparison needs one seed at least.")


def verdict(first: str, second: str, differences: Sequence[Difference], *, seeds: int) -> str:
    """Say in words which metrics paired differences decide, and for whom.

    Args:
        first: name of the first variant: "end to end".
        second: name of the second.
        differences: of all metrics, first less second.
        seeds: how many pairs there are.
    """
    count = len(differences)
    ahead = sum(each.leader == 0 for each in differences)
    leads = f"on average {first} is ahead in {ahead} and {second} in {count - ahead} of {count} metrics"
    if seeds < 2:
        return f"One seed says nothing of chance, so this decides nothing; {leads.removeprefix('on average ')}."
    sentences = []
    for side, name in ((0, first), (1, second)):
        if won := [METRICS[each.metric].label for each in differences if each.winner == side]:
            sentences.append(f"{name.capitalize()} is better in {', '.join(won)}.")
    undecided = sum(each.winner is None for each in differences)
    if undecided == count:
        sentences.append(f"{seeds} seeds decide no metric; {leads}.")
    elif undecided:
        sentences.append(f"The other {undecided} of {count} metrics are undecided; {leads}.")
    return " ".join(
        [*sentences, f"(Decided: the 95 % interval of the difference over {seeds} paired seeds is off zero.)"]
    )


def describe_difference(name: str, control: str, difference: Difference, *, seeds: int) -> str:
    """Say one metric's difference in a sentence: how much, over how many seeds, and whether it may be chance.

    Args:
        name: of the variant.
        control: name of what it is compared with.
        difference: of one metric, variant less control.
        seeds: how many pairs there are.
    """
    metric = METRICS[difference.metric]
    unit = f" {metric.unit}" if metric.unit else ""
    side = "ahead of" if difference.leader == 0 else "behind"
    if seeds < 2:
        by = f"{abs(difference.mean):.3f}{unit} in {metric.label}"
        return f"{name} is {side} {control} by {by} with the one seed tried, which says nothing of chance."
    by = f"{abs(difference.mean):.3f} ± {difference.margin:.3f}{unit} in {metric.label} over {seeds} seeds"
    if difference.winner is None:
        return f"{name} does not beat {control}: it is {side} it by {by}, which may be chance."
    return f"{name} {'beats' if difference.winner == 0 else 'is worse than'} {control} by {by}."


def differences_table(first: str, second: str, differences: Sequence[Difference]) -> TextTable:
    """List the differences of two variants, a line for each metric.

    Args:
        first: name of the first variant.
        second: name of the second.
        differences: of all metrics, first less second.
    """
    lines = tuple(
        (
            METRICS[each.metric].heading,
            f"{each.mean:+.4f}",
            "–" if math.isinf(each.margin) else f"± {each.margin:.4f}",
            "undecided" if each.winner is None else (first, second)[each.winner],
        )
        for each in differences
    )
    return TextTable(
        f"{first[:1].upper()}{first[1:]} less {second}, paired by seed",
        ("metric", "mean difference", "95 % interval", "better"),
        lines,
    )

"""Studies: recipes against each other over seeds, at equal budgets, and what the figures support."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student_t

from leadline.metrics import METRICS

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """One metric of two treatments, paired by seed: the first less the second."""

    metric: str
    mean: float
    margin: float
    """Half the width of the 95 % confidence interval of the mean (Student's t); infinite for a single pair."""

    @property
    def winner(self) -> int | None:
        """0 if the first is better, 1 if the second is, None where the interval holds zero."""
        if not abs(self.mean) > self.margin:
            return None
        return 0 if (self.mean > 0) == METRICS[self.metric].higher_is_better else 1


def paired_difference(metric: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    """The mean difference of one metric over pairs that share a seed, with its confidence interval."""
    differences = [one - other for one, other in zip(first, second, strict=True)]
    count = len(differences)
    if count < 2:
        return Difference(metric, fmean(differences), math.inf)
    quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, count - 1))
    return Difference(metric, fmean(differences), quantile * stdev(differences) / math.sqrt(count))


def verdict(first: str, second: str, differences: Sequence[Difference], *, seeds: int) -> str:
    """What paired differences support, in words, and no more.

    `first` and `second` name the treatments; "end to end", "multi-stage".
    """
    named = {0: first, 1: second}
    lead = [(first if _is_better(each) else second) for each in differences]
    if seeds < 2:
        ahead = lead.count(first)
        return (
            f"With one seed nothing can be said of chance. In this run {first} was better in {ahead} and {second} in "
            f"{len(lead) - ahead} of {len(lead)} metrics."
        )
    won = {side: [METRICS[each.metric].label for each in differences if each.winner == side] for side in (0, 1)}
    undecided = len(differences) - len(won[0]) - len(won[1])
    sentences = [
        f"{named[side].capitalize()} is better in {', '.join(won[side])} (95 % intervals of {seeds} paired seeds exclude zero)."
        for side in (0, 1)
        if won[side]
    ]
    if undecided == len(differences):
        sentences.append(f"{seeds} paired seeds decide no metric: every 95 % interval holds zero.")
    elif undecided:
        sentences.append(f"The other {undecided} of {len(differences)} metrics are undecided.")
    return " ".join(sentences)


def _is_better(difference: Difference) -> bool:
    """Whether the first treatment's mean is the better one."""
    return (difference.mean > 0) == METRICS[difference.metric].higher_is_better

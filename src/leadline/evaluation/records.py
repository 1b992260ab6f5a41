"""Records of studies: every training's own figures, and all that follows from them, computed in one place.

A record is JSON. Its `arms` hold what was measured, seed by seed; its `derived` what `derive` computes from that: means
and standard errors, paired differences with intervals, decisions corrected over all that a family claims. A table or a
sentence of a document is text that a function here makes from a record, so it can be made again and compared.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from leadline.core.errors import BadInput
from leadline.core.markdown import markdown_table
from leadline.core.paths import StrPath
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.statistics import CONFIDENCE, holm, paired_difference
from leadline.io.run_folder import read_configuration

FORMAT = 2
"""Of a record; 1 had no figures of single seeds."""
LEVEL = 1 - CONFIDENCE
"""Chance of any false decision in a family of claims."""
SHOWN = ("rmse", "mae", "abs_rel", "log10", "d1", "d2", "d3", "silog_bts")
"""The metrics of a record's table; its JSON holds all."""
Record = Mapping[str, Any]


def read_record(path: StrPath) -> dict[str, Any]:
    """Read a record.

    Raises:
        BadInput: it is none, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"No record at {path}: a study writes NAME.json and NAME.md with --record FOLDER.")
    record = read_configuration(path, "restore it from a copy")
    if "format" not in record and ("rows" not in record or "metrics" in record):
        raise BadInput(f"{path} is no record of a study: `leadline study … --record FOLDER` writes those.")
    if record.get("format") != FORMAT:
        raise BadInput(
            f"{path} is no record of format {FORMAT}: earlier ones keep no figures of single seeds, from which alone "
            "intervals can be computed again. Run the study again with --record."
        )
    return record


def derive(record: Record) -> dict[str, Any]:
    """Compute the means of every arm, and every claim's difference, interval and decision.

    Args:
        record: with `arms`, `fixed`, `claims` and `families`.

    Returns:
        `rows`: arm → metric → mean and standard error (None for one seed). `claims`: in the order of the record's, each
        with the mean difference (arm less what it is compared with, over the seeds that both have), half the width of
        its 95 % interval, the ratio of the means, p, p after Holm's correction over the family, and `decision`.
    """
    claims = [_difference(record, claim) for claim in record["claims"]]
    for family in record["families"]:
        places = [place for place, claim in enumerate(record["claims"]) if claim["family"] == family]
        for place, p_value in zip(places, holm([_number(claims[each]["p"]) for each in places]), strict=True):
            claims[place]["p_holm"] = p_value
            claims[place]["decision"] = _decision(claims[place], record["claims"][place]["metric"])
    return {"rows": {name: _means(arm) for name, arm in record["arms"].items()}, "claims": claims}


def rows_table(record: Record, arms: Sequence[str] = (), metrics: Sequence[str] = SHOWN) -> str:
    """Write the table of arms, of what they are compared with, and of the flat baselines, as Markdown.

    Args:
        record: a record.
        arms: which of its arms, in order; none: all.
        metrics: its columns.
    """
    lines = []
    for name in arms or record["arms"]:
        arm, means = record["arms"][name], record["derived"]["rows"][name]
        lines.append([arm["name"], str(len(arm["seeds"])), *(_cell(metric, means[metric]) for metric in metrics)])
    for row in record["fixed"]:
        lines.append([row["name"], "–", *(METRICS[metric].printed(row["metrics"][metric]) for metric in metrics)])
    return markdown_table(["", "seeds", *(METRICS[metric].heading for metric in metrics)], lines)


def claims_table(record: Record, family: str = "") -> str:
    """Write the table of what is claimed, as Markdown.

    Args:
        record: a record.
        family: the claims of one family alone; empty: of all.
    """
    has_teacher = any(row["id"] == "teacher" for row in record["fixed"])
    several = len({claim["metric"] for claim in record["claims"]}) > 1
    head = [
        "claim",
        "against",
        *(["metric"] if several else []),
        "seeds",
        "ratio",
        "difference",
        "95 % interval",
        "p (Holm)",
        "decided",
    ]
    lines = []
    for claim, found in zip(record["claims"], record["derived"]["claims"], strict=True):
        if family and claim["family"] != family:
            continue
        metric = METRICS[claim["metric"]]
        line = [
            record["arms"][claim["arm"]]["name"],
            record["arms"][claim["against"]]["name"],
            *([metric.heading] if several else []),
            str(found["pairs"]),
            f"{found['ratio']:.2f}",
            f"{found['mean']:+.{metric.digits}f}",
            "–" if found["margin_95"] is None else f"± {found['margin_95']:.{metric.digits}f}",
            "–" if found["p"] is None else _p_words(found["p_holm"]),
            found["decision"],
        ]
        lines.append(line + ([gap_closed(record, claim["metric"], found)] if has_teacher else []))
    return markdown_table([*head, "of the gap to the teacher"] if has_teacher else head, lines)


def gap_closed(record: Record, metric: str, found: Mapping[str, Any]) -> str:
    """Say which part of the way from what it is compared with to the teacher an arm went, over the seeds of both.

    Args:
        record: a record with a teacher.
        metric: of the claim.
        found: what is derived of the claim.

    Returns:
        A percentage, negative where the arm is the worse one; a dash where the teacher itself is no better.
    """
    teacher = next(row for row in record["fixed"] if row["id"] == "teacher")["metrics"][metric]
    gap = (found["against"] - teacher) * (-1 if METRICS[metric].higher_is_better else 1)
    if gap <= 0:
        return "–"
    return f"{(found['against'] - found['arm']) / (found['against'] - teacher):.0%}"


def claim_sentence(record: Record, place: int) -> str:
    """Say what one claim's figures support."""
    claim, found = record["claims"][place], record["derived"]["claims"][place]
    metric = METRICS[claim["metric"]]
    unit = f" {metric.unit}" if metric.unit else ""
    own, other = metric.printed(found["arm"]), metric.printed(found["against"])
    figures = f"{metric.label} {own} against {other}{unit}, × {found['ratio']:.2f}"
    margin = "" if found["margin_95"] is None else f" ± {found['margin_95']:.{metric.digits}f}"
    interval = f"difference {found['mean']:+.{metric.digits}f}{margin}{unit} over {found['pairs']} seeds"
    if found["pairs"] < 2:
        interval = f"difference {found['mean']:+.{metric.digits}f}{unit} with one seed, which says nothing of chance"
    p_words = "" if found["p"] is None else f", p = {_p_words(found['p_holm'])} after Holm"
    names = (record["arms"][claim[side]]["name"] for side in ("arm", "against"))
    return "{} against {}: **{}** ({}; {}{}).".format(*names, found["decision"], figures, interval, p_words)


def answers(record: Record) -> str:
    """Write each question of the record with the sentences of its claims below it, as Markdown."""
    parts = []
    for question in record["questions"]:
        places = [place for place, claim in enumerate(record["claims"]) if claim["question"] == question["id"]]
        if places:
            parts += [f"**{question['asks']}**", "\n".join(f"- {claim_sentence(record, each)}" for each in places)]
    return "\n\n".join(parts)


def record_markdown(record: Record) -> str:
    """Write a whole record as a page."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    families = "; ".join(f"{name}: {about}" for name, about in record["families"].items())
    parts = [
        f"# {record['title']}",
        f"    {record['command']}",
        record["design"],
        "## Answers",
        answers(record),
        "## Figures",
        f"Protocol {record['protocol']['description']}. Mean ± standard error over seeds.",
        rows_table(record),
        "\n".join(f"- {note}" for note in record["notes"]),
        "## Claims",
        f"Differences are paired by seed; intervals are of single differences, at 95 %. Decided: p below {LEVEL:.2g} "
        f"after Holm's correction over the family ({families}).",
        claims_table(record),
        *(f"**{table['title']}**\n\n{markdown_table(table['head'], table['body'])}" for table in record["tables"]),
        f"Made with {versions}.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def differences(found: Any, expected: Any, where: str = "", *, tolerance: float = 1e-9) -> list[str]:
    """List where two trees of JSON differ by more than rounding.

    Args:
        found: what stands in a file.
        expected: what was computed again.
        where: the path to both, for the messages.
        tolerance: relative, of numbers.
    """
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        keys = list(dict.fromkeys((*found, *expected)))
        return [
            each
            for key in keys
            for each in differences(found.get(key), expected.get(key), f"{where}.{key}".strip("."), tolerance=tolerance)
        ]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for n, pair in pairs for line in differences(*pair, f"{where}[{n}]", tolerance=tolerance)]
    if isinstance(found, int | float) and isinstance(expected, int | float):
        same = math.isclose(found, expected, rel_tol=tolerance, abs_tol=1e-12)
    else:
        same = found == expected
    return [] if same else [f"{where}: {json.dumps(found)} stands there, and {json.dumps(expected)} follows"]


def _means(arm: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    runs = [seed["metrics"] for seed in arm["seeds"].values()]
    return {
        metric: {
            "mean": fmean(values),
            "standard_error": stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None,
        }
        for metric in runs[0]
        for values in [[run[metric] for run in runs]]
    }


def _difference(record: Record, claim: Mapping[str, Any]) -> dict[str, Any]:
    metric = claim["metric"]
    first, second = (record["arms"][claim[side]]["seeds"] for side in ("arm", "against"))
    shared = [seed for seed in first if seed in second]
    if not shared:
        raise BadInput(f"{claim['arm']} and {claim['against']} share no seed, so they cannot be compared.")
    values = [[seeds[seed]["metrics"][metric] for seed in shared] for seeds in (first, second)]
    found = paired_difference(metric, *values)
    is_alone = len(shared) < 2
    return {
        "pairs": len(shared),
        "mean": found.mean,
        "margin_95": None if is_alone else found.margin,
        "arm": fmean(values[0]),
        "against": fmean(values[1]),
        "ratio": fmean(values[0]) / fmean(values[1]),
        "p": None if is_alone else found.p_value,
    }


def _decision(found: Mapping[str, Any], metric: str) -> str:
    if found["p"] is None or not found["p_holm"] < LEVEL:
        return "undecided"
    return "better" if (found["mean"] > 0) == METRICS[metric].higher_is_better else "worse"


def _cell(metric: str, value: Mapping[str, float | None]) -> str:
    printed = METRICS[metric].printed
    mean, error = value["mean"], value["standard_error"]
    assert mean is not None
    return printed(mean) + ("" if error is None else f" ± {printed(error)}")


def _p_words(p_value: float) -> str:
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def _number(value: float | None) -> float:
    return math.nan if value is None else value

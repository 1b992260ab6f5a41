"""Charts: bars with standard errors and colour legends as SVG that follows a page's text colour, light or dark."""

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import Row
from leadline.io.colormaps import ColorScale, encode_image, legend_bar

PANEL, PANELS_PER_LINE = (190, 170), 4
"""Least width, and height, of one metric's bars."""
LABEL = (7.7, 13)
"""Width of a digit, in the widest of the fonts that pages are shown in, and height of the number above a bar."""
COLOURS = ("#3b7dd8", "#e08a1e", "#3a9d6e", "#b65fb0", "#c94f4f", "#2aa5b5")
"""Of rows, in order; they can be told apart on white and on black, and without seeing red or green."""
BASELINE_COLOURS = ("#8a8f98", "#b4b8bf", "#62676f")


def metric_bars(
    rows: Sequence[Row], metrics: Sequence[str] = ("rmse", "mae", "abs_rel", "log10", "d1", "d2", "d3", "silog_bts")
) -> str:
    """Draw a panel for each metric, with a bar from zero for each row and whiskers of one standard error over runs."""
    colours = _colours(rows)
    # Each bar is wide enough for its number, which stands upright where many rows leave no room across.
    panel = max(PANEL[0], 12 + LABEL[1] * len(rows))
    per_line = max(PANELS_PER_LINE * PANEL[0] // panel, 1)
    lines = -(-len(metrics) // per_line)
    width, height = max(per_line * panel, PANELS_PER_LINE * PANEL[0]), 22 * len(rows) + 14 + lines * PANEL[1]
    parts = [_key(row, colour, place) for place, (row, colour) in enumerate(zip(rows, colours, strict=True))]
    for place, metric in enumerate(metrics):
        line, column = divmod(place, per_line)
        x, y = column * panel, 22 * len(rows) + 14 + line * PANEL[1]
        parts.append(f'<g transform="translate({x} {y})">{_panel(rows, colours, metric, panel)}</g>')
    title = f"{', '.join(METRICS[each].label for each in metrics)} of {', '.join(row.name for row in rows)}"
    return _svg(width, height, title, parts)


def error_against_cost(points: Sequence[tuple[str, float, float, float]], up: str) -> str:
    """Draw a point for each network: its error over the logarithm of its multiply-adds, with one standard error.

    Args:
        points: name, multiply-adds, error, and its standard error.
        up: what the error is, with its unit.

    Returns:
        An SVG element.
    """
    left, right, high, low = 60, 620, 30, 300
    costs, tops = [cost for _, cost, _, _ in points], [value + error for _, _, value, error in points]
    least, most = math.log10(min(costs)) - 0.05, math.log10(max(costs)) + 0.05
    bottom = min(value - error for _, _, value, error in points)
    margin = 0.1 * (max(tops) - bottom) or 0.1
    bottom, top = bottom - margin, max(tops) + margin

    def at(cost: float, value: float) -> tuple[float, float]:
        across = (math.log10(cost) - least) / (most - least)
        return left + (right - left) * across, low - (low - high) * (value - bottom) / (top - bottom)

    parts = [
        f'<text x="{left}" y="16" font-weight="600">{escape(up)}</text>',
        f'<path d="M{left} {high}V{low}H{right}" stroke="currentColor" stroke-opacity=".5" fill="none"/>',
        f'<text x="{right}" y="{low + 34}" text-anchor="end">million multiply-adds of one image</text>',
    ]
    for share in (0.1, 0.5, 0.9):
        value, cost = bottom + share * (top - bottom), 10 ** (least + share * (most - least))
        parts.append(f'<text x="{left - 6}" y="{at(cost, value)[1] + 4:.1f}" text-anchor="end">{value:.2f}</text>')
        parts.append(f'<text x="{at(cost, value)[0]:.1f}" y="{low + 16}" text-anchor="middle">{cost / 1e6:.3g}</text>')
    for number, (name, cost, value, error) in enumerate(points):
        x, y = at(cost, value)
        height = (low - high) * error / (top - bottom)
        colour, is_right = COLOURS[number % len(COLOURS)], x > (left + right) / 2
        parts.append(f'<path d="M{x:.1f} {y - height:.1f}V{y + height:.1f}" stroke="{colour}" stroke-width="1.5"/>')
        told, anchor = f"{name}: {value:.3f} ± {error:.3f}", "end" if is_right else "start"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(told)}</title></circle>'
            f'<text x="{x - 8 if is_right else x + 8:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
        )
    return _svg(right + 40, low + 44, f"{up} over multiply-adds", parts)


def histogram(labels: Sequence[str], shares: Sequence[float], title: str) -> str:
    """Draw a bar for each bin, with its fraction of the whole above it.

    Args:
        labels: of the bins' left edges, and of the last one's right edge.
        shares: fraction of the whole in each bin.
        title: what stands above.

    Returns:
        An SVG element.
    """
    slot, top, floor = 46, 44, 190
    scale = (floor - top) / max(*shares, 1e-9)
    width = 2 * 20 + slot * len(shares)
    parts = [
        f'<text x="20" y="16" font-weight="600">{escape(title)}</text>',
        f'<path d="M20 {floor}H{width - 20}" stroke="currentColor" stroke-opacity=".5"/>',
    ]
    for place, share in enumerate(shares):
        x, y = 20 + slot * place, floor - scale * share
        parts.append(
            f'<rect x="{x + 1}" y="{y:.1f}" width="{slot - 2}" height="{floor - y:.1f}" fill="{COLOURS[0]}"/>'
            f'<text x="{x + slot / 2}" y="{y - 4:.1f}" text-anchor="middle">{share:.1%}</text>'
        )
    for place, label in enumerate(labels):
        parts.append(f'<text x="{20 + slot * place}" y="{floor + 16}" text-anchor="middle">{escape(label)}</text>')
    return _svg(width, floor + 24, title, parts)


def curves(lines: Mapping[str, Sequence[tuple[float, float, float]]], across: str, up: str) -> str:
    """Draw curves over a logarithmic axis from zero, with whiskers of one standard error.

    Args:
        lines: name → points of (place, value, standard error), in order of their places.
        across: what the places are.
        up: what the values are, with their unit.

    Returns:
        An SVG element.
    """
    places = sorted({x for points in lines.values() for x, _, _ in points})
    top = max((value + error for points in lines.values() for _, value, error in points), default=1.0)
    left, right, high, low = 50, 450, 30, 250
    span = math.log(places[-1] / places[0]) if len(places) > 1 else 1.0

    def at(x: float, value: float) -> tuple[float, float]:
        return left + 20 + (right - left - 40) * math.log(x / places[0]) / span, low - (low - high) * value / top

    parts = [
        f'<text x="{left}" y="16" font-weight="600">{escape(up)}</text>',
        f'<path d="M{left} {high}V{low}H{right}" stroke="currentColor" stroke-opacity=".5" fill="none"/>',
        f'<text x="{(left + right) / 2}" y="{low + 34}" text-anchor="middle">{escape(across)}</text>',
    ]
    for x in places:
        parts.append(f'<text x="{at(x, 0)[0]:.1f}" y="{low + 16}" text-anchor="middle">{x:,.0f}</text>')
    for tick in (0.0, top / 2, top):
        parts.append(f'<text x="{left - 5}" y="{at(places[0], tick)[1] + 4:.1f}" text-anchor="end">{tick:.2f}</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        ends = [at(x, value) for x, value, _ in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in ends)
        parts.append(f'<path d="M{path}" stroke="{colour}" stroke-width="2" fill="none"/>')
        for (x, y), (_, value, error) in zip(ends, points, strict=True):
            height = (low - high) * error / top
            parts.append(f'<path d="M{x:.1f} {y - height:.1f}V{y + height:.1f}" stroke="{colour}"/>')
            told = f"{name}: {value:.3f} ± {error:.3f}"
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{escape(told)}</title></circle>'
            )
        y = low + 58 + 20 * number
        parts.append(
            f'<rect x="{left}" y="{y - 10}" width="12" height="12" rx="2" fill="{colour}"/>'
            f'<text x="{left + 19}" y="{y}">{escape(name)}</text>'
        )
    return _svg(right + 20, low + 60 + 20 * len(lines), f"{up} over {across}", parts)


def colour_legend(scale: ColorScale) -> str:
    """Draw a scale's colours with their numbers and unit, as an SVG element."""
    bar = b64encode(encode_image(legend_bar(scale, 256, 1))).decode()
    parts = [
        f'<image href="data:image/png;base64,{bar}" x="20" y="20" width="300" height="12" preserveAspectRatio="none"/>',
        f'<text x="20" y="13">{escape(scale.label)}</text>',
    ]
    for place, text in scale.ticks:
        x = 20 + 300 * place
        parts.append(f'<path d="M{x:.1f} 32v4" stroke="currentColor"/>')
        parts.append(f'<text x="{x:.1f}" y="48" text-anchor="middle">{escape(text)}</text>')
    return _svg(340, 54, scale.label, parts)


def scatter(points: Sequence[tuple[str, float, float]], metric: str, label: str, title: str) -> str:
    """Draw a metric against another number, from zero, with a key.

    Args:
        points: name, number and value of the metric of each.
        metric: its name in `METRICS`.
        label: what the number is, with its unit.
        title: what the metric was measured on.

    Returns:
        An SVG element.
    """
    left, top, width, height = 56, 44, 420, 260
    widest = 1.05 * max(number for _, number, _ in points) or 1.0
    highest = 1.05 * max(value for _, _, value in points) or 1.0
    parts = [
        f'<text x="{left}" y="16" font-weight="600">{escape(METRICS[metric].heading)}: {escape(title)}</text>',
        f'<path d="M{left} {top}v{height}h{width}" stroke="currentColor" stroke-opacity=".5" fill="none"/>',
        f'<text x="{left + width}" y="{top + height + 34}" text-anchor="end">{escape(label)}</text>',
    ]
    for part in (0.0, 0.5, 1.0):
        x, y = left + part * width, top + (1 - part) * height
        parts.append(f'<text x="{x:.1f}" y="{top + height + 16}" text-anchor="middle">{part * widest:.3g}</text>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{part * highest:.2f}</text>')
    for place, (name, number, value) in enumerate(points):
        colour = COLOURS[place % len(COLOURS)]
        x, y = left + width * number / widest, top + height * (1 - value / highest)
        line = top + height + 44 + 22 * place
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
        parts.append(f'<rect x="6" y="{line + 4}" width="12" height="12" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="25" y="{line + 14}">{escape(name)}: {number:.3g}, {value:.3f}</text>')
    return _svg(left + width + 24, top + height + 52 + 22 * len(points), title, parts)


def _colours(rows: Sequence[Row]) -> list[str]:
    """Baselines grey, the others in the order of `COLOURS`."""
    chosen, counts = [], {True: 0, False: 0}
    for row in rows:
        palette = BASELINE_COLOURS if row.is_baseline else COLOURS
        chosen.append(palette[counts[row.is_baseline] % len(palette)])
        counts[row.is_baseline] += 1
    return chosen


def _key(row: Row, colour: str, place: int) -> str:
    name = f"{row.name} ({row.runs} runs, ± standard error)" if row.runs > 1 else row.name
    y = 22 * place
    return (
        f'<rect x="6" y="{y + 4}" width="12" height="12" rx="2" fill="{colour}"/>'
        f'<text x="25" y="{y + 14}">{escape(name)}</text>'
    )


def _panel(rows: Sequence[Row], colours: Sequence[str], metric: str, width: int) -> str:
    height, left = PANEL[1], 6
    slot = (width - 2 * left) / len(rows)
    longest = LABEL[0] * max(len(_short(metric, row.metrics[metric])) for row in rows)
    is_upright = slot < longest + LABEL[0] / 2
    top, floor = 25 + (longest if is_upright else LABEL[1]), height - 14
    tops = [row.metrics[metric] + row.errors.get(metric, 0.0) for row in rows]
    scale = (floor - top) / (max((each for each in tops if each > 0), default=1.0))
    parts = [
        f'<text x="{left}" y="14" font-weight="600">{escape(METRICS[metric].heading)}</text>',
        f'<path d="M{left} {floor}H{width - left}" stroke="currentColor" stroke-opacity=".5"/>',
    ]
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        value, error = row.metrics[metric], row.errors.get(metric, 0.0)
        if value != value:  # NaN
            continue
        middle, y = left + slot * (place + 0.5), floor - scale * value
        wide = min(44.0, slot * 0.72)
        box = f'x="{middle - wide / 2:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{floor - y:.1f}"'
        parts.append(
            f'<rect {box} fill="{colour}"><title>{escape(row.name)}: {escape(row.cell(metric))}</title></rect>'
        )
        if error:
            up, down = y - scale * error, min(y + scale * error, floor)
            parts.append(
                f'<path d="M{middle - 4:.1f} {up:.1f}h8m-4 0V{down:.1f}m-4 0h8" stroke="currentColor" fill="none"/>'
            )
        above = y - scale * error - 4
        place = f'x="{middle:.1f}" y="{above:.1f}" text-anchor="middle"'
        if is_upright:
            place = f'transform="translate({middle + 4:.1f} {above:.1f}) rotate(-90)"'
        parts.append(f"<text {place}>{_short(metric, value)}</text>")
    return "".join(parts)


def _short(metric: str, value: float) -> str:
    """Three digits that count, as there is little room."""
    return METRICS[metric].printed(value) if abs(value) < 10 else f"{value:.1f}"


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    # The style serves the file on its own; within a page the text takes the page's colour.
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
        "<style>@media (prefers-color-scheme: dark) { svg:root { color: #e6e6e6 } }</style>"
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )

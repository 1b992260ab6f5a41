"""`leadline models`: what each network needs, promises and has scored, and whether its weights are here."""

from typing import Any

from huggingface_hub import try_to_load_from_cache

from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import TextTable
from leadline.models.names import DEFAULT
from leadline.models.pretrained.hub_models import HUB_MODELS, HubModel
from leadline.models.pretrained.releases import RELEASES, Figures
from leadline.reporting.network_counts import counts_of

_SHOWN = ("abs_rel", "rmse", "d1")
"""Published metrics that the table has room for; JSON has them all."""


def entry(name: str) -> dict[str, Any]:
    """Describe one model as JSON holds it.

    `parameters` are those that an output depends on; official files hold some that none does (`parameters_in_file`).
    `multiply_adds` are those of matrix products and convolutions for one image of the native size.
    """
    if name in HUB_MODELS:
        return _hub_entry(name, HUB_MODELS[name])
    counts = counts_of(name)
    release = RELEASES.get(name)
    return {
        "name": name,
        "parameters": counts["parameters"],
        "parameters_in_file": counts["parameters"] + release.idle_parameters if release else None,
        "multiply_adds": counts["multiply_adds"],
        "input": counts["input"],
        "kind": counts["kind"],
        "licence": release.licence if release else counts["licence"],
        "terms": release.terms if release else counts["terms"],
        "nyu": _figures(release.nyu) if release and release.nyu else None,
        "weights": {
            "file": release.file,
            "bytes": release.size,
            "sha256": release.sha256,
            "addresses": release.addresses,
            "path": str(release.path),
            "here": release.path.is_file(),
        }
        if release
        else None,
    }


def models_table(entries: list[dict[str, Any]]) -> TextTable:
    """List the entries as a table; protocols and licence terms are its remarks."""
    header = ("", "parameters", "multiply-adds", "input", "depth", "licence", "NYU Depth v2, as published", "weights")
    return TextTable("Models", header, tuple(map(_line, entries)), tuple(_remarks(entries)))


def _hub_entry(name: str, model: HubModel) -> dict[str, Any]:
    """As `entry`, from what is known of a repository: its network is built from files that lie there."""
    return {
        "name": name,
        "parameters": model.parameters,
        "parameters_in_file": None,
        "multiply_adds": None,
        "input": {"height": model.input_size[0], "width": model.input_size[1]},
        "kind": model.kind.value,
        "licence": model.licence,
        "terms": model.terms,
        "nyu": _figures(model.nyu) if model.nyu else None,
        "weights": {
            "repository": model.repository,
            "revision": model.revision,
            "bytes": model.size,
            "here": isinstance(try_to_load_from_cache(model.repository, "config.json", revision=model.revision), str),
        },
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {"metrics": dict(figures.metrics), "protocol": figures.protocol, "source": figures.source}


def _line(entry: dict[str, Any]) -> tuple[str, ...]:
    shape, weights, in_file = entry["input"], entry["weights"], entry["parameters_in_file"]
    rule = f", {shape['resize'].replace('_', ' ')}, by {shape['multiple']}" if "resize" in shape else ""
    scored = entry["nyu"]["metrics"] if entry["nyu"] else {}
    return (
        entry["name"],
        f"{entry['parameters'] / 1e6:.1f} M" + (f" ({in_file / 1e6:.1f} in the file)" if in_file else ""),
        f"{entry['multiply_adds'] / 1e9:.1f} G" if entry["multiply_adds"] else "–",
        f"{shape['height']} × {shape['width']}{rule}",
        entry["kind"],
        entry["licence"],
        ", ".join(f"{METRICS[key].label} {METRICS[key].printed(scored[key])}" for key in _SHOWN if key in scored)
        or "–",
        "comes with the package"
        if entry["name"] == DEFAULT
        else "none published"
        if weights is None
        else f"here, {weights['bytes'] / 1e6:.0f} MB"
        if weights["here"]
        else f"{weights['bytes'] / 1e6:.0f} MB to download",
    )


def _remarks(entries: list[dict[str, Any]]) -> list[str]:
    """Each thing said once, with the names that it holds for."""
    said: dict[str, list[str]] = {}
    for each in entries:
        if each["nyu"]:
            said.setdefault(f"NYU: {each['nyu']['source']}; {each['nyu']['protocol']}.", []).append(each["name"])
        if each["terms"]:
            said.setdefault(f"Terms: {each['terms']}", []).append(each["name"])
    return [
        "Multiply-adds of matrix products and convolutions, one image of the native size. Official files hold some "
        "parameters that no output depends on.",
        *(f"{', '.join(names)}: {text}" for text, names in said.items()),
    ]

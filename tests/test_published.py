"""Published weights and the catalogue: names that become files on this machine, and what is said of each model."""

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from webserver import Site, serving

from leadline.cli.models import ModelsCommand
from leadline.core.errors import BadInput
from leadline.evaluation.metrics import METRICS
from leadline.models.loading import load
from leadline.models.pretrained.hub_models import HUB_MODELS
from leadline.models.pretrained.releases import RELEASES
from leadline.models.registry import DEFAULT, MODELS
from leadline.reporting.model_table import models_table
from leadline.reporting.network_counts import COUNTS_FILE, count

SMALL = RELEASES["midas_small"]


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """A mirror of the releases, and an empty cache."""
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as site:
        monkeypatch.setenv("LEADLINE_RELEASES", f"{site.address}/mirror/")
        yield site


@pytest.fixture(scope="module")
def entries() -> list[dict[str, Any]]:
    with redirect_stdout(StringIO()) as printed:
        assert ModelsCommand(json=True).run() == 0
    return json.loads(printed.getvalue())


@pytest.mark.parametrize("name", RELEASES)
def test_the_name_of_every_file_begins_with_its_hash(name: str):
    release = RELEASES[name]
    stated = Path(release.file).stem.rpartition("-")[2]
    assert len(stated) == 8
    assert release.sha256.startswith(stated)
    assert release.addresses[0].endswith(f"/{release.file}")
    assert name in MODELS


def test_a_published_name_is_downloaded_once_and_then_works_offline(
    mirror: Site, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    content = checkpoint(shared, "midas_v21_small-70d6b9c8")
    digest = hashlib.sha256(content).hexdigest()[:8]
    # The weights are not the published ones, so neither is their hash.
    release = replace(SMALL, file=f"midas_v21_small-{digest}.pt", sha256=digest)
    monkeypatch.setitem(RELEASES, "midas_small", release)  # pyright: ignore[reportArgumentType]
    mirror.files[f"/mirror/{release.file}"] = content
    first = load("midas_small")
    assert (first.name, first.training) == ("midas_small", False)
    assert release.path.read_bytes() == content
    said = capsys.readouterr().err
    assert all(word in said for word in ("86 MB", "MIT", "ten datasets", mirror.address, str(release.path.parent)))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load(Path("midas_small"))
    assert capsys.readouterr().err == ""
    assert len(mirror.asked) == 1
    held = again.state_dict()
    assert all(torch.equal(tensor, held[key]) for key, tensor in first.state_dict().items())


def test_other_bytes_than_published_are_refused_and_removed(mirror: Site):
    mirror.files[f"/mirror/{SMALL.file}"] = b"something else"
    with pytest.raises(BadInput, match="SHA-256 begins with"):
        load("midas_small")
    assert not SMALL.path.exists()
    assert not SMALL.path.with_name(f"{SMALL.file}.part").exists()


def test_a_folder_of_that_name_comes_before_the_published_model(
    mirror: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "midas_small").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="No model at midas_small"):
        load("midas_small")
    assert mirror.asked == []


def test_offline_names_the_file_its_address_and_its_place(tmp_path: Path):
    """In a process of its own, whose environment says all."""
    home = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    inherited = {key: text for key, text in os.environ.items() if not key.startswith(("HF_", "LEADLINE_"))}
    program = (
        "from leadline.cli.main import main; raise SystemExit(main(['predict', 'photo.jpg', '--model', 'dpt_large']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=inherited | home, capture_output=True, text=True, timeout=120
    )
    release = RELEASES["dpt_large"]
    assert done.returncode == 1
    for word in ("HF_HUB_OFFLINE", release.addresses[0], str(tmp_path / "assets" / "leadline" / release.file)):
        assert word in done.stderr


def test_a_mirror_that_is_no_address_is_refused(mirror: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LEADLINE_RELEASES", "/mnt/weights")
    with pytest.raises(BadInput, match="LEADLINE_RELEASES must be an address"):
        load("midas_small")


def test_a_name_that_nobody_published_lists_those_that_are():
    with pytest.raises(BadInput, match="go by their names: dpt_hybrid, dpt_hybrid_kitti"):
        load("dtp_hybrid")


# Millions of parameters and thousand millions of multiply-adds, as measured on the original code.
ORIGINAL = {
    "midas_small": (21.3, 4.6),
    "midas_v21": (105.4, 103),
    "dpt_hybrid": (123.1, 128),
    "dpt_large": (344.1, None),
}


@pytest.mark.parametrize("name", ORIGINAL)
def test_counts_are_those_of_the_original_networks(entries: list[dict[str, Any]], name: str):
    (found,) = (entry for entry in entries if entry["name"] == name)
    parameters, multiply_adds = ORIGINAL[name]
    assert found["parameters_in_file"] / 1e6 == pytest.approx(parameters, abs=0.051)
    if multiply_adds:
        assert found["multiply_adds"] / 1e9 == pytest.approx(multiply_adds, rel=0.04)


def test_what_the_table_says_of_a_network_is_counted_on_it():
    """`leadline models` built every network to count it, and took a quarter of a minute."""
    counted = {name: count(name) for name in (DEFAULT, *MODELS)}
    assert json.loads(COUNTS_FILE.read_text(encoding="utf-8")) == counted, (
        "count them anew: python -m leadline.reporting.network_counts"
    )


def test_parameters_are_those_of_the_official_files(entries: list[dict[str, Any]], shared: Path):
    for entry in entries:
        if entry["weights"] and "file" in entry["weights"]:
            layout = shared / "oracles" / "official" / f"{Path(entry['weights']['file']).stem}.json"
            shapes = {key: shape for key, (shape, *_) in json.loads(layout.read_text()).items()}
            trained = [
                math.prod(shape)
                for key, shape in shapes.items()
                if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
            ]
            assert entry["parameters_in_file"] == sum(trained), entry["name"]


def test_the_table_has_a_line_for_every_model_and_says_every_protocol(entries: list[dict[str, Any]]):
    table = models_table(entries)
    assert [line[0] for line in table.lines] == [DEFAULT, *MODELS, *HUB_MODELS]
    for entry in entries:
        if entry["nyu"]:
            assert entry["nyu"]["metrics"].keys() <= METRICS.keys()
            assert entry["nyu"]["protocol"] in table.markdown()


def test_the_documentation_says_what_the_table_says():
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    for name, release in RELEASES.items():
        assert all(address.rpartition("/")[2] in page for address in release.addresses)
        assert f"`{release.file}` | <{release.addresses[0]}>" in page
        (line,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |") and " MB" in line)
        assert f"{release.size / 1e6:.0f} MB, {release.licence}" in line
        for metric, value in (release.nyu.metrics if release.nyu else {}).items():
            assert METRICS[metric].printed(value) in page


def test_the_catalogue_sees_the_weights_that_are_here(entries: list[dict[str, Any]], mirror: Site):
    from leadline.reporting.model_table import entry

    SMALL.path.parent.mkdir(parents=True)
    SMALL.path.write_bytes(b"brought by hand")
    assert entry("midas_small")["weights"]["here"]
    SMALL.path.unlink()
    absent = entry("midas_small")
    assert not absent["weights"]["here"]
    assert "86 MB to download" in models_table([absent]).markdown()


def checkpoint(shared: Path, release: str) -> bytes:
    """A file in the official layout, of random numbers."""
    layout = json.loads((shared / "oracles" / "official" / f"{release}.json").read_text())
    held = BytesIO()
    torch.save({key: torch.rand(shape).to(getattr(torch, dtype)) for key, (shape, dtype, *_) in layout.items()}, held)
    return held.getvalue()

"""Words: options are read as the builder annotates them, and mistakes are named."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from leadline.core.errors import BadInput
from leadline.core.specs import parse_options, parse_spec
from leadline.data.datasets import open_data
from leadline.recipes.train_options import parse_weights


def builder(
    split: str,
    *,
    count: int | None = None,
    scale: float = 1.0,
    path: Path = Path(),
    holes: bool = True,
    size: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """What a builder looks like."""


def test_words_fall_into_name_path_and_options():
    assert parse_spec("rooms") == ("rooms", "", {})
    assert parse_spec("nyu:data/nyu,truth=raw, count=3") == ("nyu", "data/nyu", {"truth": "raw", "count": "3"})


def test_options_take_the_builders_types():
    read = parse_options(builder, {"count": "12", "scale": "256", "path": "a/b", "holes": "no"}, "thing")
    assert read == {"count": 12, "scale": 256.0, "path": Path("a/b"), "holes": False}
    assert parse_options(builder, {"count": "none"}, "thing") == {"count": None}
    assert parse_options(builder, {"size": "192:256"}, "thing") == {"size": (192, 256)}
    assert parse_options(builder, {"size": "0.5:0.5"}, "thing") == {"size": (0.5, 0.5)}
    assert parse_options(builder, {"options": "pad_type:same"}, "thing") == {"options": {"pad_type": "same"}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cuont": "3"}, "No thing option is called 'cuont'. Known thing options: count, holes, options, path"),
        ({"count": "many"}, "thing option count: 'many' is not a whole number"),
        ({"options": "pad_type"}, "thing option options: 'pad_type' is not name:value pairs"),
        ({"holes": "1"}, "thing option holes: '1' is not yes or no"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(BadInput, match=message):
        parse_options(builder, options, "thing")


def test_an_option_without_a_value_is_refused():
    with pytest.raises(BadInput, match="write option=value"):
        parse_spec("rooms,holes")
    with pytest.raises(BadInput, match="count stands twice in"):
        parse_spec("rooms,count=1,count=2")


def test_a_loss_term_that_stands_twice_is_refused():
    assert parse_weights("silog=1,l1=0.5") == {"silog": 1.0, "l1": 0.5}
    with pytest.raises(BadInput, match="names a loss term twice"):
        parse_weights("silog=1,silog=0.5")


def test_an_unknown_dataset_is_refused_with_the_known_ones():
    with pytest.raises(BadInput, match=r"No dataset is called 'romos'\. Known datasets: .*folder, .*nyu, .*rooms"):
        open_data("romos", "train")


def test_a_folder_that_is_not_there_is_refused_by_its_path():
    with pytest.raises(BadInput, match="No folder or file data/nowhere"):
        open_data("data/nowhere,depth_scale=1000", "train")

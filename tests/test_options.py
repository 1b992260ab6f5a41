"""Options: a value that cannot be meant is refused in one line, before anything is claimed or computed."""

import dataclasses
import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadline.cli.main import COMMANDS, main
from leadline.core.errors import BadInput
from leadline.core.ranges import AtLeastOne, OneOf, Positive, Side, Within, check_fields
from leadline.data.transforms import Augmentation
from leadline.evaluation.protocols import protocol
from leadline.models.registry import build
from leadline.training.trainer import HardwareConfig, TrainConfig

TRAIN = [
    "train",
    "--data",
    "rooms,height=32,width=32,count=4",
    "--model",
    "cnn,size=tiny,encoder=test_efficientnet,input_size=32:32",
]

REFUSED = [
    ["--steps", "0"], ["--batch-size", "0"], ["--validate-every", "0"], ["--log-every", "0"], ["--workers", "-1"],
    ["--seed", "-1"], ["--devices", "0"], ["--precision", "bogus"], ["--accelerator", "bogus"], ["--size", "0", "0"],
    ["--learning-rate", "-1"], ["--learning-rate", "nan"], ["--learning-rate", "inf"], ["--ema-decay", "2"],
    ["--augmentation.crop", "0"], ["--augmentation.flip", "nan"], ["--loss", "silog=0"], ["--loss", "silog=nan"],
    ["--monitor", "RMSE"], ["--save-every", "nan"], ["--weight-decay", "-1"], ["--grad-clip", "0"],
    ["--data", "rooms,height=32,width=32,count=4*0 + rooms,height=32,width=32,count=4"],
]  # fmt: skip


@pytest.mark.parametrize("options", REFUSED, ids=" ".join)
def test_a_refused_number_leaves_the_folder_to_the_right_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main([*TRAIN, "--out", str(tmp_path / "run"), *options]) == 1
    said = capsys.readouterr().err
    assert said.startswith("leadline train: ")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run" / "run.json").exists()


def test_the_metric_to_choose_by_is_named_with_the_known_ones(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*TRAIN, "--out", str(tmp_path), "--best-by", "RMSE"]) == 1
    said = capsys.readouterr().err
    assert "--best-by is called --monitor now" in said
    assert "monitor='RMSE': choose one of abs_rel" in said


def test_the_folder_of_the_ground_truth_may_be_given_by_its_old_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["evaluate", "--predictions", str(tmp_path), "--truth", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "--truth is called --ground-truth now" in said
    assert "No depth maps" in said or "known formats are" in said


def test_labels_need_the_images_that_they_are_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["distil", "--teacher", "nowhere", "--out", str(tmp_path / "out"), "--labels", str(tmp_path)]
    assert main(command) == 1
    assert "name these with --unlabelled" in capsys.readouterr().err


def test_only_commands_with_a_teacher_have_a_student(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert end.value.code == 0
    assert "--student" not in capsys.readouterr().out


def is_config(part: Any) -> bool:
    return isinstance(part, type) and dataclasses.is_dataclass(part)


def fields_of(config: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """The options of a command's dataclass with their annotations, those of dataclasses in it included."""
    found = []
    hints = get_type_hints(config, include_extras=True)
    for each in dataclasses.fields(config):
        hint = hints[each.name]
        inner = next(
            (part for part in (hint, *get_args(hint)) if isinstance(part, type) and dataclasses.is_dataclass(part)),
            None,
        )
        if inner is not None:
            found += fields_of(inner)
        else:
            found.append((each.name.replace("_", "-"), hint))
    return found


def marks_of(hint: Any) -> list[Any]:
    """Ranges and choices, however deep they stand in an annotation."""
    own = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Within | OneOf)]
    return own + [mark for part in get_args(hint) if get_origin(hint) is not None for mark in marks_of(part)]


def outside(mark: Any) -> st.SearchStrategy[str]:
    """Values that a mark refuses, as a user types them."""
    if isinstance(mark, OneOf):
        return st.text("abcxyz", min_size=1, max_size=6).filter(lambda text: text not in mark.choices)
    numbers = st.one_of(st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.floats(-1e6, 1e6))
    return numbers.filter(lambda number: not mark.contains(number)).map(lambda number: f"{number:g}")


MARKED = {
    (name, str(mark)): (command, name, mark, hint)
    # What several commands share is tried by one of them.
    for command, (place, _) in COMMANDS.items()
    for name, hint in fields_of(getattr(import_module(place.partition(":")[0]), place.partition(":")[2]))
    for mark in marks_of(hint)[:1]
}


@pytest.mark.parametrize(("command", "name", "mark", "hint"), MARKED.values(), ids=lambda each: str(each)[:30])
def test_what_is_out_of_its_range_is_refused_in_words(command: str, name: str, mark: Any, hint: Any, tmp_path: Path):
    """Whatever else is wrong with the command: the exit code says so, and there is no traceback."""

    @settings(
        max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    )
    @given(outside(mark))
    def check(text: str) -> None:
        count = 2 if "tuple" in str(hint) else 1
        prefix = "augmentation." if name in AUGMENTATION else ""
        words = [*command.split(), *REQUIRED.get(command, []), f"--{prefix}{name}", *[text] * count]
        try:
            code = main([word.format(out=tmp_path / "out") for word in words])
        except SystemExit as refused:
            code = refused.code
        assert code in (1, 2)

    check()


AUGMENTATION = {each.name for each in dataclasses.fields(Augmentation)}
REQUIRED = {
    "train": ["--out", "{out}"],
    "train small": ["--out", "{out}", "--encoder", "nowhere", "--measured", "nowhere"],
    "distil": ["--out", "{out}", "--teacher", "nowhere"],
    "label": ["--teacher", "nowhere", "--data", "rooms", "--out", "{out}"],
    "data prepare": ["rooms", "--out", "{out}", "--size", "32:32"],
    "data render": ["--catalogues", "nowhere", "--out", "{out}", "--python", "nowhere"],
    "data inspect": ["nowhere/there"],
    "data doctor": ["nowhere/there"],
}


def test_there_are_ranges_to_check() -> None:
    assert len(MARKED) > 25


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_config_takes_just_what_its_ranges_say(data: st.DataObject) -> None:
    config = data.draw(st.sampled_from([TrainConfig, HardwareConfig, Augmentation]))
    hints = get_type_hints(config, include_extras=True)
    name = data.draw(st.sampled_from([name for name, hint in hints.items() if marks_of(hint) and name != "size"]))
    mark = marks_of(hints[name])[0]
    if isinstance(mark, OneOf):
        value: Any = data.draw(st.one_of(st.sampled_from(sorted(mark.choices)), st.text(max_size=5)))
        is_good = value in mark.choices
    else:
        value = data.draw(st.one_of(st.integers(-3, 3), st.integers(1, 1000)))
        is_good = mark.contains(value)
    made = object.__new__(config)
    for each in dataclasses.fields(config):
        usual = each.default if each.default is not dataclasses.MISSING else Augmentation()
        object.__setattr__(made, each.name, value if each.name == name else usual)
    if is_good:
        check_fields(made)
    else:
        with pytest.raises(BadInput, match=f"{name}="):
            check_fields(made)


@dataclasses.dataclass(frozen=True)
class _Config:
    steps: AtLeastOne = 1
    rate: Positive = 1.0
    size: tuple[Side, Side] | None = None
    is_on: bool = False
    mode: Annotated[str, OneOf(("a", "b"))] = "a"


def test_numbers_of_other_libraries_become_python_s():
    """The configuration of a run is written as JSON, which knows none of NumPy's."""
    made = _Config(np.int64(3), np.longdouble(0.5), (np.int32(4), torch.tensor(6)), np.bool_(True))  # pyright: ignore[reportArgumentType]
    check_fields(made)
    told = {"steps": 3, "rate": 0.5, "size": [4, 6], "is_on": True, "mode": "a"}
    assert json.loads(json.dumps(dataclasses.asdict(made))) == told
    assert protocol("indoor", cap=np.float32(8), scales=(np.float64(1), 2)).as_dict() | {"crop_shares": []} == (
        protocol("indoor", cap=8.0, scales=(1.0, 2.0)).as_dict() | {"crop_shares": []}
    )
    model = build("cnn", size="tiny", width=np.int64(8), input_size=(np.int64(32), np.int64(64)))
    assert (model.arguments["width"], model.arguments["input_size"]) == (8, [32, 64])


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"steps": 2.0}, r"steps=2\.0: give a whole number, at least 1"),
        ({"steps": "2"}, "steps='2': give a whole number"),
        ({"steps": True}, "steps=True: give a whole number"),
        ({"steps": np.float64(2)}, r"steps=2\.0: give a whole number"),
        ({"rate": "fast"}, "rate='fast': give a finite number, more than 0"),
        ({"steps": [4]}, r"steps=\[4\]: give a whole number"),
        ({"steps": None}, "steps=None: give a whole number"),
        ({"steps": 10**400}, "steps=1000.*: give a finite number, at least 1"),
        ({"size": (4, 6.5)}, r"size=4:6\.5: give a whole number"),
        ({"size": (4, 0)}, "size=4:0: give at least 1"),
        ({"size": 4}, "size=4: give 2 values, each at least 1"),
        ({"size": (4, 5, 6)}, r"size=\(4, 5, 6\): give 2 values"),
        ({"is_on": "no"}, "is_on='no': give True or False"),
        ({"mode": ["a"]}, r"mode=\['a'\]: choose one of a, b"),
    ],
)
def test_numbers_of_another_type_are_refused_in_words(fields, fault):
    with pytest.raises(BadInput, match=fault):
        check_fields(_Config(**fields))


def test_the_home_folder_is_meant_where_a_shell_left_its_sign(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for words in (["--data", "~/a"], ["--data=~/a"], ["--data", "nyu:~/a"], ["--data", "./a + ~/a"]):
        assert main(["evaluate", *words]) == 1
        assert f"{tmp_path}/home/a" in capsys.readouterr().err
    assert main(["predict", "~/photo~.jpg", "--out", "~/depth"]) == 1
    assert f"{tmp_path}/home/photo~.jpg" in capsys.readouterr().err
    assert not (tmp_path / "~").exists()

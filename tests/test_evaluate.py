"""Evaluation gives the published program's figures, and says what every figure was measured on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from seer import Listed
from torch import Tensor, nn

from leadline.cli.evaluate import EvaluateCommand
from leadline.cli.main import main
from leadline.cli.protocol_options import ProtocolOptions
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.sample import Sample
from leadline.evaluation.evaluate import constant_baseline, evaluate, evaluate_metrics
from leadline.evaluation.evaluate_maps import evaluate_maps
from leadline.evaluation.protocols import CROPS, protocol
from leadline.evaluation.score_table import ConstantBaseline
from leadline.io.depth_maps import DepthMap, write_depth
from leadline.models.base import DepthModel, ModelSpec, Preprocessing, Provenance
from leadline.models.registry import build
from leadline.models.saving import save
from leadline.training.objectives import Supervised
from leadline.training.pseudo_labels import label
from leadline.training.trainer import TrainConfig, fit

INDOOR = protocol("indoor")
BTS_NAMES = {
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel",
    "rmse": "RMSE",
    "log_rms": "RMSElog",
    "log10": "log10",
    "silog_bts": "SILog",
    "d1": "d1",
    "d2": "d2",
    "d3": "d3",
}


class Brightness(DepthModel):
    """Depth is ten times the red channel, which the rooms below hold, and `factor` says by how much it errs."""

    def __init__(self, factor: float = 1.0, kind: DepthKind = DepthKind.METRIC) -> None:
        super().__init__(kind, Preprocessing(size=(8, 12), multiple=1), Provenance(), spec=ModelSpec("brightness"))
        self.encoder = nn.Identity()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward_canonical(self, image: Tensor) -> Tensor:
        depth = 10 * self.factor * image[:, :1]
        return depth.reciprocal() if self.kind is DepthKind.RELATIVE else depth

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.encoder(image),)


def _sample(index: int, size: tuple[int, int] = (8, 12)) -> Sample:
    depth = torch.rand(1, *size, generator=torch.Generator().manual_seed(index)) * 6 + 1 + index / 2
    valid = torch.rand(1, *size, generator=torch.Generator().manual_seed(100 + index)) < 0.8
    return Sample(depth.expand(3, -1, -1) / 10, torch.where(valid, depth, 0), valid, name=f"scene/{index}")


@pytest.fixture
def data() -> Listed:
    return Listed([_sample(index) for index in range(5)])


def _folder(path: Path, maps: dict[str, np.ndarray]) -> Path:
    """Millimetres as 16-bit PNG."""
    for name, metres in maps.items():
        depth = torch.tensor(metres, dtype=torch.float32)[None]
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        write_depth(path / f"{name}.png", DepthMap(depth, depth > 0))
    return path


def test_the_published_program_prints_the_same_figures(shared, tmp_path, capsys):
    nyu = shared / "oracles" / "bts" / "nyu"
    command = EvaluateCommand(
        options=ProtocolOptions(protocol="nyu_eigen"),
        predictions=nyu / "pred",
        ground_truth=nyu / "gt",
        depth_scale=1000.0,
        json=tmp_path / "figures.json",
    )
    assert command.run() == 0
    said = json.loads((tmp_path / "figures.json").read_text())
    published = json.loads((nyu.parent / "numbers.json").read_text())["eigen_crop, cap 10 m"]
    for ours, theirs in BTS_NAMES.items():
        assert said["metrics"][ours] == pytest.approx(published[theirs], rel=1e-6)
    assert said["metrics"].keys() >= {*BTS_NAMES, "mae", "silog"}
    assert (said["protocol"]["words"], said["protocol"]["cap"]) == ("nyu_eigen", 10)
    assert [image["name"] for image in said["per_image"]] == [f"000{i}" for i in range(9)]
    assert "predicted as zero" in capsys.readouterr().out


def test_a_table_holds_the_model_and_the_flat_predictors(data):
    table = evaluate(Brightness(1.1), data, INDOOR)
    model, mean, median, own = table.rows
    pixels = torch.cat([sample.depth[sample.valid] for sample in data.samples]).double().numpy()
    assert (model.name, model.images, model.pixels) == ("brightness", 5, len(pixels))
    assert model.metrics["abs_rel"] == pytest.approx(0.1, rel=1e-3)
    assert mean.name == f"mean depth of the ground truth ({pixels.mean():.2f} m)"
    assert median.name == f"median depth of the ground truth ({np.median(pixels):.2f} m)"
    off = [sample.depth[sample.valid].double().numpy() - np.median(pixels) for sample in data.samples]
    assert median.metrics["rmse"] == pytest.approx(np.mean([np.sqrt(np.mean(each**2)) for each in off]), rel=1e-5)
    off = [each.depth[each.valid].double().numpy() for each in data.samples]
    own_error = np.mean([np.abs(each - np.median(each)).mean() for each in off])
    assert own.name == "each image's own median depth (knows the truth)"
    assert own.metrics["mae"] == pytest.approx(own_error, rel=1e-5)
    assert own.metrics["mae"] < median.metrics["mae"]
    assert all(row.protocol == "indoor" and row.kind == "metric" for row in table.rows)


def test_a_table_of_several_scenes_has_each_scenes_own_median_beside_each_images(tmp_path):
    """For a dataset and for maps in files alike: one number for a place is a rival that a network must beat."""
    places = [(f"{scene}/{i}", far) for scene, far in (("hall", 5), ("desk", 1)) for i in "01"]
    random = np.random.default_rng(0)
    depths = {name: (1000 * (far + random.random((32, 48)))).astype(np.uint16) for name, far in places}
    for name, depth in depths.items():
        for folder, values in (("truth", depth), ("maps", (1.1 * depth).astype(np.uint16))):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / f"{name}.png")
    metres = {name: torch.from_numpy(depth.astype(np.float32) / 1000)[None] for name, depth in depths.items()}
    samples = [Sample(depth.expand(3, -1, -1) / 10, depth, depth > 0, name=name) for name, depth in metres.items()]
    of_dataset = evaluate(Brightness(), Listed(samples), INDOOR).rows
    of_files = evaluate_maps(tmp_path / "maps", tmp_path / "truth", INDOOR, depth_scale=1000).rows
    scenes = [np.stack([depths[f"{scene}/{i}"] for i in "01"]) / 1000 for scene in ("hall", "desk")]
    expected = np.mean([np.abs(image - np.median(scene)).mean() for scene in scenes for image in scene])
    for rows in (of_dataset, of_files):
        flat = [row.name.partition(" depth")[0] for row in rows[1:]]
        assert flat == ["mean", "median", "each scene's own median", "each image's own median"]
        assert rows[3].metrics["mae"] == pytest.approx(expected, rel=1e-5)
        assert rows[3].pixels == rows[0].pixels
        assert rows[4].metrics["mae"] <= rows[3].metrics["mae"] < rows[2].metrics["mae"]


def test_blind_predictors_learn_from_the_training_data_if_there_is_any(data):
    training = Listed([_sample(5), _sample(6)], "listed train")
    known = constant_baseline(training, INDOOR)
    for given in (training, known, ConstantBaseline(3.0, 2.0, "elsewhere")):
        rows = evaluate(Brightness(), data, INDOOR, training=given).rows
        said = given if isinstance(given, ConstantBaseline) else known
        assert rows[1].name == f"mean depth of {said.source} ({said.mean:.2f} m)"
    assert known.source == "listed train"
    assert constant_baseline(data, INDOOR) == constant_baseline(data, INDOOR)


def test_measure_is_the_first_row_whatever_the_batches(data):
    mixed = Listed([*data.samples, _sample(5, (9, 7)), _sample(6, (9, 7)), _sample(6)])
    whole = evaluate(Brightness(0.8), mixed, INDOOR)
    for batch_size in (1, 2, 8):
        assert evaluate_metrics(Brightness(0.8), mixed, INDOOR, batch_size=batch_size) == whole.rows[0].metrics


def test_each_image_keeps_its_own_figures(data):
    samples = [data[0], data[1].replace(image=data[1].image * 0.5), data[2]]
    row = evaluate(Brightness(), Listed(samples), INDOOR).rows[0]
    assert [(image.name, image.index) for image in row.worst(1)] == [("scene/1", 1)]
    assert row.metrics["rmse"] == pytest.approx(np.mean([image.metrics["rmse"] for image in row.per_image]))
    assert row.worst(3, "d1")[0].name == "scene/1"


def test_flip_takes_the_mean_with_the_mirror_image(data):
    class Slanted(Brightness):
        def forward_canonical(self, image: Tensor) -> Tensor:
            return super().forward_canonical(image) * torch.linspace(0.5, 1.5, image.shape[-1])

    plain, flipped = (evaluate_metrics(Slanted(), data, protocol("indoor", flip=flip)) for flip in (False, True))
    assert plain["abs_rel"] > 0.2
    assert flipped["abs_rel"] == pytest.approx(0, abs=1e-5)


def test_scales_take_the_mean_over_sizes_of_the_input_and_the_protocol_says_so(data):
    class Sized(Brightness):
        def forward_canonical(self, image: Tensor) -> Tensor:
            return super().forward_canonical(image) * image.shape[-1] / self.preprocessing.size[1]

    rules = protocol("indoor", scales=(0.5, 1.5))
    assert rules.words == "indoor, mean over scales 0.5, 1.5"
    flat = data[0].replace(image=torch.full_like(data[0].image, 0.3), depth=torch.full_like(data[0].depth, 3.0))
    half, both = (
        evaluate_metrics(Sized(), Listed([flat]), protocol("indoor", scales=scales)) for scales in ((0.5,), (0.5, 1.5))
    )
    assert half["abs_rel"] == pytest.approx(0.5, abs=1e-5)
    assert both["abs_rel"] == pytest.approx(0, abs=1e-5)
    with pytest.raises(BadInput, match=r"scales=0: give at least 0\.1 and at most 10"):
        protocol("indoor", scales=(0.0,))
    with pytest.raises(BadInput, match="leave --scales out"):
        evaluate_maps(".", ".", rules)


def test_images_without_truth_are_left_out_and_said(data):
    empty = data[0].replace(valid=torch.zeros_like(data[0].valid), name="scene/empty")
    table = evaluate(Brightness(1.2), Listed([*data.samples, empty]), INDOOR)
    assert table.rows[0].metrics == evaluate(Brightness(1.2), data, INDOOR).rows[0].metrics
    assert table.rows[0].images == 5
    assert table.notes == ("1 of 6 images have no ground truth that counts and are left out (scene/empty).",)
    for judge in (evaluate, evaluate_metrics):
        with pytest.raises(BadInput, match="pixel that counts"):
            judge(Brightness(), Listed([empty]), INDOOR)


def test_predictions_that_are_no_numbers_are_held_to_the_range_and_said(data):
    class Endless(Brightness):
        def forward_canonical(self, image: Tensor) -> Tensor:
            return super().forward_canonical(image).where(image[:, :1] < 1, torch.inf)

    image = data[0].image.clone()
    image[:, 0, 0], image[:, 1, 1] = 1, 0
    valid = torch.ones_like(data[0].valid)
    spoilt = data[0].replace(image=image, valid=valid, depth=torch.full_like(data[0].depth, 2.0))
    row = evaluate(Endless(), Listed([spoilt]), INDOOR).rows[0]
    assert all(np.isfinite(value) for value in row.metrics.values())
    assert row.note.startswith("2 counted pixels are predicted as zero, less or no number")


def test_a_departure_from_the_protocol_shows_in_every_row(data):
    table = evaluate(Brightness(), data, protocol("nyu_eigen", cap=50.0, alignment="median"))
    assert {row.protocol for row in table.rows} == {"nyu_eigen, cap 50 m, alignment median"}
    assert "nyu_eigen, cap 50 m, alignment median" in table.markdown()


def test_relative_depth_needs_its_own_alignment(data):
    model = Brightness(0.3, DepthKind.RELATIVE)
    with pytest.raises(BadInput, match="--alignment inverse_scale_shift"):
        evaluate(model, data, INDOOR)
    row = evaluate(model, data, protocol("indoor", alignment="inverse_scale_shift")).rows[0]
    assert row.metrics["rmse"] == pytest.approx(0, abs=1e-3)
    assert row.kind == "relative"


def test_truths_without_a_unit_are_refused(data):
    with pytest.raises(BadInput, match="listed test is scale_free"):
        evaluate(Brightness(), Listed(data.samples, "listed test", DepthKind.SCALE_FREE), INDOOR)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"image": lambda sample: sample.image * 255}, "floats go from .* divide by 255"),
        ({"depth": lambda sample: sample.depth * 1000}, "is in metres: divide by 1000 if it is in millimetres"),
        ({"depth": lambda sample: sample.depth.where(sample.depth < 4, torch.nan)}, "valid depth is not finite"),
        ({"valid": lambda sample: torch.ones_like(sample.valid)}, "not positive: mark it as not valid"),
    ],
)
def test_a_dataset_of_ones_own_is_refused_what_readers_of_files_refuse(data, changes, fault, tmp_path):
    wrong = Listed([each.replace(**{part: make(each) for part, make in changes.items()}) for each in data.samples])
    for use in (
        lambda: evaluate(Brightness(), wrong, INDOOR),
        lambda: label(Brightness(), wrong, tmp_path / "labels"),
        lambda: fit(Brightness(), data, wrong, Supervised(), TrainConfig(steps=1), tmp_path / "run", protocol=INDOOR),
    ):
        with pytest.raises(BadInput, match=f"The first sample of listed.*{fault}"):
            use()
    assert {each.name for each in tmp_path.rglob("*")} <= {"run", ".lock"}


METRES = np.linspace(1, 6, 48, dtype=np.float32).reshape(6, 8)


def test_maps_are_matched_by_name_in_subfolders_too(tmp_path):
    truth = _folder(tmp_path / "truth", {"a/1": METRES, "b/1": METRES + 1})
    guess = _folder(tmp_path / "guess", {"b/1": METRES + 1, "a/1": METRES * 1.1})
    table = evaluate_maps(str(guess), str(truth), INDOOR)
    figures = {image.name: image.metrics["abs_rel"] for image in table.rows[0].per_image}
    assert figures == pytest.approx({"a/1": 0.1, "b/1": 0.0}, rel=1e-3)


def test_a_folder_that_is_compared_with_itself_says_so(tmp_path):
    truth = _folder(tmp_path / "truth", {"1": METRES})
    guess = _folder(tmp_path / "guess", {"1": METRES * 1.1})
    (tmp_path / "link").symlink_to(truth)
    said = "Predictions and ground truth are one folder: the figures compare each map with itself."
    for folder in (truth, tmp_path / "link", tmp_path / "guess" / ".." / "truth"):
        assert said in evaluate_maps(folder, truth, INDOOR).notes
    assert said not in evaluate_maps(guess, truth, INDOOR).notes


@pytest.mark.parametrize("scale", [1000.0, 256.0, 5000.0])
def test_maps_of_whole_steps_score_as_the_same_depths_in_floats_do(tmp_path, scale):
    rng = np.random.default_rng(0)
    folders = {name: tmp_path / name for name in ("guess", "steps", "floats")}
    for folder in folders.values():
        folder.mkdir()
    for number in range(2):
        steps = rng.integers(0, int(6 * scale), (120, 160)).astype(np.uint16) // 7 * 7  # many of the same depth
        guess = (steps * rng.uniform(0.8, 1.25, steps.shape)).astype(np.uint16)
        cv2.imwrite(str(folders["guess"] / f"{number}.png"), guess)
        cv2.imwrite(str(folders["steps"] / f"{number}.png"), steps)
        np.save(folders["floats"] / f"{number}.npy", (steps / np.float32(scale)).astype(np.float32))
    tables = [
        evaluate_maps(folders["guess"], folders["steps"], INDOOR, depth_scale=scale),
        evaluate_maps(folders["guess"], folders["floats"], INDOOR, prediction_scale=scale),
    ]
    counted, sorted_ = ([(row.pixels, row.metrics) for row in table.rows] for table in tables)
    assert counted == sorted_
    assert len(counted) == 4


def test_zeros_in_predicted_maps_are_no_holes(tmp_path):
    truth = _folder(tmp_path / "truth", {"1": METRES})
    guess = _folder(tmp_path / "guess", {"1": np.where(METRES > 3, 0, METRES)})
    row = evaluate_maps(guess, truth, INDOOR).rows[0]
    assert row.pixels == METRES.size
    assert row.metrics["d1"] == pytest.approx(np.mean(METRES <= 3))


def test_predictions_may_have_a_scale_and_a_kind_of_their_own(tmp_path):
    truth = _folder(tmp_path / "truth", {"1": METRES})
    (tmp_path / "guess").mkdir()
    Image.fromarray((METRES * 2 * 256).round().astype(np.uint16)).save(tmp_path / "guess" / "1.png")
    scores = evaluate_maps(tmp_path / "guess", truth, INDOOR, prediction_scale=512.0).rows[0].metrics
    assert scores["abs_rel"] == pytest.approx(0, abs=2e-3)
    aligned = protocol("indoor", alignment="median")
    row = evaluate_maps(tmp_path / "guess", truth, aligned, prediction_scale=77.0, kind=DepthKind.SCALE_FREE).rows[0]
    assert row.metrics["abs_rel"] == pytest.approx(0, abs=2e-3)
    assert row.kind == "scale_free"


def test_one_scale_for_integers_and_for_floats_in_metres_is_refused(tmp_path):
    """Millimetres in PNG beside metres in NPY: a scale for both makes a thousandth of the latter."""
    for name in ("steps", "floats"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "steps" / "1.png"), (METRES * 1000).round().astype(np.uint16))
    np.save(tmp_path / "floats" / "1.npy", METRES)
    steps, floats = tmp_path / "steps", tmp_path / "floats"
    for guess, truth in ((floats, steps), (steps, floats)):
        with pytest.raises(
            BadInput, match=r"1\.npy has a median of 0\.0035 m .* seems to be in metres: .*--prediction-"
        ):
            evaluate_maps(guess, truth, protocol("nyu_full"), depth_scale=1000.0, kind=DepthKind.METRIC)
    for guess, truth, scale, own in ((floats, steps, 1000.0, 1.0), (steps, floats, 1.0, 1000.0)):
        row = evaluate_maps(guess, truth, INDOOR, depth_scale=scale, prediction_scale=own).rows[0]
        assert row.metrics["mae"] < 1e-3
        assert not row.note
    # An empty first map tells nothing.
    np.save(floats / "0.npy", METRES * 0)
    cv2.imwrite(str(steps / "0.png"), (METRES * 1000).round().astype(np.uint16))
    with pytest.raises(BadInput, match=r"1\.npy has a median of 0\.0035 m"):
        evaluate_maps(floats, steps, INDOOR, depth_scale=1000.0)
    # A file that states its unit has its own scale, whatever it holds.
    macro = _folder(tmp_path / "macro", {"1": METRES / 100})
    assert evaluate_maps(macro, macro, protocol("nyu_full"), depth_scale=1000.0).rows[0].metrics["mae"] == 0


@pytest.mark.parametrize("alignment", ["scale_shift", "inverse_scale_shift"])
def test_zeros_in_some_pixels_are_told_of_where_a_shift_is_fitted(tmp_path, alignment):
    truth = _folder(tmp_path / "truth", {"1": METRES})
    guess = _folder(tmp_path / "guess", {"1": np.where(np.arange(8) % 3, METRES, 0)})
    note = evaluate_maps(guess, truth, protocol("indoor", alignment=alignment)).rows[0].note
    assert "18 counted pixels are predicted as zero, less or no number: zeros take part in its fit" in note


def test_a_unit_that_is_asked_for_is_an_option_of_the_command(tmp_path, capsys):
    for folder, factor in (("guess", 100), ("truth", 1)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "1.npy", METRES * factor)
    words = ["evaluate", "--predictions", str(tmp_path / "guess"), "--ground-truth", str(tmp_path / "truth")]
    assert main(words) == 1
    assert (
        "state kind=metric for metres, scale_free or relative. Here the options are --pred" in capsys.readouterr().err
    )
    assert main([*words, "--kind", "metric"]) == 1
    assert "Here the options are --prediction-scale and --kind." in capsys.readouterr().err
    assert main([*words, "--kind", "metric", "--prediction-scale", "100"]) == 0


def test_what_is_predicted_outside_of_the_range_is_a_note(tmp_path):
    truth = _folder(tmp_path / "truth", {"1": METRES})
    guess = _folder(tmp_path / "guess", {"1": np.where(METRES > 4, 20, METRES)})
    note = evaluate_maps(guess, truth, INDOOR).rows[0].note
    assert (METRES > 4).mean() == pytest.approx(0.4, abs=0.005)
    assert note == "40% of the counted pixels are predicted nearer than 0.1 m or farther than 10 m: held to this range"
    assert not evaluate_maps(guess, truth, protocol("indoor", cap=21.0)).rows[0].note
    assert not evaluate_maps(guess, truth, protocol("indoor", alignment="median")).rows[0].note


@pytest.mark.parametrize("alignment", ["none", "median", "scale", "scale_shift", "inverse_scale_shift"])
@pytest.mark.parametrize("nothing", [0.0, np.nan])
def test_a_map_without_any_depth_gains_nothing_by_an_alignment(tmp_path, alignment, nothing):
    for folder, depth in (("guess", np.full_like(METRES, nothing)), ("truth", METRES)):
        (tmp_path / folder).mkdir()
        for number in range(3):
            np.save(tmp_path / folder / f"{number}.npy", METRES if number else depth)
    kind = DepthKind.METRIC
    rules = protocol("indoor", alignment=alignment)
    row = evaluate_maps(tmp_path / "guess", tmp_path / "truth", rules, depth_scale=1.0, kind=kind).rows[0]
    assert row.per_image[0].metrics["mae"] == pytest.approx(np.mean(METRES - 0.1), rel=1e-5)
    assert row.per_image[1].metrics["mae"] < 1e-5
    assert "1 of 3 images have no predicted depth at all: scored as 0.1 m everywhere (0)" in row.note


def test_relative_maps_without_any_number_gain_nothing_by_an_alignment(tmp_path):
    for folder, values in (("guess", np.full_like(METRES, np.nan)), ("truth", METRES)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "1.npy", values)
    np.save(tmp_path / "guess" / "2.npy", 1 / METRES)
    np.save(tmp_path / "truth" / "2.npy", METRES)
    rules = protocol("indoor", alignment="inverse_scale_shift")
    row = evaluate_maps(
        tmp_path / "guess", tmp_path / "truth", rules, depth_scale=1.0, prediction_scale=1.0, kind=DepthKind.RELATIVE
    ).rows[0]
    assert row.per_image[0].metrics["mae"] == pytest.approx(np.mean(METRES - 0.1), rel=1e-5)
    assert row.per_image[1].metrics["mae"] < 1e-4
    assert "no predicted depth at all: scored as 0.1 m everywhere (1)" in row.note


def test_options_of_models_are_refused_beside_maps(tmp_path, capsys):
    folder = _folder(tmp_path, {"1": METRES})
    for option in ("--split val", "--batch-size 4", "--device cuda", "--backend torch"):
        words = ["evaluate", "--predictions", str(folder), "--ground-truth", str(folder), *option.split()]
        assert main(words) == 1
        assert (
            f"{option.split()[0]} is of a model, and --predictions, --ground-truth of maps" in capsys.readouterr().err
        )


def test_maps_of_another_size_are_refused_or_resized(tmp_path):
    truth = _folder(tmp_path / "truth", {"1": METRES})
    guess = _folder(tmp_path / "guess", {"1": np.full((12, 16), 2.0)})
    with pytest.raises(BadInput, match=r"1: the prediction is 12 × 16 and the ground truth 6 × 8 pixels.*--resize"):
        evaluate_maps(guess, truth, INDOOR)
    resized = evaluate_maps(guess, truth, INDOOR, resize=True).rows[0]
    assert resized.metrics["mae"] == pytest.approx(np.abs(METRES - 2).mean(), rel=1e-3)


def test_bad_folders_are_refused_with_what_is_wrong(tmp_path):
    truth = _folder(tmp_path / "truth", {"1": METRES, "2": METRES})
    guess = _folder(tmp_path / "guess", {"1": METRES, "3": METRES})
    zero = _folder(tmp_path / "zero", {"1": METRES * 0, "3": METRES * 0})
    (tmp_path / "empty").mkdir()
    for predictions, truths, message in (
        (guess, truth, r"1 in .*guess only \(3\); 1 in .*truth only \(2\)"),
        (guess, tmp_path / "empty", "No depth maps in .*empty"),
        (tmp_path / "none", truth, "No folder .*none"),
        (guess, zero, "no pixel that counts"),
    ):
        with pytest.raises(BadInput, match=message):
            evaluate_maps(predictions, truths, INDOOR)
    with pytest.raises(BadInput, match="leave --flip out"):
        evaluate_maps(guess, guess, protocol("indoor", flip=True))
    (guess / "1.npz").write_bytes((guess / "1.png").read_bytes())
    with pytest.raises(BadInput, match="have the same name"):
        evaluate_maps(guess, truth, INDOOR)


def test_a_command_that_does_not_say_what_to_score_is_refused(tmp_path):
    for command in (
        EvaluateCommand(),
        EvaluateCommand(model=str(tmp_path)),
        EvaluateCommand(predictions=tmp_path, data="rooms"),
    ):
        with pytest.raises(BadInput, match=r"either --data \(and --model\), or --predictions and --ground-truth"):
            command.run()
    with pytest.raises(BadInput, match="Known protocols: indoor, kitti_eigen"):
        EvaluateCommand(options=ProtocolOptions(protocol="nyu"), predictions=tmp_path, ground_truth=tmp_path).run()


def _rated(tmp_path: Path, guess: Path, truth: Path, *options: str) -> dict:
    figures = tmp_path / "figures.json"
    command = ["evaluate", "--predictions", str(guess), "--ground-truth", str(truth), "--json", str(figures), *options]
    assert main(command) == 0
    return json.loads(figures.read_text())


def _steps(folder: Path, steps: np.ndarray, name: str = "1.png") -> Path:
    """16-bit numbers that do not say what they are, as other tools and benchmarks save them."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(steps.round().astype(np.uint16)).save(folder / name)
    return folder


@pytest.mark.parametrize("size", [(375, 1242), (370, 1224)])
def test_kittis_benchmark_crop_is_placed_back_where_it_was_cut_out(tmp_path, size):
    metres = np.random.default_rng(1).uniform(2, 70, size)
    truth = _steps(tmp_path / "truth", metres * 256)
    left = (size[1] - 1216) // 2
    guess = _steps(tmp_path / "guess", metres[-352:, left : left + 1216] * 256)
    rules = ("--depth-scale", "256", "--protocol", "kitti_garg")
    said = _rated(tmp_path, guess, truth, *rules, "--resize")
    assert said["metrics"]["rmse"] == pytest.approx(0, abs=1e-6)
    assert said["rows"][0]["pixels"] == np.zeros(size)[CROPS["kitti_garg"].window(*size)].size
    (note,) = said["notes"]
    assert note.startswith("1 of 1 predictions are KITTI's benchmark crop, and placed back at rows ")
    assert f"{size[0] - 352}:{size[0]} and columns {left}:{left + 1216}" in note


def test_nyus_crop_is_placed_back_and_what_lies_outside_is_left_out_and_said(tmp_path):
    metres = np.random.default_rng(1).uniform(1, 9, (480, 640))
    truth = _steps(tmp_path / "truth", metres * 1000)
    guess = _steps(tmp_path / "guess", metres[45:471, 41:601] * 1000)
    said = _rated(tmp_path, guess, truth, "--depth-scale", "1000", "--protocol", "nyu_eigen", "--resize")
    assert said["metrics"]["rmse"] == pytest.approx(0, abs=1e-6)
    assert said["rows"][0]["pixels"] == 426 * 560
    assert len(said["notes"]) == 1
    assert "placed back at rows 45:471 and columns 41:601 of 480 × 640 pixels" in said["notes"][0]
    full = _rated(tmp_path, guess, truth, "--depth-scale", "1000", "--protocol", "nyu_full")
    assert full["metrics"]["rmse"] == pytest.approx(0, abs=1e-6)
    left_out = 480 * 640 - 426 * 560
    assert full["notes"][1].startswith(f"{left_out:,} measured pixels that the protocol counts lie outside the crops")


def test_a_prediction_of_another_aspect_is_never_stretched(tmp_path, capsys):
    truth = _folder(tmp_path / "truth", {"1": np.full((48, 64), 2.0)})
    guess = _folder(tmp_path / "guess", {"1": np.full((40, 64), 2.0)})
    command = ["evaluate", "--predictions", str(guess), "--ground-truth", str(truth)]
    for options in ([], ["--resize"]):
        assert main([*command, *options]) == 1
        said = capsys.readouterr().err
        assert "the prediction is 40 × 64 and the ground truth 48 × 64 pixels, of another aspect" in said
        assert "save it within an image of the ground truth's size" in said
        assert "let --resize" not in said


def test_sides_that_networks_round_may_be_resized_and_that_is_said(tmp_path):
    truth = _folder(tmp_path / "truth", {"1": np.full((375, 1242), 2.0)})
    guess = _folder(tmp_path / "guess", {"1": np.full((192, 640), 2.0)})
    said = _rated(tmp_path, guess, truth, "--resize")
    assert said["metrics"]["rmse"] == pytest.approx(0, abs=1e-6)
    assert said["notes"] == ["1 of 1 predictions are resized from 192 × 640 to 375 × 1242 pixels."]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Three photographs, one in a folder of its own."""
    folder = tmp_path_factory.mktemp("photographs")
    for number, name in enumerate(("a.jpg", "b.JPG", "more/c.png")):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 50, 3), np.uint8)
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


WAYS = {
    DepthKind.METRIC: ("none", "png", "pfm"),
    DepthKind.RELATIVE: ("inverse_scale_shift", "png", "npz", "tiff", "pfm"),
}


@pytest.mark.parametrize(("kind", "suffix"), [(kind, suffix) for kind in WAYS for suffix in WAYS[kind][1:]])
def test_what_predict_writes_is_scored_without_an_option(tmp_path, photographs, kind, suffix):
    save(build("cnn", size="tiny", encoder="test_efficientnet", kind=kind.value), tmp_path / "model")
    maps = tmp_path / "maps"
    command = ["predict", str(photographs), "--model", str(tmp_path / "model"), "--out", str(maps)]
    assert main([*command, "--format", suffix]) == 0
    assert (maps / "a.colour.png").is_file()
    metres = np.random.default_rng(0).uniform(1, 9, (30, 50))
    for name in ("a", "b", "more/c"):
        _steps(tmp_path / "truth", metres * 1000, f"{name}.png")
    options = ("--depth-scale", "1000", "--alignment", WAYS[kind][0])
    said = _rated(tmp_path, maps, tmp_path / "truth", *options)
    assert [image["name"] for image in said["per_image"]] == ["a", "b", "more/c"]
    assert said["rows"][0]["kind"] == kind.value
    assert said["notes"][0].startswith("Ignored in both folders: 3 colour pictures of Leadline's")


def test_maps_with_a_scale_each_are_scored_without_an_option(tmp_path):
    near, far = METRES, METRES * 20
    for folder in ("truth", "guess"):
        for name, metres, scale in (("1", near, 1000.0), ("2", far, 256.0)):
            depth = torch.from_numpy(metres)[None]
            path = tmp_path / folder / (f"{name}.png" if folder == "guess" else f"{name}.npz")
            path.parent.mkdir(exist_ok=True)
            write_depth(path, DepthMap(depth, depth > 0), depth_scale=scale)
    said = _rated(tmp_path, tmp_path / "guess", tmp_path / "truth", "--cap", "200")
    assert said["metrics"]["rmse"] == pytest.approx(0, abs=3e-3)
    for name, metres in (("1", near), ("2", far)):
        _steps(tmp_path / "millimetres", metres * 500, f"{name}.png")
    said = _rated(tmp_path, tmp_path / "guess", tmp_path / "millimetres", "--depth-scale", "500", "--cap", "200")
    assert said["metrics"]["rmse"] == pytest.approx(0, abs=5e-3)


def test_truths_in_floats_without_words_are_metres_unless_they_cannot_be(tmp_path, capsys):
    for name, unit in (("metres", 1), ("millimetres", 1000)):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "1.npz", depth=METRES * unit)
    guess = _folder(tmp_path / "guess", {"1": METRES})
    assert _rated(tmp_path, guess, tmp_path / "metres")["metrics"]["rmse"] == pytest.approx(0, abs=1e-3)
    assert main(["evaluate", "--predictions", str(guess), "--ground-truth", str(tmp_path / "millimetres")]) == 1
    assert "depth_scale=1000" in capsys.readouterr().err
    said = _rated(tmp_path, guess, tmp_path / "millimetres", "--depth-scale", "1000")
    assert said["metrics"]["rmse"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("background", [1e10, 65504.0, 65535.0])
def test_a_renderers_background_in_truths_is_refused_until_it_is_stated(tmp_path, capsys, background):
    guess = _folder(tmp_path / "guess", {"1": METRES})
    (tmp_path / "truth").mkdir()
    truth = METRES.copy()
    truth[0, 0] = background
    if background == 65535:
        _steps(tmp_path / "truth", np.where(truth == background, background, truth * 1000), "1.png")
        options = ("--depth-scale", "1000", "--cap", "100")
    else:
        np.savez(tmp_path / "truth" / "1.npz", depth=truth)
        options = ("--cap", "100")
    command = ["evaluate", "--predictions", str(guess), "--truth", str(tmp_path / "truth"), *options]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "which no camera measures" in said
    assert "--invalid" in said
    stated = (("--invalid", f"{background:g}"), ("--max-depth", "50"))
    errors = [_rated(tmp_path, guess, tmp_path / "truth", *options, *each)["metrics"]["rmse"] for each in stated]
    assert errors == pytest.approx([0, 0], abs=1e-3)
    assert main([*command, "--invalid", "none"]) == 0
    assert main([*command, "--invalid", "sky"]) == 1
    assert "evaluate option invalid: 'sky' is not numbers" in capsys.readouterr().err
    assert main([*command, "--max-depth", "-1"]) == 1
    assert "max_depth=-1 must be positive" in capsys.readouterr().err


def test_scale_free_maps_have_a_scale_each_too(tmp_path):
    for name, metres in (("1", METRES), ("2", METRES * 5)):
        depth = torch.from_numpy(metres)[None] / 37
        (tmp_path / "guess").mkdir(exist_ok=True)
        write_depth(tmp_path / "guess" / f"{name}.png", DepthMap(depth, depth > 0, DepthKind.SCALE_FREE))
        _steps(tmp_path / "truth", metres * 1000, f"{name}.png")
    options = ("--depth-scale", "1000", "--alignment", "median", "--cap", "100")
    said = _rated(tmp_path, tmp_path / "guess", tmp_path / "truth", *options)
    assert said["metrics"]["abs_rel"] == pytest.approx(0, abs=1e-3)


def test_maps_are_found_through_links_in_any_case_and_never_hidden(tmp_path):
    truth = _folder(tmp_path / "truth", {"a/1": METRES, "b/2": METRES})
    guess = _folder(tmp_path / "elsewhere", {"1": METRES})
    (tmp_path / "guess").mkdir()
    (tmp_path / "guess" / "a").symlink_to(guess)
    _folder(tmp_path / "guess", {"b/2": METRES})
    (tmp_path / "guess" / "b" / "2.png").rename(tmp_path / "guess" / "b" / "2.PNG")
    (tmp_path / "guess" / "._1.png").write_bytes(b"of a file manager")
    (tmp_path / "guess" / ".cache").mkdir()
    (tmp_path / "guess" / ".cache" / "3.png").write_bytes(b"hidden")
    (tmp_path / "guess" / "folder.png").mkdir()
    table = evaluate_maps(tmp_path / "guess", truth, INDOOR)
    assert [image.name for image in table.rows[0].per_image] == ["a/1", "b/2"]
    assert table.notes == ("Ignored in both folders: 2 hidden.",)
    (tmp_path / "guess" / "4.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"4\.png is a broken link"):
        evaluate_maps(tmp_path / "guess", truth, INDOOR)


def test_names_that_are_no_text_are_scored_and_printed(tmp_path):
    truth, guess = tmp_path / "truth", tmp_path / "guess"
    name = os.fsdecode(b"caf\xe9")
    for folder in (truth, guess):
        _folder(folder, {"1": METRES})
        (folder / "1.png").rename(folder / f"{name}.png")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    command = "import sys; from leadline.cli.main import main; sys.exit(main())"
    figures = tmp_path / "f.json"
    arguments = [
        "evaluate",
        "--predictions",
        str(guess),
        "--ground-truth",
        str(truth),
        "--json",
        str(figures),
    ]
    done = subprocess.run([sys.executable, "-c", command, *arguments], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    said = json.loads(figures.read_text(encoding="utf-8"))
    assert said["per_image"][0]["name"] == name


REFUSED = (
    (["--cap", "nan"], "cap=nan: give a finite number"),
    (["--cap", "inf"], "cap=inf: give a finite number"),
    (["--cap", "-3"], "0 < min depth < cap"),
    (["--min-depth", "-1"], "0 < min depth < cap"),
    (["--min-depth", "nan"], "min_depth=nan: give a finite number"),
    (["--min-depth", "20"], "0 < min depth < cap"),
    (["--crop", "eigen"], "No crop is called 'eigen'"),
    (["--alignment", "best"], "No alignment is called 'best'"),
    (["--protocol", "nyu"], "No protocol is called 'nyu'"),
    (["--batch-size", "0"], "batch_size=0"),
    (["--batch-size", "-2"], "batch_size=-2"),
    (["--device", "abacus"], "No device 'abacus'"),
)


@pytest.mark.parametrize(("options", "message"), REFUSED)
@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_options_are_refused_in_one_line_before_anything_is_read(tmp_path, capsys, command, options, message):
    # Neither the data nor the model is there: whoever looked would say so.
    words = [command, "--data", str(tmp_path / "nothing"), "--model", str(tmp_path / "none"), *options]
    assert main(words) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize("option", ["--depth-scale", "--prediction-scale"])
@pytest.mark.parametrize("value", ["0", "-1000", "nan", "inf"])
def test_a_scale_that_is_none_is_refused(tmp_path, capsys, option, value):
    words = ["evaluate", "--predictions", str(tmp_path / "no"), "--ground-truth", str(tmp_path / "none"), option, value]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert f"{option[2:].replace('-', '_')}={float(value):g}: give " in said
    assert "more than 0" in said


def test_options_that_would_be_ignored_are_refused(tmp_path, capsys):
    maps = ["--predictions", str(tmp_path), "--ground-truth", str(tmp_path)]
    for words in (
        ["--data", "rooms", "--depth-scale", "1000"],
        ["--data", "rooms", "--resize"],
        [*maps, "--train-data", "rooms"],
        [*maps, "--model", "hybrid"],
    ):
        assert main(["evaluate", *words]) == 1
        assert "give either --data (and --model" in capsys.readouterr().err


def test_figures_replace_figures_and_nothing_else(tmp_path, capsys):
    truth = _folder(tmp_path / "truth", {"1": METRES})
    figures = tmp_path / "deep" / "figures.json"
    command = ["evaluate", "--predictions", str(truth), "--ground-truth", str(truth), "--json"]
    assert main([*command, str(figures)]) == 0
    assert main([*command, str(figures)]) == 0
    figures.write_text('{"mine": 1}')
    assert main([*command, str(figures)]) == 1
    assert "Leadline did not write it" in capsys.readouterr().err
    assert json.loads(figures.read_text()) == {"mine": 1}
    assert main([*command, str(truth)]) == 1
    assert "is a folder" in capsys.readouterr().err


MISTAKEN = """
import sys
import leadline
from leadline import datasets

model = leadline.build("cnn", size="tiny", width=8, input_size=(64, 64))
data, rules = datasets.open_data("rooms,count=2,height=64,width=64", "val"), leadline.protocol("indoor")
config = leadline.TrainConfig(steps=1, batch_size=2, validate_every=1)
for wrong in (("rooms,count=2", rules), ([], rules), (data, "indoor")):
    for call in (
        lambda: leadline.evaluate(model, *wrong),
        lambda: leadline.fit(model, wrong[0], data, leadline.Supervised(), config, sys.argv[1], protocol=wrong[1]),
    ):
        try:
            call()
        except ValueError as mistake:
            print(mistake)
"""


def test_a_spec_or_a_name_is_told_from_what_it_opens(tmp_path):
    # In a process of its own, without the types that are enforced in these.
    words = [sys.executable, "-c", MISTAKEN, str(tmp_path / "run")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert ["open_data" in line for line in said] == [True] * 4 + [False] * 2
    assert ["leadline.protocol" in line for line in said] == [False] * 4 + [True] * 2
    assert not (tmp_path / "run").exists()

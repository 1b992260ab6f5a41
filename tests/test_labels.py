"""Labels: what a store holds is what the teacher answered, in metres where it could be, and a kill costs no more than
a shard."""

import json
import math
import time
import zlib
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from seer import Listed, Seer, view, views
from torch import Tensor

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.core.sample import Sample
from leadline.data.datasets import Dataset, open_data
from leadline.data.loader import IDENTIFYING_SAMPLES, identity
from leadline.inference.tensors import predict_tensor
from leadline.io.depth_maps import DepthMap, write_depth
from leadline.io.images import write_image
from leadline.models.registry import build
from leadline.models.saving import save
from leadline.training.pseudo_labels import (
    SHARD,
    HoleFilledDataset,
    PseudoLabelledDataset,
    PseudoLabelStore,
    label,
    load_pseudo_labels,
)

PRECISION = 2**-10
"""Of a stored label."""


def depth_of(dataset: Dataset, index: int) -> Tensor:
    """The depth that a view's image tells, measured or not."""
    return 10 * dataset[index].image[:1]


def maps(dataset: Dataset, store: PseudoLabelStore, index: int = 0) -> tuple[Tensor, Tensor]:
    """Depth and confidence of a label."""
    taught = store.teacher_prediction(index, dataset[index])
    return taught.depth, taught.confidence


def nearer_on_the_left(depth: Tensor) -> Tensor:
    """A flaw that the mirror image shows: four columns are seen at half the distance."""
    return torch.where(torch.arange(depth.shape[-1]) < 4, depth / 2, depth)


def test_a_label_is_the_mean_of_the_answers_to_the_image_and_its_mirror_image(tmp_path):
    data, teacher = views(3), Seer(bent=lambda depth: depth * torch.linspace(0.9, 1.1, depth.shape[-1]))
    store = label(teacher, data, tmp_path)
    for index in range(3):
        image = data[index].image
        mean = (predict_tensor(teacher, image) * predict_tensor(teacher, image.flip(-1)).flip(-1)).sqrt()
        torch.testing.assert_close(maps(data, store, index)[0], mean, rtol=PRECISION, atol=0)


def test_a_relative_label_is_the_mean_once_the_mirror_images_answer_is_on_the_same_scale(tmp_path):
    data, teacher = views(1), Seer(DepthKind.RELATIVE)
    store = label(teacher, data, tmp_path, alignment="none")
    assert store.kind is DepthKind.RELATIVE
    answer = predict_tensor(teacher, data[0].image)
    torch.testing.assert_close(maps(data, store)[0], answer, rtol=0, atol=PRECISION * float(answer.amax()))


def test_labels_are_found_by_the_integers_of_numpy_and_pytorch_too(tmp_path):
    data = views(3)
    store = label(Seer(), data, tmp_path)
    drawn = np.random.default_rng(0).permutation(3)
    for index in (*drawn, *torch.from_numpy(drawn)):
        taught = store.teacher_prediction(index, data[int(index)])
        torch.testing.assert_close(taught.depth, maps(data, store, int(index))[0], rtol=0, atol=0)


def test_confidence_is_high_where_the_views_agree_and_low_where_they_do_not(tmp_path):
    data = views(1)
    confidence = maps(data, label(Seer(bent=nearer_on_the_left), data, tmp_path))[1]
    assert confidence[..., 8:28].min() > 0.9
    assert confidence[..., :4].max() < 0.2
    assert confidence[..., 28:].max() < 0.2


def test_what_looks_nearer_for_being_enlarged_is_believed_no_less(tmp_path):
    # A network sees the crop enlarged, and answers metres that shrink with it.
    data = views(1)
    teacher = Seer(bent=lambda depth: depth * depth.shape[-1] / 32)
    assert maps(data, label(teacher, data, tmp_path))[1].min() > 0.99


def test_continuing_makes_the_missing_shards_and_no_other(tmp_path):
    data = views(2 * SHARD + 5, size=(8, 8))
    store = label(Seer(), data, tmp_path)
    shards = sorted(tmp_path.glob("*.npy"))
    assert [len(np.load(shard)) for shard in shards] == [SHARD, SHARD, 5]
    assert len(store) == len(data)
    before = {shard: (shard.read_bytes(), shard.stat().st_mtime_ns) for shard in shards}
    shards[1].unlink()
    (tmp_path / ".00001.77.half.npy").write_bytes(b"cut short")
    label(Seer(), data, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.npy", "00001.npy", "00002.npy", "store.json"]
    assert {shard: shard.read_bytes() for shard in shards} == {shard: was for shard, (was, _) in before.items()}
    kept = [shard for shard in shards if shard.stat().st_mtime_ns == before[shard][1]]
    assert kept == [shards[0], shards[2]]


@pytest.fixture(scope="module")
def saved_teacher(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teacher") / "model"
    save(build("cnn", size="tiny", encoder="test_efficientnet", input_size=(32, 32)), folder)
    return folder


def test_a_command_killed_in_the_middle_continues_to_the_same_store(saved_teacher, tmp_path, monkeypatch):
    monkeypatch.setattr("leadline.training.pseudo_labels.SHARD", 16)

    def command(out: Path) -> list[str]:
        rooms = f"rooms,count=40,height=32,width=32,cache={tmp_path / 'cache'}"
        return ["label", "--teacher", str(saved_teacher), "--data", rooms, "--out", str(out)]

    assert main(command(tmp_path / "whole")) == 0
    killed = tmp_path / "killed"
    process = get_context("fork").Process(target=main, args=(command(killed),))
    process.start()
    while process.is_alive() and not (killed / "00000.npy").exists():
        time.sleep(0.005)
    process.kill()
    process.join()
    assert not (killed / "00002.npy").exists()
    first = (killed / "00000.npy").stat().st_mtime_ns
    assert main(command(killed)) == 0
    assert (killed / "00000.npy").stat().st_mtime_ns == first
    files = sorted(path.name for path in killed.iterdir())
    assert files == ["00000.npy", "00001.npy", "00002.npy", "store.json"]
    assert all((killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in files)


def cut_short(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-100])


def emptied(shard: Path) -> None:
    shard.write_bytes(b"")


def edited_depth(shard: Path) -> None:
    records = np.load(shard)
    records["depth"][3, 4, 5] *= 2
    np.save(shard, records)


def edited_unit(shard: Path) -> None:
    records = np.load(shard)
    records["unit"][3] *= 2
    np.save(shard, records)


def of_another_size(shard: Path) -> None:
    np.save(shard, np.load(shard)[:2])


def no_records(shard: Path) -> None:
    np.save(shard, np.zeros(4))


@pytest.mark.parametrize("harm", [cut_short, emptied, edited_depth, edited_unit, of_another_size, no_records])
def test_a_damaged_shard_is_named_and_made_anew_when_asked(harm, tmp_path):
    data = views(4, size=(8, 8))
    label(Seer(), data, tmp_path)
    shard = tmp_path / "00000.npy"
    whole = shard.read_bytes()
    harm(shard)
    label(Seer(), data, tmp_path / "other")  # forgets what it had open
    with pytest.raises(UnreadableFile, match=r"Shard 00000\.npy of the labels in .* missing, damaged or .*--repair"):
        load_pseudo_labels(tmp_path).teacher_prediction(3, data[3])
    assert label(Seer(), data, tmp_path).manifest
    assert shard.read_bytes() != whole
    store = label(Seer(), data, tmp_path, repair=True)
    assert shard.read_bytes() == whole
    torch.testing.assert_close(store.teacher_prediction(3, data[3]).depth, depth_of(data, 3), rtol=PRECISION, atol=0)


@pytest.mark.parametrize("origin", ["another teacher", "another place"])
def test_a_shard_swapped_for_a_sibling_is_named_and_made_anew_when_asked(origin, tmp_path, capsys):
    """Labels of the same images by two teachers, or of one name at two places of a store, differ in nothing else."""
    data = Listed([view(0, size=(8, 8)).replace(name="same")] * (2 * SHARD))
    second = Seer()
    second.factor.data *= 2
    for teacher, name in ((Seer(), "one"), (second, "two")):
        label(teacher, data, tmp_path / name)
    shard, other = tmp_path / "one" / "00001.npy", tmp_path / "two" / "00001.npy"
    whole = shard.read_bytes()
    shard.write_bytes((other if origin == "another teacher" else tmp_path / "one" / "00000.npy").read_bytes())
    store = load_pseudo_labels(tmp_path / "one")
    store.teacher_prediction(SHARD - 1, data[0])
    with pytest.raises(UnreadableFile, match=r"Shard 00001\.npy of the labels in .* damaged or another's: .*--repair"):
        store.teacher_prediction(SHARD, data[0])
    label(Seer(), data, tmp_path / "one", repair=True)
    assert "Shard 00001.npy" in capsys.readouterr().err
    assert shard.read_bytes() == whole


def test_a_store_of_an_older_version_is_read_and_continued(tmp_path):
    data = views(2 * SHARD, size=(8, 8))
    label(Seer(), data, tmp_path)
    manifest = json.loads((tmp_path / "store.json").read_text())
    (tmp_path / "store.json").write_text(json.dumps({**manifest, "format": 1}))
    for shard in tmp_path.glob("*.npy"):
        records = np.load(shard)
        records["sum"] = [zlib.crc32(record.tobytes()[:-4]) for record in records]
        np.save(shard, records)
    first, second = (shard.read_bytes() for shard in sorted(tmp_path.glob("*.npy")))
    (tmp_path / "00001.npy").unlink()
    store = label(Seer(), data, tmp_path, repair=True)
    assert [(tmp_path / name).read_bytes() for name in ("00000.npy", "00001.npy")] == [first, second]
    torch.testing.assert_close(maps(data, store, 70)[0], depth_of(data, 70), rtol=PRECISION, atol=0)


def test_repair_leaves_whole_shards_alone(tmp_path):
    data = views(3, size=(8, 8))
    label(Seer(), data, tmp_path)
    before = (tmp_path / "00000.npy").stat().st_mtime_ns
    label(Seer(), data, tmp_path, repair=True)
    assert (tmp_path / "00000.npy").stat().st_mtime_ns == before


def test_a_store_of_anything_else_is_refused_with_the_difference(tmp_path):
    data = views(2, size=(8, 8))
    label(Seer(), data, tmp_path)
    other = Seer()
    other.factor.data += 1
    with pytest.raises(BadInput, match=r"another teacher.*\n  teacher.sha256: \w+ → \w+\nGive another folder"):
        label(other, data, tmp_path)
    with pytest.raises(BadInput, match=r"\n  data.samples: 2 → 3\n"):
        label(Seer(), views(3, size=(8, 8)), tmp_path)
    with pytest.raises(BadInput, match=r"\n  size: \[8, 8\] → \[4, 4\]"):
        label(Seer(), data, tmp_path, size=(4, 4))
    with pytest.raises(BadInput, match=r"\n  alignment: none → truth"):
        label(Seer(), data, tmp_path, alignment="truth")
    with pytest.raises(BadInput, match=r"No alignment is called 'mean'\. Known alignments: auto, none, truth"):
        label(Seer(), data, tmp_path, alignment="mean")


def test_training_refuses_labels_of_other_images(tmp_path):
    data = views(3, size=(8, 8))
    store = label(Seer(), data, tmp_path)
    with pytest.raises(BadInput, match=r"are of other images:\n  samples: 3 → 2\n"):
        PseudoLabelledDataset(views(2, size=(8, 8)), store)
    with pytest.raises(BadInput, match=r"are of other images:\n  samples spread over it: "):
        PseudoLabelledDataset(Listed([data[0], data[2], data[1]]), store)


def test_a_label_of_another_image_is_refused_where_it_is_read(tmp_path):
    """Of a larger dataset some samples are compared when it is opened; the others by their names."""
    data = views(4 * IDENTIFYING_SAMPLES, size=(8, 8))
    store = label(Seer(), data, tmp_path)
    samples = [data[index] for index in range(len(data))]
    unread = next(
        place
        for place in range(1, len(data) - 1)
        if identity(Listed([*samples[:place], *reversed(samples[place : place + 2]), *samples[place + 2 :]]))
        == identity(data)
    )
    samples[unread], samples[unread + 1] = samples[unread + 1], samples[unread]
    with pytest.raises(BadInput, match=rf"Label {unread} of .* is not of view/{unread + 1}: label the data again"):
        PseudoLabelledDataset(Listed(samples), store)[unread]


def test_a_photograph_that_was_replaced_is_not_taken_for_the_one_that_was_labelled(tmp_path):
    """The first photograph stays as it was, as do the names and their number."""
    for number in range(3):
        write_image(tmp_path / "photos" / f"{number}.png", view(number, size=(8, 8)).image)
    photos = open_data(f"photos:{tmp_path / 'photos'}", "train")
    label(Seer(), photos, tmp_path / "labels")
    write_image(tmp_path / "photos" / "1.png", view(7, size=(8, 8)).image)
    with pytest.raises(BadInput, match=r"of other images, or made otherwise:\n  data.samples spread over it: 3 crc32"):
        label(Seer(), photos, tmp_path / "labels")


def test_there_is_no_store_where_none_was_made_and_a_newer_one_is_refused(tmp_path):
    with pytest.raises(BadInput, match="`leadline label` makes one"):
        load_pseudo_labels(tmp_path)
    label(Seer(), views(1, size=(8, 8)), tmp_path)
    manifest = tmp_path / "store.json"
    whole = manifest.read_text()
    manifest.write_text(whole[:40])
    with pytest.raises(BadInput, match=r"store\.json is damaged \(.*restore it, or delete its folder"):
        load_pseudo_labels(tmp_path)
    manifest.write_text(whole)
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 3}))
    with pytest.raises(BadInput, match="format 3, newer than this leadline"):
        load_pseudo_labels(tmp_path)


def test_a_store_says_where_its_labels_come_from(tmp_path):
    label(Seer(), views(1, size=(8, 8)), tmp_path)
    teacher = load_pseudo_labels(tmp_path).manifest["teacher"]
    assert teacher["name"] == "seer"
    assert len(teacher["sha256"]) == 64
    assert teacher["licence"] == "Apache-2.0"
    assert teacher["preprocessing"]["resize"] == "own"


def test_a_relative_teacher_gives_metres_back_whatever_its_scale_and_shift_and_the_outliers(tmp_path):
    data = views(3)
    wild = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.2
    measured = Listed([each.replace(depth=torch.where(wild, 3 * each.depth, each.depth)) for each in data.samples])
    store = label(Seer(DepthKind.RELATIVE), measured, tmp_path)
    assert store.kind is DepthKind.METRIC
    for index, (scale, shift) in enumerate(store.alignments()):
        # 3 / d − 0.1 becomes 1 / d.
        assert scale == pytest.approx(1 / 3, rel=0.01)
        assert shift == pytest.approx(0.1 / 3, rel=0.05)
        depth, confidence = maps(measured, store, index)
        torch.testing.assert_close(depth, depth_of(data, index), rtol=0.01, atol=0)
        assert confidence.min() > 0.99


def test_an_image_with_too_little_truth_is_not_believed(tmp_path):
    few = torch.zeros(1, 32, 32, dtype=torch.bool)
    few[0, 0, :19] = True
    data = Listed([view(0), view(1, valid=few), view(2)])
    store = label(Seer(DepthKind.RELATIVE), data, tmp_path)
    assert [math.isnan(scale) for scale, _ in store.alignments()] == [False, True, False]
    assert [bool(maps(data, store, index)[1].any()) for index in range(3)] == [True, False, True]


def test_images_all_without_enough_truth_cannot_align_a_teacher(tmp_path):
    data = views(2, valid=torch.zeros(1, 32, 32, dtype=torch.bool))
    with pytest.raises(BadInput, match="no image with 20 pixels measured in metres to align a teacher by"):
        label(Seer(DepthKind.RELATIVE), data, tmp_path, alignment="truth")
    assert label(Seer(DepthKind.RELATIVE), data, tmp_path).kind is DepthKind.RELATIVE


def test_a_relative_truth_aligns_nothing(tmp_path):
    data = Listed(
        [each.replace(kind=DepthKind.RELATIVE) for each in views(2, size=(8, 8)).samples], kind=DepthKind.RELATIVE
    )
    assert label(Seer(DepthKind.RELATIVE), data, tmp_path).kind is DepthKind.RELATIVE


def test_one_measured_image_among_many_is_found(tmp_path):
    nothing = torch.zeros(1, 8, 8, dtype=torch.bool)
    data = Listed([view(number, (8, 8), None if number == 33 else nothing) for number in range(70)])
    store = label(Seer(DepthKind.RELATIVE), data, tmp_path, alignment="truth")
    assert [number for number, (scale, _) in enumerate(store.alignments()) if not math.isnan(scale)] == [33]


def test_what_comes_out_at_the_horizon_is_not_believed_nor_what_mixes_with_it(tmp_path):
    def sky(depth: Tensor) -> Tensor:
        # 3 / −30 − 0.1 is an inverse depth below 0: beyond infinity.
        return torch.where(depth < 2, -30.0, depth)

    ground = 10 * view(0).image[:1] >= 2
    data = views(1, valid=ground)
    for size in ((32, 32), (16, 16)):
        depth, confidence = maps(data, label(Seer(DepthKind.RELATIVE, sky), data, tmp_path / f"{size}", size=size))
        believed = confidence > 0
        assert not (believed & ~ground).any()
        assert believed.sum() > 0.8 * ground.sum()
        torch.testing.assert_close(depth[believed], depth_of(data, 0)[believed], rtol=0.05, atol=0)


def test_a_store_in_which_nothing_is_believed_cannot_be_learnt_from(tmp_path):
    data = views(2, size=(8, 8))
    store = label(Seer(DepthKind.RELATIVE, torch.ones_like), data, tmp_path)
    with pytest.raises(BadInput, match=r"The confidence of the labels in .* is 0 everywhere"):
        PseudoLabelledDataset(data, store)


def test_an_answer_that_is_no_number_spoils_its_own_pixel_only(tmp_path):
    def holed(depth: Tensor) -> Tensor:
        # At the middle of the image and of its crop, and where its mirror image shows it.
        depth = depth.clone()
        depth[..., depth.shape[-2] // 2, depth.shape[-1] // 2] = torch.nan
        return depth

    data = views(1)
    depth, confidence = maps(data, label(Seer(bent=holed), data, tmp_path))
    spoiled = torch.zeros_like(confidence, dtype=torch.bool)
    spoiled[0, 16, 15:17] = True
    assert not confidence[spoiled].any()
    torch.testing.assert_close(depth[~spoiled], depth_of(data, 0)[~spoiled], rtol=PRECISION, atol=0)


def test_images_of_several_sizes_share_a_store(tmp_path):
    sizes = [(32, 48), (32, 48), (64, 40), (16, 16)]
    data = Listed([view(number, size) for number, size in enumerate(sizes)])
    store = label(Seer(), data, tmp_path)
    assert store.manifest["size"] == [32, 48]
    for index, size in enumerate(sizes):
        taught = store.teacher_prediction(index, data[index])
        assert taught.depth.shape == taught.confidence.shape == (1, *size)
        torch.testing.assert_close(taught.depth, depth_of(data, index), rtol=0.1, atol=0)


def test_photographs_are_labelled_without_any_truth(tmp_path):
    for number, size in enumerate([(32, 32), (24, 40)]):
        write_image(tmp_path / "holiday" / f"{number}.png", view(number, size).image)
    data = open_data(f"photos:{tmp_path / 'holiday'}", "train")
    store = label(Seer(), data, tmp_path / "store")
    sample = PseudoLabelledDataset(data, store)[1]
    assert sample.teacher_prediction
    assert not sample.valid.any()
    assert sample.teacher_prediction.depth.shape == (1, 24, 40)
    with pytest.raises(BadInput, match=r"photos of holiday has no image .* use alignment none"):
        label(Seer(DepthKind.RELATIVE), data, tmp_path / "metres", alignment="truth")


def test_a_command_says_how_many_labels_could_not_be_aligned(tmp_path, capsys):
    torch.manual_seed(0)
    save(
        build("cnn", size="tiny", encoder="test_efficientnet", input_size=(32, 32), kind="relative"),
        tmp_path / "teacher",
    )
    words = ["label", "--teacher", str(tmp_path / "teacher"), "--data", "rooms,count=2,height=32,width=32"]
    assert main([*words, "--out", str(tmp_path / "store")]) == 0
    printed = capsys.readouterr().out
    assert "2 metric labels in" in printed
    assert "too little measured depth" not in printed
    for number in range(3):
        sample = view(number)
        write_image(tmp_path / "data" / "rgb" / f"{number}.png", sample.image)
        measured = torch.where(torch.tensor(number == 1), 0, sample.depth)
        write_depth(tmp_path / "data" / "depth" / f"{number}.png", DepthMap(measured, measured > 0))
    words[words.index("--data") + 1] = str(tmp_path / "data")
    assert main([*words, "--out", str(tmp_path / "holes")]) == 0
    assert "1 of them have too little measured depth" in capsys.readouterr().out


def test_a_labelled_dataset_may_forget_what_was_measured(tmp_path):
    data = views(2, size=(8, 8))
    store = label(Seer(), data, tmp_path)
    kept, forgotten = PseudoLabelledDataset(data, store)[1], PseudoLabelledDataset(data, store, keeps_target=False)[1]
    assert torch.equal(kept.depth, data[1].depth)
    assert not forgotten.valid.any()
    assert not forgotten.depth.any()
    assert kept.teacher_prediction
    assert forgotten.teacher_prediction
    assert torch.equal(kept.teacher_prediction.depth, forgotten.teacher_prediction.depth)


def holed(number: int = 0) -> Sample:
    """A view with a hole in its middle, and one at its right edge."""
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    valid[:, 12:20, 10:22] = False
    valid[:, :, 29:] = False
    return view(number, valid=valid)


def test_holes_are_filled_level_with_the_truth_at_their_borders(tmp_path):
    data = Listed([holed()])
    store = label(Seer(bent=lambda depth: 1.3 * depth), data, tmp_path)
    sample = data[0]
    level = HoleFilledDataset(data, store, fade=0.5)[0]
    raw = HoleFilledDataset(data, store, blends=False)[0]
    for filled in (level, raw):
        assert filled.valid.all()
        assert filled.teacher_prediction is None
        assert torch.equal(filled.depth[sample.valid], sample.depth[sample.valid])
    truth = depth_of(data, 0)
    border = torch.zeros_like(sample.valid)
    border[:, 12:20, 10] = True
    border[:, :, 29] = True
    torch.testing.assert_close(level.depth[border], truth[border], rtol=0.02, atol=0)
    torch.testing.assert_close(raw.depth[border], 1.3 * truth[border], rtol=0.01, atol=0)
    # Further from what was measured it goes back to what the teacher says.
    off = (level.depth / truth).log()[0, 16]
    assert off[10] < off[11] < off[13]


def test_holes_stay_where_the_teacher_is_not_confident(tmp_path):
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    valid[:, 10:14] = False
    data = views(1, valid=valid)
    store = label(Seer(bent=nearer_on_the_left), data, tmp_path)
    gated, naive = HoleFilledDataset(data, store)[0], HoleFilledDataset(data, store, confidence=0.0)[0]
    assert gated.valid[:, 10:14, 8:28].all()
    assert not gated.valid[:, 10:14, :4].any()
    assert not gated.valid[:, 10:14, 28:].any()
    assert naive.valid.all()
    assert torch.equal(gated.depth[valid], data[0].depth[valid])


def test_an_image_without_any_truth_is_filled_with_the_teachers_metres(tmp_path):
    data = Listed([view(0, valid=torch.zeros(1, 32, 32, dtype=torch.bool))])
    filled = HoleFilledDataset(data, label(Seer(), data, tmp_path))[0]
    torch.testing.assert_close(filled.depth, depth_of(data, 0), rtol=PRECISION, atol=0)


def test_relative_numbers_fill_holes_only_by_declared_mistake(tmp_path):
    data = Listed([holed()])
    store = label(Seer(DepthKind.RELATIVE), data, tmp_path, alignment="none")
    with pytest.raises(BadInput, match="relative labels cannot fill holes in metric depth: align them to what"):
        HoleFilledDataset(data, store)
    filled = HoleFilledDataset(data, store, confidence=0.0, blends=False, mixes_kinds=True)[0]
    hole = ~data[0].valid
    numbers = 3 / depth_of(data, 0) - 0.1
    torch.testing.assert_close(filled.depth[hole], numbers[hole], rtol=0.01, atol=0)
    assert torch.equal(filled.depth[~hole], data[0].depth[~hole])

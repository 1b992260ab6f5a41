"""Stereo pairs: from files to a network that learns disparity from images alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from seer import Changed
from torch import Tensor

from leadline.cli.main import main
from leadline.core.errors import BadInput
from leadline.core.sample import OtherView, Sample, collate
from leadline.data.datasets import Dataset, open_data
from leadline.data.transforms import Augmentation, crop, flip, resize, rotate
from leadline.evaluation.evaluate import evaluate
from leadline.evaluation.protocols import protocol
from leadline.io.images import write_image
from leadline.models.layers.disparity import warp
from leadline.models.loading import load, open_model
from leadline.models.registry import build, build_on_meta
from leadline.recipes import TrainingRun, recipe
from leadline.training.objectives import Supervised
from leadline.training.stereo import (
    RefineAndDistil,
    photometric_loss,
    roughness,
    stereo_views,
    structural_similarity,
)
from leadline.training.trainer import HardwareConfig, TrainConfig

TINY = "pilzer,size=tiny,encoder=test_efficientnet,widths=8:8:8:8:8,input_size=64:64"
HARDWARE = HardwareConfig(accelerator="cpu", workers=0)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def room() -> Sample:
    """A room whose second camera stands 0.2 m to the right, without holes."""
    return open_data("rooms,baseline=0.2,height=96,width=128,holes=no,count=1", "train")[0]


def disparity_of(sample: Sample, baseline: float = 0.2) -> Tensor:
    """As a share of the width."""
    assert sample.intrinsics is not None
    return baseline * sample.intrinsics[0] / sample.depth[None] / sample.size[1]


# ── data ──


def test_the_second_view_of_a_room_is_what_its_depth_says(room):
    assert room.other is not None
    made = warp(room.other.image[None], disparity_of(room), -1.0)[0]
    apart = (made - room.image).abs().mean()
    assert apart < 0.6 * (room.other.image - room.image).abs().mean()
    wrong = warp(room.other.image[None], disparity_of(room), 1.0)[0]
    assert apart < 0.6 * (wrong - room.image).abs().mean()


def test_a_room_is_the_same_with_and_without_a_second_camera(room, tmp_path):
    words = "rooms,height=96,width=128,holes=no,count=1"
    alone = open_data(words, "train", cache=tmp_path)[0]
    assert alone.other is None
    assert torch.equal(alone.image, room.image)
    for _ in range(2):  # rendered, then from the cache
        again = open_data(f"{words},baseline=0.2", "train", cache=tmp_path)[0]
        assert again.other is not None
        assert room.other is not None
        assert torch.equal(again.other.image, room.other.image)


@pytest.mark.parametrize("change", ["resize", "crop", "flip", "augment"])
def test_a_change_of_one_view_is_a_change_of_the_other(room, change):
    changed = {
        "resize": lambda: resize(room, (72, 96)),
        "crop": lambda: crop(room, 8, 16, 64, 96),
        "flip": lambda: flip(room),
        "augment": lambda: Augmentation(flip=1.0, crop=0.8)(room, np.random.default_rng(0), (72, 96)),
    }[change]()
    assert changed.other is not None
    assert changed.intrinsics is not None
    # Depth, and with it disparity in pixels, is as it was where nothing is resized.
    disparity = disparity_of(changed)
    made = warp(changed.other.image[None], disparity, -float(changed.other.side))[0]
    wrong = warp(changed.other.image[None], disparity, float(changed.other.side))[0]
    inner = (slice(None), slice(None), slice(16, -16))
    assert (made - changed.image)[inner].abs().mean() < 0.6 * (wrong - changed.image)[inner].abs().mean()


def test_both_views_get_the_same_colours_and_each_its_own_noise(room):
    same = room.replace(other=OtherView(room.image, torch.tensor(1.0)))
    toned = Augmentation(brightness=0.4, colour=0.3, blur=1.0)(same, np.random.default_rng(3), room.size)
    assert toned.other is not None
    assert torch.equal(toned.other.image, toned.image)
    noisy = Augmentation(noise=0.2)(same, np.random.default_rng(3), room.size)
    assert noisy.other is not None
    assert (noisy.other.image - noisy.image).std() > 0.01


def test_a_pair_cannot_be_rotated(room):
    with pytest.raises(BadInput, match=r"is of a stereo pair, which cannot be rotated: leave --augmentation.rotate"):
        rotate(room, 3.0)


def test_a_batch_tells_left_from_right_views_and_finds_samples_without(room):
    mirrored = flip(room)
    batch = collate([room, mirrored, room])
    assert batch.other is not None
    assert batch.other.side.tolist() == [1, -1, 1]
    left, right = stereo_views(batch.to("cpu"))
    assert room.other is not None
    assert torch.equal(left[0], room.image)
    assert torch.equal(left[1], room.other.image.flip(-1))
    assert torch.equal(right[1], room.image.flip(-1))
    for without in (collate([room, room.replace(other=None)]), collate([room.replace(other=None)])):
        with pytest.raises(BadInput, match=r"has no stereo pairs.*use sceneflow:DIR,stereo=yes or rooms,baseline=0\.2"):
            stereo_views(without)


def test_views_of_two_sizes_are_no_pair(room):
    with pytest.raises(ValueError, match="the views of a stereo pair are"):
        room.replace(other=OtherView(drawn(3, 8, 8), torch.tensor(1.0)))


def test_a_baseline_that_no_pair_has_is_refused():
    with pytest.raises(BadInput, match=r"baseline=-0\.1 must be from 0 \(no second camera\) to 1 metre"):
        open_data("rooms,baseline=-0.1", "train")


# ── losses ──


def test_warping_by_whole_pixels_moves_columns_and_continues_the_last_one():
    source = torch.arange(8.0).expand(1, 1, 2, 8)
    moved = warp(source, torch.full((1, 1, 2, 8), 2 / 8), 1.0)
    assert moved[0, 0, 1].tolist() == pytest.approx([2, 3, 4, 5, 6, 7, 7, 7], abs=1e-5)
    moved = warp(source, torch.full((1, 1, 2, 8), 1.5 / 8), -1.0)
    assert moved[0, 0, 1].tolist() == pytest.approx([0, 0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5], abs=1e-5)


def test_warping_learns_where_to_look():
    source, disparity = drawn(1, 2, 3, 6).double(), (0.1 + 0.13 * drawn(1, 1, 3, 6, seed=1)).double()
    disparity.requires_grad_()
    # Warping works in single precision, so the differences are coarse; none crosses a middle of a pixel.
    assert torch.autograd.gradcheck(
        lambda each: warp(source, each, 1.0), disparity, eps=1e-3, atol=2e-2, rtol=2e-2, nondet_tol=1e-6
    )


def test_structural_similarity_is_that_of_its_definition():
    one, other = drawn(1, 1, 5, 5).expand(-1, 3, -1, -1), drawn(1, 1, 5, 5, seed=1).expand(-1, 3, -1, -1)
    found = structural_similarity(one, other)[0, 0, 1, 2]
    x, y = (each[0, 0, 1:4, 2:5].numpy().ravel().astype(float) for each in (one, other))
    covariance = np.cov(x, y, ddof=0)
    expected = (2 * x.mean() * y.mean() + 1e-4) * (2 * covariance[0, 1] + 9e-4)
    expected /= (x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (covariance[0, 0] + covariance[1, 1] + 9e-4)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert float(photometric_loss(one, one)) == pytest.approx(0, abs=1e-6)


def test_roughness_is_cheaper_at_an_edge_of_the_image():
    step = torch.where(torch.arange(8) < 4, 1.0, 2.0).expand(1, 1, 6, 8)
    edge = torch.where(torch.arange(8) < 4, 0.0, 1.0).expand(1, 3, 6, 8)
    assert roughness(step, edge) == pytest.approx(float(roughness(step, torch.zeros_like(edge))) * np.exp(-1), rel=1e-5)
    assert roughness(torch.full_like(step, 3.0), edge) == 0


def test_only_the_true_disparity_explains_both_views(room):
    """The reconstruction is least at the true disparity among its multiples."""
    assert room.other is not None
    left, right = room.image[None], room.other.image[None]
    losses = {
        factor: float(photometric_loss(warp(right, factor * disparity_of(room), -1.0), left))
        for factor in (0.0, 0.5, 0.8, 1.0, 1.25, 2.0)
    }
    assert min(losses, key=losses.__getitem__) == 1.0


# ── the network ──


def test_the_papers_network_is_three_times_an_encoder_and_a_decoder():
    encoder, channels, widths = 23_508_032, (64, 256, 512, 1024, 2048), (512, 256, 128, 64, 32)
    decoder, deep = 0, channels[-1]
    for width, skip, told in zip(widths, (*channels[-2::-1], 0), (0, 0, 2, 2, 2), strict=True):
        decoder += 9 * deep * width + width + 9 * (width + skip + told) * width + width
        deep = width
    decoder += sum(9 * width * 2 + 2 for width in widths[1:])
    model = build_on_meta("pilzer")
    more = 64 * (8 - 3) * 49  # The refinement's first convolution sees 8 channels.
    assert sum(each.numel() for each in model.parameters()) == 3 * (encoder + decoder) + more
    student = build_on_meta("pilzer", answer="student")
    assert sum(each.numel() for each in student.parameters()) == encoder + decoder
    image = torch.empty(1, 3, *model.preprocessing.size, device="meta")
    assert model.to("meta").eval()(image).shape == (1, 1, 256, 512)


def test_the_distillation_teaches_the_student_alone(room):
    model = open_model(TINY)
    batch = collate([resize(room, (64, 64))])
    terms = RefineAndDistil()(model, batch, torch.nn.Module())
    assert {name.partition(" ")[0] for name in terms} == {"student", "cycle", "refined", "distillation"}
    terms["distillation"].backward()
    learnt = {key.partition(".")[0] for key, each in model.named_parameters() if each.grad is not None}
    assert learnt == {"encoder", "decoder"}
    first = RefineAndDistil(refines=False)(model, batch, torch.nn.Module())
    assert {name.partition(" ")[0] for name in first} == {"student", "cycle"}


def test_a_flipped_pair_costs_what_the_pair_in_the_mirror_does(room):
    torch.manual_seed(0)
    model = build("pilzer", size="tiny", encoder="test_efficientnet", widths=(8, 8, 8, 8, 8)).eval()
    small = resize(room, (64, 64))
    assert small.other is not None
    swapped = Sample(small.other.image, small.depth, small.valid, other=OtherView(small.image, torch.tensor(-1.0)))
    with torch.no_grad():
        one, other = (RefineAndDistil()(model, collate([each]), torch.nn.Module()) for each in (small, swapped))
    assert {name: float(each) for name, each in one.items()} == {name: float(each) for name, each in other.items()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"answer": "teacher"}, "No answer is called 'teacher'. Known answers: refined, student"),
        ({"widths": (8, 8)}, r"widths \(8, 8\) must be the channels of five levels"),
        ({"encoder": "vit_tiny_patch16_224"}, "gives maps at .* an encoder needs 1/2, 1/4, 1/8, 1/16, 1/32"),
    ],
)
def test_what_no_such_network_has_is_refused(arguments, message):
    with pytest.raises(BadInput, match=message):
        build("pilzer", size="tiny", **arguments)


# ── training, from the layout of Scene Flow ──


def write_sceneflow(root: Path, frames: int, size: tuple[int, int] = (64, 64)) -> None:
    """Pairs in the layout of FlyingThings3D: light cards at random disparities before a dark wall, both textured."""
    height, width = size
    for split, first in (("TRAIN", 0), ("TEST", 1000)):
        for frame in range(frames if split == "TRAIN" else 4):
            rng = np.random.default_rng(first + frame)
            texture = torch.from_numpy(0.6 * rng.random((3, height // 4, (width + 32) // 4))).float()
            wide = torch.nn.functional.interpolate(texture[None], (height, width + 32), mode="bilinear")[0]
            far = int(rng.integers(2, 4))
            left, right = wide[..., :width].clone(), wide[..., far : far + width].clone()
            disparity = np.full(size, far, np.float32)
            top, side = (int(rng.integers(8, 24)) for _ in range(2))
            near, card = int(rng.integers(6, 11)), torch.from_numpy(0.4 + 0.6 * rng.random((3, 8, 8))).float()
            card = torch.nn.functional.interpolate(card[None], (30, 30), mode="bilinear")[0]
            rows, columns = slice(top, top + 30), slice(side + 10, side + 40)
            left[:, rows, columns] = card[:, : len(range(height)[rows]), : len(range(width)[columns])]
            right[:, rows, side + 10 - near : side + 40 - near] = card[:, : len(range(height)[rows])][
                ..., : right[0, 0, side + 10 - near : side + 40 - near].numel()
            ]
            disparity[rows, columns] = near
            place = f"{split}/A/{frame:04}"
            for view, image in (("left", left), ("right", right)):
                photo = root / "flyingthings3d/frames_cleanpass" / place / view / "0006.png"
                photo.parent.mkdir(parents=True)
                Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy()).save(photo)
            file = root / "flyingthings3d/disparity" / place / "left/0006.pfm"
            file.parent.mkdir(parents=True)
            file.write_bytes(f"Pf\n{width} {height}\n-1.0\n".encode() + disparity[::-1].astype("<f4").tobytes())


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sceneflow")
    write_sceneflow(root, 24)
    return root


def test_a_pair_of_scene_flow_is_read_from_both_folders(pairs):
    data = open_data(f"sceneflow:{pairs},stereo=yes", "train")
    assert isinstance(data, Dataset)
    assert data.name == "flyingthings3d train, stereo"
    sample = data[0]
    assert sample.other is not None
    assert sample.other.side == 1
    disparity = 1050 / sample.depth[None] / 64
    made = warp(sample.other.image[None], disparity, -1.0)[0]
    assert (made - sample.image).abs().mean() < 0.3 * (sample.other.image - sample.image).abs().mean()
    assert open_data(f"sceneflow:{pairs}", "train")[0].other is None


def test_a_missing_other_view_is_named_with_the_fix(tmp_path):
    write_sceneflow(tmp_path, 1)
    gone = tmp_path / "flyingthings3d/frames_cleanpass/TRAIN/A/0000/right/0006.png"
    gone.unlink()
    with pytest.raises(BadInput, match=r"1 photographs of .* have no other view, first .*right/0006\.png.*stereo=yes"):
        open_data(f"sceneflow:{tmp_path},stereo=yes", "train")
    write_image(gone, torch.zeros(3, 8, 8))
    with pytest.raises(BadInput, match="are not of one size: they are no stereo pair"):
        open_data(f"sceneflow:{tmp_path},stereo=yes", "train")[0]


def test_scale_free_truths_are_scored_where_the_protocol_aligns(pairs):
    data = open_data(f"sceneflow:{pairs}", "test")
    model = build("pilzer", size="tiny", encoder="test_efficientnet", widths=(8, 8, 8, 8, 8), answer="student").eval()
    table = evaluate(model, data, protocol("scale_free"))
    assert "each map by its median" in table.title
    with pytest.raises(BadInput, match=r"is scale_free: choose a dataset that measures metres, or align .*scale_free"):
        evaluate(build("cnn", size="tiny", encoder="resnet10t", width=8), data, protocol("indoor"))
    # A truth in another unit scores the same.
    doubled = Changed(data, lambda _, sample: sample.replace(depth=2 * sample.depth))
    assert table.rows[0].metrics == pytest.approx(evaluate(model, doubled, protocol("scale_free")).rows[0].metrics)


def training_run(data: str, network: str = TINY, **settings) -> TrainingRun:
    train, test = (open_data(data, split) for split in ("train", "test"))
    config = TrainConfig(**{"steps": 4, "batch_size": 2, "validate_every": 2, "learning_rate": 1e-3, **settings})
    return TrainingRun(network, train, test, config, protocol=protocol("scale_free"), hardware=HARDWARE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "rooms,count=2,height=64,width=64"}, r"rooms-a train has no stereo pairs.*use sceneflow:DIR"),
        ({"network": "cnn,size=tiny"}, "trains the networks of pilzer, and cnn has no such disparities"),
        ({"network": f"{TINY},answer=student"}, r"with answer=refined"),
        ({"objective": Supervised({"l1": 1.0})}, "has losses of its own: leave --loss out"),
        ({"protocol": protocol("rooms")}, r"scale_free depth, which the protocol rooms .*--protocol scale_free"),
    ],
)
def test_what_refine_and_distil_cannot_use_is_refused_before_training(change, message, tmp_path):
    data = change.pop("data", "rooms,count=2,height=64,width=64,baseline=0.2")
    with pytest.raises(BadInput, match=message):
        recipe("refine_and_distil")(replace(training_run(data), **change), tmp_path)
    assert not list(tmp_path.rglob("last.ckpt"))


def test_commands_train_on_pairs_score_held_out_ones_and_keep_the_student(pairs, tmp_path, capsys):
    data, out = f"sceneflow:{pairs},stereo=yes", tmp_path / "run"
    words = f"train --recipe refine_and_distil --model {TINY} --data {data} --protocol scale_free --out {out}"
    options = "--steps 2 --batch-size 2 --validate-every 1 --accelerator cpu --workers 0"
    assert main([*words.split(), *options.split()]) == 0
    scored = f"evaluate --model {out / 'model'} --data {data} --protocol scale_free --json {tmp_path / 'scores.json'}"
    assert main(scored.split()) == 0
    assert "each map by its median" in capsys.readouterr().out
    assert json.loads((tmp_path / "scores.json").read_text())
    model, student = load(out / "model"), load(out / "student")
    assert student.provenance.training_data == model.provenance.training_data
    image = drawn(1, 3, 64, 64)
    with torch.no_grad():
        _, sides = model.forward_with_sides(image)
        torch.testing.assert_close(student(image), 1 / sides["student 1/1"][:, :1])
    assert sum(each.numel() for each in student.parameters()) < 0.4 * sum(each.numel() for each in model.parameters())

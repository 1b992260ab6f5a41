"""Augmentation: image, depth, mask and intrinsics move together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.sample import Sample, TeacherPrediction
from leadline.data.transforms import Augmentation, crop, flip, resize, rotate

INTRINSICS = torch.tensor([80.0, 75.0, 30.0, 20.0])


@pytest.fixture
def ramp() -> Sample:
    """A floor-like plane: depth and the red channel are both linear in the pixel's coordinates."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    plane = 1 + rows / 48 + columns / 64
    image = torch.stack([plane / 3, rows / 48, columns / 64])
    return Sample(image=image, depth=plane[None], valid=plane[None] > 1.1, intrinsics=INTRINSICS, name="ramp")


def ray(sample: Sample, row: float, column: float) -> np.ndarray:
    """Where the viewing ray of a pixel goes, per metre of depth."""
    assert sample.intrinsics is not None
    fx, fy, cx, cy = sample.intrinsics.tolist()
    return np.array([(column - cx) / fx, (row - cy) / fy])


def test_a_crop_keeps_every_pixels_depth_and_ray(ramp):
    window = crop(ramp, 5, 9, 20, 30)
    assert torch.equal(window.depth[0, 2, 3], ramp.depth[0, 7, 12])
    np.testing.assert_allclose(ray(window, 2, 3), ray(ramp, 7, 12), rtol=1e-6)


def test_a_mirrored_sample_looks_the_other_way(ramp):
    mirrored = flip(ramp)
    assert torch.equal(mirrored.depth[0, 4, 0], ramp.depth[0, 4, 63])
    np.testing.assert_allclose(ray(mirrored, 4, 0), ray(ramp, 4, 63) * [-1, 1], rtol=1e-6)
    twice = flip(mirrored)
    assert torch.equal(twice.image, ramp.image)
    assert twice.intrinsics is not None
    torch.testing.assert_close(twice.intrinsics, INTRINSICS)


@pytest.mark.parametrize("size", [(24, 32), (96, 128), (31, 50)])
def test_a_resized_pixel_looks_along_the_rays_of_those_it_covers(ramp, size):
    resized = resize(ramp, size)
    assert resized.size == size
    row, column = 10, 13
    # The centre of the small pixel, in the large image's coordinates.
    there = (row + 0.5) * 48 / size[0] - 0.5, (column + 0.5) * 64 / size[1] - 0.5
    np.testing.assert_allclose(ray(resized, row, column), ray(ramp, *there), rtol=1e-5)
    expected = 1 + there[0] / 48 + there[1] / 64
    assert resized.depth[0, row, column].item() == pytest.approx(expected, abs=1.5 / 48)


def test_a_rotated_sample_keeps_each_pixels_depth_and_knows_none_outside(ramp):
    turned = rotate(ramp, 180.0)
    assert torch.allclose(turned.depth, torch.rot90(ramp.depth, 2, (1, 2)))
    tilted = rotate(ramp, 10.0)
    assert not tilted.valid[0, 0, 0]
    assert set(tilted.depth[tilted.valid].tolist()) <= set(ramp.depth.flatten().tolist())


def test_resizing_makes_no_new_depths(ramp):
    resized = resize(ramp, (20, 30))
    assert np.isin(resized.depth.numpy(), ramp.depth.numpy()).all()


def test_augmenting_is_a_function_of_the_generators_address(ramp):
    augment = Augmentation(crop=0.5)
    first = augment(ramp, np.random.default_rng((1, 2, 3)), (24, 32))
    again = augment(ramp, np.random.default_rng((1, 2, 3)), (24, 32))
    other = augment(ramp, np.random.default_rng((1, 2, 4)), (24, 32))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.depth, again.depth)
    assert not torch.equal(first.image, other.image)


def test_augmenting_keeps_the_mask_on_its_pixels(ramp):
    for seed in range(20):
        sample = Augmentation(crop=0.6)(ramp, np.random.default_rng(seed), (24, 32))
        assert torch.equal(sample.valid, sample.depth > 1.1)
        assert sample.image.min() >= 0
        assert sample.image.max() <= 1


def test_a_photograph_of_another_shape_is_cropped_and_not_squeezed(ramp):
    sample = Augmentation()(ramp, np.random.default_rng(0), (32, 32))
    assert sample.size == (32, 32)
    assert sample.intrinsics is not None
    fx, fy, *_ = sample.intrinsics.tolist()
    assert fx / fy == pytest.approx(80 / 75)


PLAIN = Augmentation(flip=0, brightness=0, colour=0)


def photographed(ramp: Sample, seed: int, **options: float) -> torch.Tensor:
    """The image at its own size with nothing but these options in effect."""
    return replace(PLAIN, **options)(ramp, np.random.default_rng(seed), ramp.size).image


@pytest.mark.parametrize("option", ["blur", "noise", "jpeg"])
def test_what_happens_in_a_camera_changes_the_image_and_nothing_else(ramp, option):
    sharp = ramp.replace(image=torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0)))
    augment = replace(PLAIN, **{option: 1.0})
    for seed in range(8):
        sample = augment(sharp, np.random.default_rng(seed), (48, 64))
        assert sample.image.shape == (3, 48, 64)
        assert sample.image.min() >= 0
        assert sample.image.max() <= 1
        assert not torch.equal(sample.image, photographed(sharp, seed))
        assert torch.equal(sample.depth, sharp.depth)
        assert torch.equal(sample.valid, sharp.valid)
        again = augment(sharp, np.random.default_rng(seed), (48, 64))
        assert torch.equal(sample.image, again.image)


def test_blur_and_jpeg_keep_smooth_colours_where_they_are(ramp):
    before = ramp.image[:, 8:-8, 8:-8]
    for seed in range(8):
        assert (photographed(ramp, seed, blur=1.0)[:, 8:-8, 8:-8] - before).abs().max() < 0.02
        assert (photographed(ramp, seed, jpeg=1.0)[:, 8:-8, 8:-8] - before).abs().mean() < 0.02


def test_blur_takes_detail_away_in_every_draw(ramp):
    sharp = ramp.replace(image=torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0)))
    for seed in range(8):
        assert photographed(sharp, seed, blur=1.0).std() < 0.98 * sharp.image.std()


def test_noise_is_at_most_as_strong_as_asked_for(ramp):
    grey = ramp.replace(image=torch.full((3, 48, 64), 0.5))
    deviations = [photographed(grey, seed, noise=0.1).std().item() for seed in range(30)]
    assert max(deviations) < 0.103  # a sample's deviation is itself a little off
    assert min(deviations) < 0.03 < 0.07 < max(deviations)


def test_only_the_share_asked_for_is_blurred_or_compressed(ramp):
    for option in ("blur", "jpeg"):
        same = sum(
            torch.equal(photographed(ramp, seed, **{option: 0.5}), photographed(ramp, seed)) for seed in range(60)
        )
        assert 18 <= same <= 42


def answered(sample: Sample) -> Sample:
    """The sample with a teacher's answer that tells its own place: three times the depth, believed where it is far."""
    return sample.replace(
        teacher_prediction=TeacherPrediction(3 * sample.depth, (sample.depth > 1.5).float(), DepthKind.METRIC)
    )


@pytest.mark.parametrize(
    "change",
    [
        flip,
        lambda sample: crop(sample, 5, 9, 20, 30),
        lambda sample: resize(sample, (24, 32)),
        lambda sample: resize(sample, (31, 50)),
        lambda sample: Augmentation(crop=0.5)(sample, np.random.default_rng(3), (24, 32)),
    ],
    ids=["flip", "crop", "halved", "resized", "augmented"],
)
def test_what_a_teacher_answered_stays_on_its_pixels(ramp, change):
    changed = change(answered(ramp))
    assert torch.equal(changed.teacher_prediction.depth, 3 * changed.depth)
    assert torch.equal(changed.teacher_prediction.confidence, (changed.depth > 1.5).float())
    assert changed.teacher_prediction.kind is DepthKind.METRIC
    assert change(ramp).teacher_prediction is None

"""Image give the same number the same colour everywhere, and say on a legend what it means."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.io.colormaps import (
    ERROR_SCALE,
    HATCH,
    ColorScale,
    colorize,
    colorize_error,
    depth_color_scale,
    encode_image,
    fit_color_scale,
    legend_bar,
    with_legend,
)
from leadline.io.images import read_image, write_image
from leadline.io.outputs import png_text
from leadline.io.png import encode_png


def test_a_depth_has_one_colour_whatever_else_is_in_the_picture():
    one = colorize(torch.tensor([[[2.0, 3.0]]]), depth_color_scale())
    other = colorize(torch.tensor([[[2.0, 9.0]]]), depth_color_scale())
    assert torch.equal(one[..., 0], other[..., 0])


def test_near_is_bright_and_brightness_falls_with_every_step_of_depth():
    colours = colorize(torch.linspace(0.5, 10, 60).view(1, 1, -1), depth_color_scale())
    luminance = (colours * torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)).sum(dim=0)[0]
    assert (luminance.diff() < 0).all()


def test_what_lies_beyond_the_range_has_the_colour_of_its_end():
    colours = colorize(torch.tensor([[[0.01, 0.5, 10.0, 99.0]]]), depth_color_scale())[:, 0]
    assert torch.equal(colours[:, 0], colours[:, 1])
    assert torch.equal(colours[:, 2], colours[:, 3])


def test_what_was_not_measured_is_striped_grey():
    valid = torch.ones(1, 20, 30, dtype=torch.bool)
    valid[:, :, :15] = False
    depth = torch.full((1, 20, 30), 2.0)
    depth[:, :, 29] = torch.nan
    colours = colorize(depth, depth_color_scale(), valid)
    greys = {tuple(colour) for colour in colours[:, :, [*range(15), 29]].flatten(1).T.tolist()}
    assert greys == {tuple(torch.tensor(grey).tolist()) for grey in HATCH}
    assert colours[:, 0, 20].std() > 0.1


def test_too_near_is_red_too_far_is_blue_and_right_is_white():
    measured = torch.tensor([[[4.0, 4.0, 4.0, 0.0]]])
    predicted = torch.tensor([[[2.0, 4.0, 8.0, 5.0]]])
    near, right, far, hole = colorize_error(predicted, measured, measured > 0)[:, 0].T
    assert near[0] > 2 * near[2]
    assert far[2] > 2 * far[0]
    assert right.min() > 0.9
    assert hole.std() < 0.01


def test_ticks_stand_at_their_own_colours():
    scale = depth_color_scale(0.5, 10)
    assert [text for _, text in scale.ticks] == ["≤ 0.5", "1", "2", "5", "≥ 10"]
    bar = legend_bar(scale, 1001, 3)
    for place, text in scale.ticks[1:-1]:
        colour = colorize(torch.tensor([[[float(text)]]]), scale)[:, 0, 0]
        torch.testing.assert_close(bar[:, 0, round(place * 1000)], colour, atol=0.03, rtol=0)
    assert [text for _, text in ColorScale("inferno", 0.0, 5.0, "plain").ticks] == ["≤ 0", "1", "2", "3", "4", "≥ 5"]
    assert "1.25" in [text for _, text in ERROR_SCALE.ticks]


@pytest.mark.parametrize("size", [(1, 1), (30, 50), (480, 640)])
def test_a_legend_stands_below_the_untouched_picture(size, tmp_path):
    picture = colorize(torch.rand(1, *size, generator=torch.Generator().manual_seed(0)) * 9 + 0.5, depth_color_scale())
    whole = with_legend(picture, depth_color_scale(), "cnn")
    height, width = size
    left = (whole.shape[2] - width) // 2
    torch.testing.assert_close(whole[:, :height, left : left + width], picture, atol=0.002, rtol=0)
    strip = whole[:, height:]
    assert strip.shape[1] > 40
    assert (strip.mean(dim=0) < 0.2).sum() > 50  # the ink of its numbers
    write_image(tmp_path / "whole.png", whole)
    assert read_image(tmp_path / "whole.png").shape == whole.shape


@pytest.mark.parametrize("kind", DepthKind)
def test_a_scale_fitted_to_one_picture_says_so(kind):
    values = torch.linspace(-1, 4, 500).view(1, 20, 25)
    scale = fit_color_scale(values, values > 0, kind)
    assert scale.low == pytest.approx(0.08, abs=0.02)
    assert scale.high == pytest.approx(3.92, abs=0.02)
    assert "range of this picture" in scale.label
    for degenerate in (torch.zeros_like(values), torch.full_like(values, 3.0)):
        assert colorize(degenerate, fit_color_scale(degenerate, degenerate > 0, kind)).isfinite().all()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((5, 7), np.uint8), ((5, 7), np.uint16), ((1, 1), np.uint16), ((5, 7, 3), np.uint8), ((300, 400, 3), np.uint8)],
)
def test_a_png_holds_its_pixels_and_its_text(shape, dtype, tmp_path):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    file = tmp_path / "pixels.png"
    file.write_bytes(encode_png(pixels, png_text({"unit": "metres", "note": "δ"})))
    with Image.open(file) as picture:
        picture.verify()
    with Image.open(file) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)
        assert picture.text == {"leadline:unit": "metres", "leadline:note": "δ"}  # pyright: ignore[reportAttributeAccessIssue]
    read = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert read is not None
    np.testing.assert_array_equal(read[..., ::-1] if read.ndim == 3 else read, pixels)


def test_encoded_pictures_are_files(tmp_path):
    for suffix, name in ((".png", "PNG"), (".jpg", "JPEG")):
        (tmp_path / f"picture{suffix}").write_bytes(encode_image(torch.rand(3, 5, 7), suffix))
        with Image.open(tmp_path / f"picture{suffix}") as picture:
            assert (picture.format, picture.size) == (name, (7, 5))


def test_a_range_without_depth_is_refused():
    for low, high in ((0.0, 10.0), (5.0, 5.0), (1.0, float("inf"))):
        with pytest.raises(BadInput, match="0 < near < far"):
            depth_color_scale(low, high)

"""What counts as a photograph's numbers, and what to do about others; shared by arrays, tensors and batches."""

from collections.abc import Sequence

_OVERSHOOT = 0.25
"""By which cubic interpolation may leave [0, 1], at most."""


ROUNDING = 1e-5
"""By which a mean of numbers in [0, 1] may leave it."""


def wrong_type(dtype: object) -> str:
    """Say that a photograph cannot be of this type of numbers."""
    return f"The image's numbers are {dtype}: give uint8, uint16 or floats in [0, 1]."


def explain_range(low: float, high: float) -> str:
    """Say what to do about an image whose floats leave [0, 1].

    Args:
        low: the smallest number.
        high: the largest; either is NaN or infinite if any number is.
    """
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        return "The image holds NaN or infinite numbers: give floats in [0, 1]."
    seems = "divide by 255, or give 8-bit integers" if low >= 0 and 1 < high <= 255 else "give floats in [0, 1]"
    if low > -_OVERSHOOT and high < 1 + _OVERSHOOT:
        seems = "if resizing overshot, image.clip(0, 1)"
    return f"The image's floats go from {low:.8g} to {high:.8g}, and must be in [0, 1]: {seems}."


def advice_on_channels(shape: Sequence[int], *, channels: int) -> str:
    """Say what to do about three dimensions whose three channels are not at the index `channels`; "" if they are.

    Args:
        shape: of one image.
        channels: 0 or −1.
    """
    is_array = channels == -1
    if shape[0] == shape[-1] == 3:
        return "its channels may come first or last; give a Pillow image, or one of another size"
    if shape[channels] == 3:
        return ""
    if shape[-1 - channels] == 3:
        return (
            "put the channels last, array.transpose(1, 2, 0)"
            if is_array
            else "put the channels first, permute(2, 0, 1)"
        )
    if shape[channels] == 4:
        return "leave the fourth channel out, or give a Pillow image, whose transparency is drawn on white"
    if shape[channels] == 1:
        return "give grey as (H, W), array[..., 0]" if is_array else "repeat grey, tensor.expand(3, -1, -1)"
    return "give its red, green and blue"

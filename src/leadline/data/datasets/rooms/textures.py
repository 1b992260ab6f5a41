"""Textures: how two colours mix on a surface, from metres along it.

Where a pixel covers as much as a period (`blur` near 1) each fades to its mean, which avoids aliasing far away.
"""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np


def noise(across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return smooth noise in [0, 1] with some sixteen details a unit, at positions in units of the caller."""
    row, column = (along * 16).astype(np.intp) & 255, (across * 16).astype(np.intp) & 255
    return _noise_tile()[(row << 8) + column]


def _plain(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return np.full_like(across, 0.8)


def _plaster(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return _fade(noise(across, along), blur / 4)


def _paper(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Draw rows of dots, each second row shifted."""
    x, y = _from_whole(across + 0.5 * (np.floor(along) % 2)), along - np.floor(along) - 0.5
    return _fade(_edge(0.28 - np.hypot(x, y), blur), blur)


def _stripes(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return _fade(_edge(_from_whole(across) - 0.25, blur), blur)


def _checks(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    x, y = (_edge(_from_whole(side / 2) * 2 - 0.5, blur) for side in (across, along))
    return _fade(x + y - 2 * x * y, blur / 2)


def _tiles(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    shade = 0.7 + 0.3 * _fade(_any(np.floor(across), np.floor(along)), blur)
    return shade * (1 - np.maximum(_line(across, 0.04, blur), _line(along, 0.04, blur)))


def _bricks(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Draw bricks one period long, three rows to a period."""
    row = np.floor(3 * along)
    across = across + 0.5 * (row % 2)
    shade = 0.35 + 0.4 * _fade(_any(np.floor(across), row), blur)
    joint = np.maximum(_line(across, 0.05, blur), _line(3 * along, 0.15, 3 * blur))
    return shade + (1 - shade) * joint


def _planks(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Draw floor boards one period wide and eight long."""
    row = np.floor(across)
    place = along / 8 + _any(row, row)
    shade = _fade(_any(row, np.floor(place)), blur)
    wood = 0.25 + 0.45 * shade + 0.3 * _fade(noise(across * 2, along / 6), blur)
    return wood * (1 - np.maximum(_line(across, 0.06, blur), _line(place, 0.008, blur / 8)))


def _grain(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return _fade(noise(across / 8, along * 1.5), blur / 2)


def _carpet(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return 0.6 * _fade(noise(across * 3, along * 3), blur * 2) + 0.4 * noise(across / 4, along / 4)


def _fabric(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    weave = np.sin(40 * across) * np.sin(40 * along)
    return 0.4 * _fade(0.5 + 0.5 * weave, blur * 8) + 0.6 * noise(across / 2, along / 2)


def _concrete(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return 0.7 * noise(across / 4, along / 4) + 0.3 * _fade(noise(across * 2, along * 2), blur)


def _books(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Draw spines of books, one in each period."""
    return _fade(_any(np.floor(across), np.floor(across)), blur) * (1 - _line(across, 0.15, blur))


def _leaves(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return _fade(_edge(noise(across, along) - 0.5, blur / 4), blur)


def _picture(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Draw an abstract picture: contour lines of hills."""
    hills = 3 * noise(across / 3, along / 3)
    return hills - np.floor(hills)


def _sky(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Draw sky above roofs; a period is the window's height."""
    roofs = 0.35 * _any(np.floor(across * 5), np.floor(across * 5)) - 0.35
    return np.where(along > roofs, 0.75 + 0.5 * along, 0.15 + 0.2 * noise(across * 2, along * 2))


def _from_whole(x: np.ndarray) -> np.ndarray:
    """Return the distance to the nearest whole number, 0 … 0.5."""
    return np.abs(x - np.rint(x))


def _edge(inside: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Return the fraction of a pixel that lies inside, by its distance to the edge."""
    return np.clip(inside / blur + 0.5, 0, 1)


def _line(x: np.ndarray, width: float, blur: np.ndarray) -> np.ndarray:
    """Return the fraction of a pixel that lines at every whole number cover."""
    return np.clip(((width + blur) / 2 - _from_whole(x)) / blur, 0, np.minimum(1, width / blur))


def _fade(mixture: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return 0.5 + (mixture - 0.5) * np.clip(2 - 2.5 * blur, 0, 1)


def _any(column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return a pseudo-random number in [0, 1] for each whole column and row."""
    return _noise_tile()[(column * 9473 + row * 30727).astype(np.intp) & 0xFFFF]


@cache
def _noise_tile() -> np.ndarray:
    """Make a flat tile of 256 × 256: noise in [0, 1] whose power falls with frequency, and that repeats seamlessly."""
    white = np.fft.rfft2(np.random.default_rng(0).standard_normal((256, 256)))
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    frequency[0, 0] = np.inf
    waves = np.fft.irfft2(white / frequency**1.2)
    return np.clip(0.5 + 0.22 * waves / waves.std(), 0, 1).astype(np.float32).ravel()


TEXTURES: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "books": _books,
    "bricks": _bricks,
    "carpet": _carpet,
    "checks": _checks,
    "concrete": _concrete,
    "fabric": _fabric,
    "grain": _grain,
    "leaves": _leaves,
    "paper": _paper,
    "picture": _picture,
    "plain": _plain,
    "planks": _planks,
    "plaster": _plaster,
    "sky": _sky,
    "stripes": _stripes,
    "tiles": _tiles,
}
"""Name → function of `(across, along, blur)`, all in periods → fraction of the lighter colour, 0 … 1."""

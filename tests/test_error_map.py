"""Tests of the drawing of doubt: its colours rise evenly, its scale holds, the map is where it is said to be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mzsr.apps.error_map import coloured, drawing, palette, ticks, top


def lightness(colours: np.ndarray) -> np.ndarray:
    """Return L* of sRGB colours."""
    linear = np.where(colours <= 0.04045 * 255, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


def test_lightness_rises_evenly() -> None:
    """So that the map reads in grey, and to those who see fewer colours."""
    values = lightness(palette())
    assert (np.diff(values) > 0).sum() > 250
    assert np.abs(values - np.linspace(values[0], values[-1], 256)).max() < 3


def test_a_level_has_its_place_among_the_colours() -> None:
    error = np.array([[0.0, 4.0, 8.0, 99.0]], np.float32)
    np.testing.assert_array_equal(coloured(error, 8.0)[0], palette()[[0, 128, 255, 255]])


@given(st.floats(0, 255), st.floats(0, 1))
def test_the_scale_is_round_and_holds_nearly_all(level: float, share: float) -> None:
    error = np.linspace(0, level, 101, dtype=np.float32).reshape(1, -1) * np.float32(share)
    most = top(error)
    labels = ticks(most)
    assert (error <= most).mean() >= 0.99
    assert most >= 1
    assert labels[0] == "0"
    assert 2 <= len(labels) <= 6
    assert [float(label.removesuffix(" or more")) for label in labels] == pytest.approx(
        np.linspace(0, most, len(labels)).tolist()
    )


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (60, 700), (900, 500)])
def test_the_map_is_pixel_on_pixel_and_the_key_below_it(size: tuple[int, int]) -> None:
    error = np.random.default_rng(0).gamma(2.0, 2.0, size).astype(np.float32)
    page = drawing(error, "On average 4.0 grey levels.")
    height, width = size
    np.testing.assert_array_equal(page[:height, :width], coloured(error, top(error)))
    below = page[height:]
    colours = palette()
    first, last = (np.any(np.all(below == colours[level], axis=2), axis=1) for level in (0, -1))
    bars = below[first & last]
    assert len(bars) > 10
    places = [int(np.flatnonzero((bars[0] == colours[level]).all(1))[0]) for level in (0, 64, 128, 192, 255)]
    assert np.abs(np.diff(places) - np.mean(np.diff(places))).max() <= 2
    ink = np.any(np.asarray(Image.fromarray(below).convert("L")) < 100, axis=0)  # letters keep off the edges
    assert not ink[:5].any()
    assert not ink[-5:].any()


def test_the_words_are_drawn() -> None:
    flat = np.ones((50, 400), np.float32)
    short, long = drawing(flat, "a"), drawing(flat, "a long line of figures, longer than the picture is wide " * 3)
    assert long.shape[0] > short.shape[0]
    assert long.shape[1] == short.shape[1] == 400

"""Tests of the drawings in a report: the kernel with its moments, the curve of the losses."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import gaussian

from mzsr.apps import charts


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, 150.0])
def test_moments_recover_the_gaussian_that_was_drawn(degrees):
    centroid, variances, angle = charts.moments(gaussian(31, 3.0, 1.5, degrees))
    np.testing.assert_allclose(centroid, 0, atol=1e-9)
    np.testing.assert_allclose(np.sqrt(variances), [3.0, 1.5], rtol=1e-3)
    assert abs((angle - degrees + 90) % 180 - 90) < 0.1


def test_moments_of_two_points_are_exact():
    kernel = np.zeros((5, 5))
    kernel[0, 4] = kernel[2, 2] = 0.5  # the middle, and two right and two up of it
    centroid, variances, angle = charts.moments(kernel)
    np.testing.assert_allclose(centroid, [-1, 1])
    np.testing.assert_allclose(variances, [2, 0], atol=1e-12)
    assert angle == pytest.approx(45)


def test_the_heat_map_shows_each_tap_in_its_place_and_tone():
    kernel = np.array([[0, 0, 0], [0, 1.0, 0.25], [0, 0, 0]])
    drawing = charts.kernel_picture(kernel)
    taps = re.findall(r'<path d="M(\d+) (\d+)h80v80h-80z" fill-opacity="([\d.]+)"/>', drawing)
    assert taps == [("80", "80", "1.000"), ("160", "80", "0.250")]


@given(st.lists(st.floats(1e-9, 1e6), min_size=2, max_size=200))
def test_the_curve_is_a_straight_scale_of_the_losses(losses):
    chart = charts.loss_chart(losses)
    lines = re.findall(r'class="curve" x1="([\d.]+)%" y1="([\d.]+)" x2="([\d.]+)%" y2="([\d.]+)"', chart)
    across = np.array([float(line[0]) for line in lines] + [float(lines[-1][2])])
    down = np.array([float(line[1]) for line in lines] + [float(lines[-1][3])])
    np.testing.assert_allclose(across, np.linspace(0, 100, len(losses)), atol=0.006)
    assert (down >= 0).all()
    assert (down <= 180).all()
    heights = [float(y) for y in re.findall(r'x2="100%" y1="([\d.]+)"', chart)]
    assert max(heights) == 180
    assert min(heights) == 0
    slope = (down[np.argmin(losses)] - down[np.argmax(losses)]) / (max(losses) - min(losses) or 1)
    np.testing.assert_allclose(down, down[np.argmax(losses)] + slope * (max(losses) - np.array(losses)), atol=0.2)

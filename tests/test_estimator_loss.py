"""Tests of what a wrong kernel costs: the closed form against matrices, and what holds of any belief."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from mzsr.imaging import kernels
from mzsr.learning import estimator
from mzsr.learning.estimator import FREQUENCIES, decibels_lost, response


def gaussian(l1: float, l2: float, theta: float = 0.0) -> Tensor:
    """Return (1, f, f), the transform of a Gaussian in closed form, exp(-2 π² fᵀ Σ f)."""
    row, column = torch.meshgrid(*[torch.fft.fftfreq(FREQUENCIES, dtype=torch.float64)] * 2, indexing="ij")
    along, across = math.sin(theta) * row + math.cos(theta) * column, math.cos(theta) * row - math.sin(theta) * column
    return torch.exp(-2 * math.pi**2 * (l1 * along**2 + l2 * across**2)).float()[None]


def lost(believed: Tensor, true: Tensor, scale: int = 2, noise: float = 0.0) -> float:
    return float(decibels_lost(believed, true, scale, torch.tensor([noise])))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare kernels on 12 x 12 frequencies, so that matrices are small: of the scales 2, 3 and 4 all are whole."""
    monkeypatch.setattr(estimator, "FREQUENCIES", 12)


def expected_error(believed: np.ndarray, true: np.ndarray, scale: int, power: float, spectrum: np.ndarray) -> float:
    """Return the expected squared error of the best linear estimate under a wrong belief, by its definition.

        x ~ (0, C),  y = A x + n,  n ~ (0, σ²),  W = C Âᵀ (Â C Âᵀ + σ²)⁻¹
        E |W y - x|² / pixels = tr((W A - 1) C (W A - 1)ᵀ + σ² W Wᵀ) / pixels

    on a circle. Kernels are circular, (n, n), their middle tap in the corner; they correlate.
    """
    side = len(spectrum)
    places = [(row, column) for row in range(side) for column in range(side)]
    kept = [(row, column) for row in range(0, side, scale) for column in range(0, side, scale)]
    covariances = np.fft.ifft2(spectrum).real

    def matrix(values: np.ndarray, rows: list[tuple[int, int]]) -> np.ndarray:
        return np.array([[values[(c[0] - r[0]) % side, (c[1] - r[1]) % side] for c in places] for r in rows])

    prior, guess, blur = matrix(covariances, places), matrix(believed, kept), matrix(true, kept)
    filtered = prior @ guess.T @ np.linalg.inv(guess @ prior @ guess.T + power * np.eye(len(kept)))
    missing = filtered @ blur - np.eye(side**2)
    return float(np.trace(missing @ prior @ missing.T) + power * np.sum(filtered**2)) / side**2


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("offset", [0.0, 0.5], ids=["symmetric", "off-centre"])
@pytest.mark.parametrize("wrong", [False, True])
def test_the_error_is_that_of_the_wiener_filter_as_a_matrix(
    scale: int, noise: float, offset: float, wrong: bool
) -> None:
    true = kernels.gaussian((1.5, 0.7), 0.4, size=9, offset=(offset, offset)).double()
    believed = kernels.gaussian((2.5, 1.0), -0.9, size=9).double() if wrong else true
    power = torch.tensor([noise**2 + estimator.ROUNDING**2], dtype=torch.float64)
    found = estimator._expected_error(response(believed[None]), response(true[None]), scale, power)
    circular = [np.roll(np.pad(kernel.numpy(), ((0, 3), (0, 3))), (-4, -4), (0, 1)) for kernel in (believed, true)]
    spectrum = estimator._photographs(estimator.FREQUENCIES).double().numpy()
    expected = expected_error(circular[0], circular[1], scale, float(power), spectrum) + estimator.BEST
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_photographs_have_their_variance_and_no_mean() -> None:
    """The mean of a power spectrum is the variance of a pixel, 0.2²."""
    assert float(estimator._photographs(estimator.FREQUENCIES).mean()) == pytest.approx(0.2**2, rel=1e-5)
    assert float(estimator._photographs(estimator.FREQUENCIES)[0, 0]) == 0


kernels_drawn = st.tuples(st.floats(0.05, 6), st.floats(0.05, 6), st.floats(0, math.pi))


@given(true=kernels_drawn, believed=kernels_drawn, scale=st.sampled_from([1, 2, 3, 4]), noise=st.floats(0, 0.1))
def test_no_belief_is_better_than_the_truth(true: tuple, believed: tuple, scale: int, noise: float) -> None:
    """The Wiener filter is the best linear estimate, so every other belief loses."""
    right, wrong = gaussian(*true), gaussian(*believed)
    assert lost(right, right, scale, noise) == 0
    assert lost(wrong, right, scale, noise) >= -1e-4


@given(true=kernels_drawn, scale=st.sampled_from([1, 2, 3, 4]), noise=st.floats(0, 0.05), wide=st.booleans())
def test_the_wronger_a_belief_the_more_it_loses(true: tuple, scale: int, noise: float, wide: bool) -> None:
    """A Gaussian of 1.3, 1.7, 2.2 times the variance, or of as much less, of a blur that can be seen."""
    l1, l2, theta = true
    assume(min(l1, l2) > 0.05 * scale**2)
    assume(max(l1, l2) < 0.8 * scale**2)
    factors = [factor if wide else 1 / factor for factor in (1.0, 1.3, 1.7, 2.2)]
    losses = [lost(gaussian(f * l1, f * l2, theta), gaussian(l1, l2, theta), scale, noise) for f in factors]
    assert all(more > less for less, more in itertools.pairwise(losses))


def test_too_wide_a_belief_costs_more_than_too_narrow_a_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is why hedging means narrow. The decibels are those told above BEST, which are without it."""
    true, beliefs = gaussian(2.0, 2.0), (gaussian(1.5, 1.5), gaussian(2.5, 2.5), estimator.shrinking(2))
    narrow, wide, bicubic = (lost(belief, true) for belief in beliefs)
    assert 0 < narrow < wide < bicubic
    monkeypatch.setattr(estimator, "BEST", 0.0)
    assert [lost(belief, true) for belief in beliefs] == pytest.approx([1.0, 1.7, 4.1], abs=0.05)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_aliases_are_the_frequencies_that_subsampling_confuses(scale: int) -> None:
    values = torch.arange(FREQUENCIES**2).reshape(1, FREQUENCIES, FREQUENCIES)
    found, part = estimator._aliases(values, scale)[0], FREQUENCIES // scale
    for row, column in ((0, 0), (3, 5), (part - 1, 1)):
        expected = {FREQUENCIES * (row + i * part) + column + j * part for i in range(scale) for j in range(scale)}
        assert set(found[:, row, column].tolist()) == expected

"""Tests of the shapes of blur: by the clouds of light they are the transforms of, and by their moments."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, degrade, effective_kernel
from mzsr.imaging.random_kernels import random_kernels
from mzsr.inference import fits, spectra
from mzsr.inference.families import SHAPES, Family, in_order, kernel_from, response_of
from mzsr.learning import spectrum
from mzsr.learning.estimator import FREQUENCIES, HEADS, Grid, response, shrinking

families = pytest.mark.parametrize("family", SHAPES)
quadratics = st.floats(0.1, 40)


def values(family: Family, q1: float, q2: float) -> list[float]:
    """Return K and its derivatives at one place."""
    return [float(found[0]) for found in SHAPES[family](np.array([q1]), np.array([q2]))]


def grid_of(low: float, high: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middles of count x count squares."""
    axis = low + (high - low) * (np.arange(count) + 0.5) / count
    first, second = np.meshgrid(axis, axis)
    return first.ravel(), second.ravel()


def cloud(family: Family) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points of light on the two axes, and their weights; both variances are 1."""
    if family == "disk":  # of radius 2, on points of which the rim takes its share
        first, second = grid_of(-2.1, 2.1, 600)
        weight = np.clip((2 - np.hypot(first, second)) * 600 / 4.2 + 0.5, 0, 1)
    elif family == "box":
        first, second = grid_of(-math.sqrt(3), math.sqrt(3), 200)
        weight = np.ones_like(first)
    else:
        first, second = grid_of(-7, 7, 200)
        weight = np.exp(-(second**2) / 2)
        if family == "motion":
            first = first * math.sqrt(3) / 7
        else:
            weight = weight * np.exp(-(first**2) / 2)
    return first, second, weight / weight.sum()


@families
def test_a_response_is_the_mean_phase_of_its_light(family: Family) -> None:
    """K = E cos(√q1 u1 + √q2 u2) over points u of light, with √q = 2 π f √l; q1 and q2 are not interchangeable."""
    first, second, weight = cloud(family)
    assert float((weight * first**2).sum()) == pytest.approx(1, abs=1e-3)
    assert float((weight * second**2).sum()) == pytest.approx(1, abs=1e-3)
    for q1, q2 in ((0.5, 0.0), (0.0, 3.0), (3.0, 1.0), (9.0, 2.0), (2.0, 20.0)):
        expected = (weight * np.cos(math.sqrt(q1) * first + math.sqrt(q2) * second)).sum()
        assert values(family, q1, q2)[0] == pytest.approx(float(expected), abs=1e-3)


@families
@given(q1=st.floats(0, 0.1), q2=st.floats(0, 0.1))
def test_near_dc_all_shapes_are_one(family: Family, q1: float, q2: float) -> None:
    """K = 1 - (q1 + q2) / 2, the next term at most the Gaussian's; what keeps 0 / 0 away is 1e-3 beside √(3q)."""
    guard = 6e-4 * (math.sqrt(q1) + math.sqrt(q2)) + 1e-6
    assert values(family, q1, q2)[0] == pytest.approx(1 - (q1 + q2) / 2, abs=(q1 + q2) ** 2 / 8 + guard)


@families
@given(q1=quadratics, q2=quadratics)
def test_derivatives_are_those_of_finite_differences(family: Family, q1: float, q2: float) -> None:
    """Within what keeps 0 / 0 away, at most 1e-3 / √(3q) of them."""
    _, by_q1, by_q2 = values(family, q1, q2)
    step = 1e-4
    for slope, (first, second) in ((by_q1, (step, 0)), (by_q2, (0, step))):
        higher, lower = (values(family, q1 + sign * first, q2 + sign * second)[0] for sign in (1, -1))
        assert slope == pytest.approx((higher - lower) / (2 * step), rel=2e-3, abs=1e-7)


@pytest.mark.parametrize("theta", [-0.5, 0.0, 1.3])
def test_an_angle_is_that_of_the_kernels(theta: float) -> None:
    """exp(-2 π² fᵀ Σ f), with the Σ of `kernels`; a bicubic shrinking multiplies."""
    covariance = kernels.covariances(torch.tensor([4.0, 1.0]), torch.tensor(theta))
    row, column = torch.meshgrid(*[torch.fft.fftfreq(FREQUENCIES)] * 2, indexing="ij")
    f = torch.stack([row, column])
    expected = torch.exp(-2 * math.pi**2 * torch.einsum("ars,ab,brs->rs", f, covariance, f))
    torch.testing.assert_close(response_of("gaussian", (4.0, 1.0), theta, 2), expected, rtol=0, atol=1e-6)
    shrunk = expected * shrinking(2)[0]
    torch.testing.assert_close(response_of("bicubic", (4.0, 1.0), theta, 2), shrunk, rtol=0, atol=1e-6)


@families
@pytest.mark.parametrize("theta", [-0.5, 0.4])
def test_all_shapes_turn_alike(family: Family, theta: float) -> None:
    """At the lowest frequencies, where each is 1 - 2 π² fᵀ Σ f."""
    gaussian = response_of("gaussian", (4.0, 0.5), theta, 2)
    found = response_of(family, (4.0, 0.5), theta, 2)
    found = found / shrinking(2)[0] if family == "bicubic" else found
    for row, column in ((1, 1), (1, -1), (0, 1), (1, 0), (2, -1)):
        # The next term, (q1 + q2)² / 8 and less, and the guards of `test_near_dc`
        power = -2 * math.log(float(gaussian[row, column]))
        assert float(found[row, column]) == pytest.approx(
            float(gaussian[row, column]), abs=power**2 / 8 + 1.2e-3 * math.sqrt(power)
        )


@given(l1=st.floats(0.1, 9), l2=st.floats(0.1, 9), theta=st.floats(-7, 7))
def test_order_changes_names_only(l1: float, l2: float, theta: float) -> None:
    (larger, smaller), angle = in_order((l1, l2), theta)
    assert larger >= smaller
    assert 0 <= angle <= math.pi
    before, after = (
        kernels.covariances(torch.tensor(v, dtype=torch.float64), torch.tensor(t, dtype=torch.float64))
        for v, t in (((l1, l2), theta), ((larger, smaller), angle))
    )
    torch.testing.assert_close(before, after, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("family", "scale", "grid"),
    # On the corner grid, and at x1, there is no bicubic shrinking
    [(f, s, grid) for f in SHAPES for s, grid in HEADS if f != "bicubic" or (grid == "centre" and s > 1)],
)
@pytest.mark.parametrize("theta", [-0.5, 1.2])
def test_a_kernel_has_the_moments_that_were_asked_for(family: Family, scale: int, grid: Grid, theta: float) -> None:
    """Σ, and beside it that of a bicubic shrinking where there is one; its centroid on the grid.

    Gaussians are cut off at 3 standard deviations of the wider axis, which in a corner takes up to 1 %. The others have
    edges that no taps hold: taps ring around them by 1 / p² and less, up to where a kernel ends, so that second moments
    are off by up to 4 %, and the centroid, on a grid between taps where one side has a tap more, by up to 0.03 pixels.
    """
    variances = 0.4 * scale**2 + 1.5, 0.15 * scale**2 + 1
    kernel = kernel_from(family, variances, theta, scale, grid)
    expected = kernels.covariances(torch.tensor(variances).double(), torch.tensor(theta).double())
    if family == "bicubic":
        expected = expected + kernels.covariance(effective_kernel(Degradation(kernels.delta(), scale, "bicubic")))
    exact = family in ("gaussian", "bicubic")
    error = float((kernels.covariance(kernel) - expected).abs().max() / expected.max())
    assert error < (0.01 if exact else 0.04)
    middle = (scale - 1) / 2 if grid == "centre" else 0.0
    assert kernels.centroid(kernel) == pytest.approx((middle, middle), abs=0.005 if exact else 0.03)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("variance", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_disks_of_training_are_disks(variance: float, offset: float, generator: torch.Generator) -> None:
    """Up to the tent by which their points were shared among taps, sinc²: without it, a few percent."""
    options = {"size": 31, "offset": (offset, offset), "generator": generator}
    drawn = response(random_kernels("disk", 1, variance=(variance, variance), **options), offset)[0]
    expected = response_of("disk", (variance, variance), 0.0, 2)
    row, column = torch.meshgrid(*[torch.fft.fftfreq(FREQUENCIES)] * 2, indexing="ij")
    low = torch.hypot(row, column) < 0.1
    tent = (torch.sinc(row) * torch.sinc(column)) ** 2
    assert float(drawn.imag[low].abs().max()) < 1e-3
    assert float((drawn.real - expected)[low].abs().max()) < 0.04
    assert float((drawn.real - expected * tent)[low].abs().max()) < 0.005


def field(side: int = 384) -> Tensor:
    """Return a grey picture whose power spectrum is |f|^-2.5, as in test_estimate.py."""
    noise = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    radius = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None, :]).clamp(min=1 / side)
    picture = torch.fft.irfft2(torch.fft.rfft2(noise) * radius**-1.25, s=(side, side))
    return (0.5 + 0.12 * picture / picture.std()).clamp(0.02, 0.98).float()


@pytest.mark.parametrize("variance", [3.0, 8.0])
def test_a_disk_is_found_from_nearby(variance: float, generator: torch.Generator) -> None:
    """Its zeros tell its radius to 2 %, and so its variance to 5 %; no Gaussian explains them half as well."""
    disk = random_kernels("disk", 1, variance=(variance, variance), size=25, generator=generator)[0]
    lr = (degrade(field(), Degradation(disk, 2)) * 255).round() / 255
    planes = spectrum.windows(lr)
    quiet = float(spectra.quiet_levels(planes.double().numpy())[0])
    groups = spectra.contrast_groups(spectrum.periodograms(planes[:, 0]).double().numpy())
    gaussian, unaided = (fits.fit(groups, 2, family, quiet) for family in ("gaussian", "disk"))
    start = replace(gaussian, variances=(1.25 * variance, 1.1 * variance))
    found = fits.fit(groups, 2, "disk", quiet, near=start)
    assert found.variances == pytest.approx((variance, variance), rel=0.06)
    assert found.cost <= unaided.cost + 1e-3
    assert found.cost < 0.6 * gaussian.cost
    again = fits.fit(groups, 2, "disk", quiet, near=found)
    assert again.cost == pytest.approx(found.cost, rel=1e-4)
    assert again.variances == pytest.approx(found.variances, rel=1e-2)

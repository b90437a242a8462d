"""Tests of the kernel estimator's network and of responses: closed forms, grids and symmetries."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, effective_kernel, phase
from mzsr.learning import estimator
from mzsr.learning.estimator import FREQUENCIES, HEADS, Estimator, Grid, kernel_of, response
from mzsr.learning.spectrum import FEATURES

heads = pytest.mark.parametrize(("scale", "grid"), HEADS)
# What is done to a kernel, for every view of `turned_response`
VIEWS = [lambda k: k, lambda k: k.flip(-1), lambda k: k.mT, lambda k: k.flip(-1).mT]


def centre(scale: int, grid: Grid) -> float:
    return (scale - 1) / 2 if grid == "centre" else 0.0


def about(taps: Tensor, offset: float, turn: Callable[[Tensor], Tensor]) -> Tensor:
    """Turn a kernel about the point `offset`; the taps that would come from outside are 0."""
    around = round(2 * offset)
    return pad(turn(taps[..., around:, around:]), (around, 0, around, 0))


@given(st.tuples(st.floats(0.3, 4), st.floats(0.3, 4), st.floats(0, math.pi)), st.sampled_from([0.0, 0.5, -0.25]))
def test_the_response_of_a_gaussian_is_its_transform(drawn: tuple, offset: float) -> None:
    """Poisson summation: sampled every pixel, a transform repeats every 1 / pixel; those are added."""
    l1, l2, theta = drawn
    taps = kernels.gaussian((l1, l2), theta, size=37, offset=(offset, offset))
    row, column = torch.meshgrid(*[torch.fft.fftfreq(FREQUENCIES, dtype=torch.float64)] * 2, indexing="ij")
    expected = torch.zeros_like(row, dtype=torch.complex128)
    for y in range(-2, 3):
        for x in range(-2, 3):
            along = math.sin(theta) * (row + y) + math.cos(theta) * (column + x)
            across = math.cos(theta) * (row + y) - math.sin(theta) * (column + x)
            # An alias has its own phase, and `offset` undoes that of the first
            turn = torch.exp(torch.tensor(-2j * math.pi * offset * (x + y)))
            expected += turn * torch.exp(-2 * math.pi**2 * (l1 * along**2 + l2 * across**2))
    found = response(taps[None], offset)[0].to(torch.complex128)
    torch.testing.assert_close(found, expected / expected[0, 0], rtol=0, atol=2e-5)


def test_nothing_has_response_one() -> None:
    for size in (1, 7, 47, 61):
        found = response(kernels.delta(size)[None])
        torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_shrinking_passes_the_mean_and_little_of_what_would_fold(scale: int) -> None:
    found = estimator.shrinking(scale)[0]
    assert float(found[0, 0]) == pytest.approx(1, abs=1e-6)
    # Partition of unity: the aliases of the mean are its zeros
    step = FREQUENCIES // scale
    assert float(found[::step, ::step].flatten()[1:].abs().max()) < 1e-6
    exact = response(effective_kernel(Degradation(kernels.delta(), scale, "bicubic"))[None], (scale - 1) / 2)
    assert float(exact.imag.abs().max()) < 1e-6


@heads
def test_a_kernel_comes_back_from_its_response(scale: int, grid: Grid) -> None:
    """One that is its own mirror image in a point, and of no shape: a Gaussian times noise."""
    offset, radius = centre(scale, grid), min(6 * scale, FREQUENCIES // 2 - 1)
    taps = kernels.gaussian((0.4 * scale**2, 0.2 * scale**2), 0.5, size=2 * radius + 1, offset=(offset, offset))
    taps = taps * (1 + 0.3 * torch.randn(taps.shape, generator=torch.Generator().manual_seed(0)))
    taps = taps + about(taps, offset, lambda k: k.flip(-2, -1))
    taps = taps / taps.sum()
    found = response(taps[None], offset)[0]
    assert float(found.imag.abs().max()) < 1e-5
    again = kernel_of(found.real, scale, grid)
    torch.testing.assert_close(again, taps, rtol=0, atol=1e-6)
    assert phase(Degradation(again, scale)) == pytest.approx((offset, offset), abs=1e-3)


@heads
def test_untrained_it_says_a_gaussian_of_a_quarter_of_scale_squared(scale: int, grid: Grid) -> None:
    """Tap by tap, whatever the features; the gate, which is drawn at random, is shut."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Estimator(8)
    torch.nn.init.constant_(network.scalars.bias, -40.0)
    features = torch.randn(3, FEATURES, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = network(features, scale, grid)[0]
    offset, radius = centre(scale, grid), min(6 * scale, FREQUENCIES // 2 - 1)
    variances = scale**2 / 4, scale**2 / 4
    expected = kernels.gaussian(variances, size=2 * radius + 1, offset=(offset, offset))
    for plane in found:
        torch.testing.assert_close(kernel_of(plane, scale, grid), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_with_the_gate_open_its_kernel_is_shrunk_as_well(scale: int) -> None:
    """Variances of blurs that follow one another add, those of the stretched cubic are 0: s²/4 is all there is."""
    network = Estimator(8)
    torch.nn.init.constant_(network.scalars.bias, 40.0)
    with torch.no_grad():
        found = network(torch.zeros(1, FEATURES), scale, "centre")[0][0]
    covariance = kernels.covariance(kernel_of(found, scale, "centre"))
    shrunk = kernels.covariance(effective_kernel(Degradation(kernels.delta(), scale, "bicubic")))
    expected = scale**2 / 4 * torch.eye(2, dtype=torch.float64) + shrunk
    torch.testing.assert_close(covariance, expected, rtol=0, atol=2e-3 * scale**2)


@heads
def test_whatever_it_says_is_a_kernel_on_the_grid(scale: int, grid: Grid) -> None:
    """Weights and features at random: a real response, 1 at the mean; taps that sum to 1, their centroid on the grid.

    The kernel's own taps are not negative either, which its response says: none is above that of the mean.
    """
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Estimator(8)
        for head in HEADS:
            torch.nn.init.normal_(network.get_parameter(f"heads.{head[0]} {head[1]}.weight"), std=2.0)
    features = torch.randn(2, FEATURES, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network(features, scale, grid)[0]
    torch.testing.assert_close(found[:, 0, 0], torch.ones(2), rtol=0, atol=1e-5)
    # Without the highest frequency: half a pixel off the taps, a response is not the same at 1/2 and at -1/2
    inner = torch.arange(FREQUENCIES) != FREQUENCIES // 2
    odd = found[:, inner][:, :, inner]
    torch.testing.assert_close(odd, odd.flip(1, 2).roll((1, 1), (1, 2)), rtol=0, atol=1e-5)
    assert float(found.abs().max()) < 1.0001
    for plane in found:
        kernel = kernel_of(plane, scale, grid)
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
        assert phase(Degradation(kernel, scale)) == pytest.approx([centre(scale, grid)] * 2, abs=2e-3)


@given(st.lists(st.floats(-4, 2), min_size=3, max_size=3))
def test_the_covariance_is_the_exponential_of_its_logarithm(drawn: list[float]) -> None:
    """exp(-M), by the series of torch."""
    rows, columns, mixed = drawn
    m = torch.tensor([[rows, mixed], [mixed, columns]], dtype=torch.float64)
    inverse = torch.linalg.matrix_exp(-m)
    found = estimator._inverse(torch.tensor([drawn], dtype=torch.float64))[0]
    torch.testing.assert_close(found, inverse[[0, 1, 0], [0, 1, 1]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("view", range(4))
@pytest.mark.parametrize("offset", [0.0, 0.5, 1.0, 1.5])
def test_turned_responses_are_those_of_turned_kernels(view: int, offset: float) -> None:
    """A kernel with no symmetry at all, on every grid; all but the highest frequency where the grid is between taps."""
    taps = pad(torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(0)), (3, 0, 3, 0))
    taps = pad(taps, (0, 1, 0, 1))
    found = estimator.turned_response(response(taps, offset), view)
    expected = response(about(taps, offset, VIEWS[view]), offset)
    inner = torch.arange(FREQUENCIES) != (FREQUENCIES // 2 if offset % 1 else -1)
    torch.testing.assert_close(found[:, inner][:, :, inner], expected[:, inner][:, :, inner], rtol=0, atol=1e-4)


@pytest.mark.parametrize("view", range(4))
def test_turning_a_response_twice_is_not_turning(view: int) -> None:
    """Of a kernel that is its own mirror image in a point, whose response is real."""
    found = response(torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(0))).real
    again = estimator.turned_response(estimator.turned_response(found, view), view)
    torch.testing.assert_close(again, found, rtol=0, atol=1e-4)

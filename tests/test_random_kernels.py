"""Tests of random kernels: every law by its moments, every grid by its centroids, and Gaussians mistaken for them."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mzsr.imaging import kernels
from mzsr.imaging.random_kernels import NOISE, RANDOM, misjudged, random_kernels

OTHERS = sorted(RANDOM.keys() - {"gaussian", "uniform"})
SHARE = 1 / 6  # pixels² that sharing points among taps adds along each axis, averaged over where the points lie
families = pytest.mark.parametrize("family", RANDOM)


def draw(family: str, count: int, variance: tuple[float, float], seed: int = 0, **options: Any) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return random_kernels(family, count, variance=variance, generator=generator, **options)


def eigenvalues(drawn: Tensor) -> Tensor:
    """Return (count, 2), the larger one first."""
    return kernels.principal(kernels.moments(drawn.double())[1])[0]


def assert_uniform(drawn: Tensor) -> None:
    """Mean and variance of U(0, 1), within four standard errors."""
    assert float(drawn.mean()) == pytest.approx(0.5, abs=4 / math.sqrt(12 * drawn.numel()))
    assert float(drawn.var()) == pytest.approx(1 / 12, abs=4 / math.sqrt(180 * drawn.numel()))


def assert_every_direction_is_as_likely(drawn: Tensor) -> None:
    theta = kernels.principal(kernels.moments(drawn.double())[1])[1]
    for mean in ((2 * theta).sin().mean(), (2 * theta).cos().mean(), (4 * theta).sin().mean()):
        assert float(mean) == pytest.approx(0, abs=4 / math.sqrt(2 * len(drawn)))


@families
@pytest.mark.parametrize("variance", [(0.02, 0.02), (0.1, 0.1), (0.1, 5.0), (40.0, 100.0)])
@pytest.mark.parametrize(("size", "offset"), [(15, (0, 0)), (15, (0.5, 0.5)), (15, (1.5, 1.5)), (21, (-1.5, 1.0))])
def test_a_kernel_is_a_kernel_on_its_grid(family: str, variance: tuple, size: int, offset: tuple) -> None:
    """Of one tap or wider than the window: not negative, no denormal tails, sum 1, the centroid where it was asked."""
    drawn = draw(family, 64, variance, size=size, offset=offset)
    assert float(drawn.min()) >= 0
    assert float(drawn[drawn > 0].min()) > 0.99e-9
    torch.testing.assert_close(drawn.sum((1, 2)), torch.ones(64), rtol=0, atol=1e-6)
    middles = kernels.moments(drawn.double())[0]
    torch.testing.assert_close(middles, torch.tensor(offset).double().expand(64, 2), rtol=0, atol=1e-3)


@families
def test_off_the_half_pixels_too(family: str) -> None:
    drawn = draw(family, 64, (0.1, 5.0), offset=(0.3, -1.2))
    middles = kernels.moments(drawn.double())[0]
    torch.testing.assert_close(middles, torch.tensor([0.3, -1.2]).double().expand(64, 2), rtol=0, atol=1e-3)


@families
def test_draws_repeat_with_their_generator(family: str) -> None:
    one, two, other = (draw(family, 3, (0.2, 5.0), seed) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(one, other, strict=True))
    assert float((one[0] - one[1]).abs().max()) > 1e-3


def test_random_gaussians_are_log_uniform() -> None:
    """Both variances within the bounds, their logarithms uniform, every direction as likely."""
    drawn = draw("gaussian", 600, (0.5, 4.0), size=25)
    found = eigenvalues(drawn)
    assert 0.49 < found.min() < 0.6
    assert 3.7 < found.max() < 4.01
    assert_uniform((found / 0.5).log().flatten() / math.log(8))
    assert_every_direction_is_as_likely(drawn)


def test_a_random_gaussian_is_a_gaussian() -> None:
    """Drawn with one variance, the tap-by-tap formula; on every grid."""
    for offset in ((0.0, 0.0), (0.5, 0.5), (1.0, -0.5)):
        for family in ("gaussian", "uniform"):
            expected = kernels.gaussian((2.0, 2.0), size=21, offset=offset)
            torch.testing.assert_close(
                draw(family, 1, (2.0, 2.0), size=21, offset=offset)[0], expected, rtol=0, atol=1e-5
            )


def test_random_uniform_gaussians_are_the_papers_law() -> None:
    """l1 ~ U(low, high), l2 ~ U(low, l1), theta ~ U(0, π), independent of each other."""
    drawn = draw("uniform", 600, (1.0, 5.0), size=25)
    l1, l2 = eigenvalues(drawn).unbind(1)
    first, second = (l1 - 1) / 4, (l2 - 1) / (l1 - 1)
    assert_uniform(first)
    assert_uniform(second)
    assert float(torch.corrcoef(torch.stack([first, second]))[0, 1]) == pytest.approx(0, abs=4 / math.sqrt(600))
    assert_every_direction_is_as_likely(drawn)


@pytest.mark.parametrize("variance", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, 0.5)])
def test_disks_and_squares_have_their_variance(variance: float, offset: tuple) -> None:
    """r²/4 of a disk, a²/12 of a square however it is turned, along every axis."""
    expected = (variance + SHARE) * torch.eye(2, dtype=torch.float64)
    for family in ("disk", "box"):
        second = kernels.moments(draw(family, 16, (variance, variance), size=25, offset=offset).double())[1]
        torch.testing.assert_close(second, expected.expand(16, 2, 2), rtol=0.01, atol=0.03)


def test_a_disk_is_flat_inside_and_empty_outside() -> None:
    """Of radius 4: 1 / (π r²) up to a pixel from the rim, nothing from a pixel beyond it."""
    disk = draw("disk", 1, (4.0, 4.0))[0]
    axis = torch.arange(15) - 7
    distance = torch.hypot(axis[:, None].float(), axis[None, :].float())
    inside = disk[distance < 4 - math.sqrt(2)]
    torch.testing.assert_close(inside, torch.full_like(inside, 1 / (16 * math.pi)), rtol=0.02, atol=0)
    assert float(disk[distance > 4 + math.sqrt(2)].max()) == 0


@pytest.mark.parametrize("family", ["disk", "box"])
def test_variances_of_disks_and_rectangles_are_log_uniform(family: str) -> None:
    found = eigenvalues(draw(family, 400, (1.0, 8.0), size=25)) - SHARE
    assert_uniform(found.log()[:, : 1 if family == "disk" else 2].flatten() / math.log(8))


def test_half_of_the_rectangles_are_turned() -> None:
    second = kernels.moments(draw("box", 400, (1.0, 8.0), size=25).double())[1]
    assert float((second[:, 0, 1].abs() > 1e-6).double().mean()) == pytest.approx(0.5, abs=4 / math.sqrt(4 * 400))


def test_motions_are_as_long_as_asked_and_bent_in_all_degrees() -> None:
    long, short = eigenvalues(draw("motion", 400, (4.0, 4.0), size=31)).unbind(1)
    torch.testing.assert_close(long, torch.full_like(long, 4 + SHARE), rtol=0, atol=0.1)
    lens = 0.25 + SHARE  # all that a straight path has across itself
    assert 0.25 < float((short < lens + 0.1).double().mean()) < 0.75
    assert float(short.max()) > 1.5
    drawn = draw("motion", 400, (4.0, 4.0), size=31)
    assert_every_direction_is_as_likely(drawn)
    assert_uniform((eigenvalues(draw("motion", 400, (1.0, 8.0), size=41))[:, 0] - SHARE).log() / math.log(8))


def test_perturbed_taps_are_off_by_up_to_forty_percent() -> None:
    """log k(p) + |p|² / 2 l is a plane, by which the Gaussian is moved, and the logarithm of the noise."""
    drawn = draw("perturbed", 200, (2.0, 2.0), size=9, offset=(0.5, -0.5)).double()
    axis = torch.arange(9, dtype=torch.float64) - 4
    row, column = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    logs = drawn.log().flatten(1) + (row**2 + column**2) / 4
    plane = torch.stack([torch.ones_like(row), row, column], 1)
    noise = logs.T - plane @ torch.linalg.lstsq(plane, logs.T).solution
    expected = np.log(np.linspace(1 - NOISE, 1 + NOISE, 100_001)).std() * math.sqrt(78 / 81)  # three numbers are fitted
    assert float(noise.square().mean().sqrt()) == pytest.approx(expected, rel=0.03)
    assert float((noise.amax(0) - noise.amin(0)).max()) < math.log((1 + NOISE) / (1 - NOISE)) + 0.2


@pytest.mark.parametrize("family", OTHERS)
def test_the_others_are_no_gaussians(family: str, generator: torch.Generator) -> None:
    """Even the Gaussian of the same moments is off by a tenth of the light and more."""
    drawn = draw(family, 100, (2.0, 5.0), size=21)
    nearest = misjudged(drawn, error=0, generator=generator)
    torch.testing.assert_close(eigenvalues(nearest), eigenvalues(drawn), rtol=0.01, atol=0.01)
    assert float((drawn - nearest).abs().sum((1, 2)).quantile(0.1)) > 0.1


@pytest.mark.parametrize("variance", [0.1, 0.2, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, 0.5), (1.5, 1.5)])
def test_without_error_a_gaussian_is_judged_rightly(variance: float, offset: tuple, generator: torch.Generator) -> None:
    """Narrow ones too, whose taps have not the variance that they were sampled with: within 2 % of the light."""
    drawn = torch.stack(
        [kernels.gaussian((wide * variance, variance), 0.4, size=25, offset=offset) for wide in (1, 1.5, 2)]
    )
    judged = misjudged(drawn, error=0, generator=generator)
    assert float((judged - drawn).abs().sum((1, 2)).max()) < 0.021
    torch.testing.assert_close(misjudged(drawn[1], error=0.0, generator=generator), judged[1], rtol=0, atol=1e-5)


def test_errors_are_those_of_logarithms_and_angles(generator: torch.Generator) -> None:
    error, count = 0.2, 1000
    kernel = kernels.gaussian((4.0, 1.0), 0.4, size=25, offset=(0.5, 0.5))
    judged = misjudged(kernel.expand(count, 25, 25), error=error, generator=generator).double()
    middles, second = kernels.moments(judged)
    torch.testing.assert_close(middles, torch.full_like(middles, 0.5), rtol=0, atol=1e-3)
    variances, theta = kernels.principal(second)
    for drawn, middle, spread in (
        (variances[:, 0].log(), math.log(4), error),
        (variances[:, 1].log(), 0.0, error),
        (theta, 0.4, error / 2),
    ):
        assert float(drawn.mean()) == pytest.approx(middle, abs=4 * spread / math.sqrt(count))
        assert float(drawn.std()) == pytest.approx(spread, rel=4 / math.sqrt(2 * count))


@families
@pytest.mark.parametrize("variance", [(0.1, 0.1), (0.1, 5.0), (40.0, 100.0)])
@pytest.mark.parametrize("error", [0.2, 1])
def test_a_misjudged_kernel_is_a_kernel_on_the_same_grid(family: str, variance: tuple, error: float) -> None:
    drawn = draw(family, 32, variance, offset=(0.5, 0.5))
    one, two, other = (
        misjudged(drawn, error=error, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert float(one.min()) >= 0
    torch.testing.assert_close(one.sum((1, 2)), torch.ones(32), rtol=0, atol=1e-6)
    torch.testing.assert_close(kernels.moments(one)[0], kernels.moments(drawn)[0], rtol=0, atol=1e-3)


def test_nothing_is_judged_to_be_next_to_nothing(generator: torch.Generator) -> None:
    """A single tap has no moments at all; the narrowest Gaussian is the same single tap."""
    torch.testing.assert_close(misjudged(kernels.delta(7), error=0.2, generator=generator), kernels.delta(7))

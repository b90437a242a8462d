"""Tests of kernels: closed forms of their moments, and what centring keeps."""

import math
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mzsr.errors import InputError
from mzsr.imaging import kernel_files, kernels

angles = st.floats(-math.pi, math.pi)
variances = st.floats(0.5, 5.0)  # below, a sampled Gaussian has no longer the variance of the continuous one
shifts = st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))


@given(l1=variances, l2=variances, theta=angles, offset=shifts)
def test_gaussian_has_the_moments_it_is_asked_for(l1: float, l2: float, theta: float, offset: tuple) -> None:
    """Σ = V diag(l1, l2) Vᵀ with l1 along (cos, sin) on (column, row)."""
    kernel = kernels.gaussian((l1, l2), theta, size=31, offset=offset)
    along = np.array([math.sin(theta), math.cos(theta)])
    across = np.array([math.cos(theta), -math.sin(theta)])
    expected = l1 * np.outer(along, along) + l2 * np.outer(across, across)
    np.testing.assert_allclose(kernels.covariance(kernel).numpy(), expected, atol=5e-3)
    assert kernels.centroid(kernel) == pytest.approx(offset, abs=1e-3)


def test_gaussian_is_its_formula() -> None:
    """exp(-pᵀ Σ⁻¹ p / 2) tap by tap, for the anisotropic kernel of the paper."""
    turn = np.array([[math.cos(-0.5), -math.sin(-0.5)], [math.sin(-0.5), math.cos(-0.5)]])  # (column, row)
    precision = np.linalg.inv(turn @ np.diag([4.0, 1.0]) @ turn.T)
    points = [(np.array([column, row])) for row in range(-7, 8) for column in range(-7, 8)]
    taps = np.array([math.exp(-0.5 * p @ precision @ p) for p in points]).reshape(15, 15)
    found = kernels.gaussian((4.0, 1.0), -0.5).numpy()
    np.testing.assert_allclose(found, taps / taps.sum(), atol=2e-8)


@given(theta=angles)
def test_a_quarter_turn_swaps_the_variances_and_a_half_turn_nothing(theta: float) -> None:
    kernel = kernels.gaussian((3.0, 0.7), theta)
    torch.testing.assert_close(kernel, kernels.gaussian((0.7, 3.0), theta + math.pi / 2), rtol=0, atol=1e-7)
    torch.testing.assert_close(kernel, kernels.gaussian((3.0, 0.7), theta + math.pi), rtol=0, atol=1e-7)
    torch.testing.assert_close(kernel.T, kernels.gaussian((3.0, 0.7), math.pi / 2 - theta), rtol=0, atol=1e-7)


def test_a_very_narrow_gaussian_is_one_tap() -> None:
    """Also between the pixels, where every tap would underflow."""
    narrow = kernels.gaussian((1e-4, 1e-4), size=5, offset=(0.3, -0.6))
    assert torch.equal(narrow, torch.roll(kernels.delta(5), -1, 1))


def test_gaussians_are_gaussians() -> None:
    pairs, angle = torch.tensor([[2.0, 1.0], [0.3, 4.0], [1.0, 1.0]]), torch.tensor([0.4, -1.0, 2.0])
    batch = kernels.gaussians(pairs, angle, size=9, offset=(0.5, 0.5))
    for kernel, (l1, l2), theta in zip(batch, pairs.tolist(), angle.tolist(), strict=True):
        alone = kernels.gaussian((l1, l2), theta, size=9, offset=(0.5, 0.5))
        torch.testing.assert_close(kernel, alone, rtol=1e-4, atol=1e-8)


def test_gaussians_are_differentiable() -> None:
    """Estimation and its refinement descend on the variances and the angle."""
    pairs = torch.tensor([[2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, t: kernels.gaussians(v, t, size=5), (pairs, theta))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.0, 1.0),), "variances are 0 and 1 pixels²; both must be above 0"),
        (((1.0, -1.0),), "variances are 1 and -1"),
        (((1.0, math.nan),), "variances are 1 and nan"),
        (((math.inf, 1.0),), "variances are inf and 1"),
        (((1.0, 1.0), math.nan), "angle is nan"),
        ((2.0,), "variances are 2.0; two are required"),
        (((2.0,),), r"variances are \(2.0,\); two are required"),
    ],
)
def test_bad_gaussian(monkeypatch: pytest.MonkeyPatch, arguments: tuple, message: str) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(InputError, match=message):
        kernels.gaussian(*arguments)


@pytest.mark.parametrize("size", [0, -3, 4])
def test_bad_gaussian_size(size: int) -> None:
    with pytest.raises(InputError, match=f"size is {size}; it must be odd"):
        kernels.gaussian((1.0, 1.0), size=size)
    with pytest.raises(InputError, match=f"size is {size}; it must be odd"):
        kernels.delta(size)


def test_bad_offset() -> None:
    with pytest.raises(InputError, match=r"offset is \(nan, 0.0\); two finite numbers"):
        kernels.gaussian((1.0, 1.0), offset=(math.nan, 0.0))
    with pytest.raises(InputError, match=r"new centroid is \(nan, 0.0\); two finite numbers"):
        kernels.centre(kernels.delta(), (math.nan, 0.0))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_moments_of_a_box(size: int) -> None:
    """A box of n taps has variance (n² - 1) / 12; a delta is the box of one."""
    box = torch.full((size, size), 3.0)  # moments are of the normalised kernel
    assert kernels.centroid(box) == pytest.approx((0, 0), abs=1e-12)
    expected = torch.eye(2, dtype=torch.float64) * (size**2 - 1) / 12
    torch.testing.assert_close(kernels.covariance(box), expected, rtol=0, atol=1e-12)


@given(row=st.integers(-3, 3), column=st.integers(-3, 3))
def test_moments_of_a_moved_kernel(row: int, column: int) -> None:
    """The centroid moves along, the covariance stays."""
    small = torch.rand(3, 3, generator=torch.Generator().manual_seed(1))
    large = torch.zeros(9, 9)
    large[3 + row : 6 + row, 3 + column : 6 + column] = small
    before = kernels.centroid(small)
    assert kernels.centroid(large) == pytest.approx((before[0] + row, before[1] + column), abs=1e-9)
    torch.testing.assert_close(kernels.covariance(large), kernels.covariance(small), rtol=0, atol=1e-9)


def test_moments_of_a_batch_are_those_of_each() -> None:
    taps = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    middles, second = kernels.moments(taps / taps.sum((-2, -1), keepdim=True))
    for index in np.ndindex(2, 3):
        assert kernels.centroid(taps[index]) == pytest.approx(middles[index].tolist(), abs=1e-12)
        torch.testing.assert_close(kernels.covariance(taps[index]), second[index], rtol=0, atol=1e-12)


@given(l1=variances, l2=variances, theta=angles)
def test_principal_undoes_covariances(l1: float, l2: float, theta: float) -> None:
    """And both speak of the Gaussian of the same numbers."""
    whole = kernels.covariances(torch.tensor([l1, l2], dtype=torch.float64), torch.tensor(theta, dtype=torch.float64))
    found, angle = kernels.principal(whole)
    assert found.tolist() == pytest.approx([max(l1, l2), min(l1, l2)])
    torch.testing.assert_close(kernels.covariances(found, angle), whole)
    sampled = kernels.covariance(kernels.gaussian((l1, l2), theta, size=31))
    torch.testing.assert_close(sampled, whole, rtol=0, atol=5e-3)


def test_moments_of_a_kernel_that_is_being_fitted() -> None:
    """A kernel that wants a gradient gives plain numbers, without a warning."""
    assert kernels.centroid(kernels.delta(3).requires_grad_()) == (0.0, 0.0)
    assert not kernels.covariance(kernels.delta(3).requires_grad_()).requires_grad


@given(rows=st.integers(1, 7), columns=st.integers(1, 7), to=shifts, seed=st.integers(0, 9))
def test_centre_puts_the_centroid_where_it_should_be(rows: int, columns: int, to: tuple, seed: int) -> None:
    """Of any kernel: even, oblong, ending abruptly, a single tap."""
    kernel = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))
    moved = kernels.centre(kernel, to)
    assert moved.shape[0] == moved.shape[1]
    assert moved.shape[0] % 2 == 1
    assert float(moved.sum()) == pytest.approx(1, abs=1e-5)
    assert kernels.centroid(moved) == pytest.approx(to, abs=1.1e-3)


@given(l1=st.floats(1.5, 5.0), l2=st.floats(1.5, 5.0), theta=angles, to=shifts)
def test_centre_moves_a_gaussian_as_a_whole(l1: float, l2: float, theta: float, to: tuple) -> None:
    moved = kernels.centre(kernels.gaussian((l1, l2), theta, size=25, offset=(0.4, -0.2)), to)
    expected = kernels.gaussian((l1, l2), theta, size=moved.shape[0], offset=to)
    torch.testing.assert_close(moved, expected, rtol=0, atol=0.015 * float(expected.max()))


def test_centre_copies_where_nothing_has_to_move() -> None:
    """By whole pixels, and an even kernel to between its middle taps."""
    taps = torch.tensor([[1.0, 2.0], [2.0, 1.0]]) / 6
    assert kernels.centroid(kernels.centre(taps, (0.5, 0.5))) == pytest.approx((0.5, 0.5), abs=1e-9)
    for to in ((0.5, 0.5), (-0.5, 1.5)):
        moved = kernels.centre(taps, to)
        torch.testing.assert_close(moved[moved > 1e-6].reshape(2, 2), taps, rtol=0, atol=1e-7)


@pytest.mark.parametrize("taps", [torch.ones(1, 1), torch.ones(3, 3), torch.ones(1, 5), torch.ones(2, 3)])
@pytest.mark.parametrize("to", [(0.5, 0.5), (0.5, 0.0), (1.5, -0.3)])
def test_centre_keeps_the_moments_of_a_kernel_that_ends_abruptly(taps: torch.Tensor, to: tuple) -> None:
    """And so a frame of zeros changes nothing."""
    rows, columns = taps.shape
    expected = torch.diag(torch.tensor([rows**2 - 1.0, columns**2 - 1.0], dtype=torch.float64) / 12)
    for kernel in (taps, torch.nn.functional.pad(taps, (7, 7, 7, 7))):
        moved = kernels.centre(kernel, to)
        assert kernels.centroid(moved) == pytest.approx(to, abs=1e-3)
        torch.testing.assert_close(kernels.covariance(moved), expected, rtol=0, atol=1.1e-3)


def test_arrays_are_kernels_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error sends people with an even array to `centre`."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    centred = kernels.centre(np.ones((4, 4)))  # pyright: ignore[reportArgumentType]
    assert kernels.check(centred).sum() == pytest.approx(1)
    assert kernels.centroid(centred) == pytest.approx((0.0, 0.0), abs=1e-3)
    assert float(kernels.check(np.ones((3, 3))).sum()) == pytest.approx(1)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (torch.ones(1, 3, 3), "kernel is 1x3x3; rows and columns are required"),
        (torch.zeros(3, 3), "sums to 0; the sum must be above 0"),
        (torch.full((2, 3), math.nan), "6 values that are NaN or infinite"),
        (torch.tensor([[1.0, -0.9, 0.0]]), "centroid at .* outside itself"),
    ],
)
def test_centre_refuses_what_has_no_centre(monkeypatch: pytest.MonkeyPatch, kernel: torch.Tensor, message: str) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError, match=message):
        kernels.centre(kernel)


def test_check_normalises() -> None:
    kernel = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(kernels.check(7 * kernel), kernel / kernel.sum())
    ringing = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 8.0, -1.0], [0.0, -1.0, 0.0]])  # negative taps are allowed
    torch.testing.assert_close(kernels.check(ringing), ringing / 4)


@pytest.mark.parametrize("scale", [2, 4])
def test_kernels_of_a_public_set(data: Path, scale: int) -> None:
    """The 50 random kernels of DIV2KRK are read, and centre() puts them onto the centre-aligned grid."""
    folder = data / "bench" / "kernels" / f"x{scale}"
    to = ((scale - 1) / 2, (scale - 1) / 2)
    paths = sorted(folder.glob("*.mat"))
    assert len(paths) == 50
    for path in paths:
        kernel = kernel_files.load(path)
        moved = kernels.centre(kernel, to)
        assert kernels.centroid(moved) == pytest.approx(to, abs=1.1e-3)
        assert moved.shape[0] <= kernel.shape[0] + 10  # room for the move, no more
        torch.testing.assert_close(kernels.covariance(moved), kernels.covariance(kernel), rtol=0.02, atol=0.02)

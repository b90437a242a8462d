"""Tests of the data step: its limits, dense least squares, its gradients; back-projection that converges."""

import itertools
import math

import numpy as np
import oracles
import pytest
import torch
from torch import Tensor

from mzsr.imaging import kernels
from mzsr.imaging.data_step import back_project, data_step, inverse_filter
from mzsr.imaging.degrade import Degradation, Subsample, adjoint, degrade, effective_kernel, linear, upsample

ANISOTROPIC = kernels.gaussian((4.0, 1.0), -0.5).double()
SHIFTED = kernels.gaussian((1.0, 0.6), 0.3, size=9, offset=(0.5, 0.5)).double()  # the centre-aligned grid of x2
CASES = [
    pytest.param(Degradation(kernels.gaussian((0.2, 0.2)).double(), 2), id="g0.2-direct-x2"),
    pytest.param(Degradation(kernels.gaussian((2.0, 2.0)).double(), 2), id="g2.0-direct-x2"),
    pytest.param(Degradation(ANISOTROPIC, 2), id="g_ani-direct-x2"),
    pytest.param(Degradation(SHIFTED, 2), id="centre-direct-x2"),
    pytest.param(Degradation(kernels.gaussian((1.3, 1.3)).double(), 2, "bicubic"), id="g1.3-bicubic-x2"),
    pytest.param(Degradation(kernels.delta().double(), 3, "bicubic"), id="bicubic-x3"),
    pytest.param(Degradation(kernels.gaussian((2.0, 2.0)).double(), 4), id="g2.0-direct-x4"),
    pytest.param(Degradation(kernels.delta().double(), 4, "bicubic"), id="bicubic-x4"),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def case_of(photo: Tensor, d: Degradation) -> tuple[Tensor, Tensor]:
    """Return a degraded picture and its enlargement."""
    lr = degrade(photo.double(), d)
    return lr, upsample(lr, d)


@pytest.mark.parametrize("d", CASES)
def test_explains_the_picture_as_alpha_vanishes(photo: Tensor, d: Degradation) -> None:
    """A x = y in the interior."""
    lr, prior = case_of(photo, d)
    again = linear(data_step(lr, prior, d, 1e-6), d)
    assert float((again - lr)[..., 6:-6, 6:-6].abs().max()) < 1e-4
    assert float((linear(prior, d) - lr)[..., 6:-6, 6:-6].abs().max()) > 5e-3  # which the prior does not


@pytest.mark.parametrize("d", CASES)
def test_becomes_the_prior_as_alpha_grows(photo: Tensor, d: Degradation) -> None:
    lr, prior = case_of(photo, d)
    torch.testing.assert_close(data_step(lr, prior, d, 1e9), prior, rtol=0, atol=1e-8)


@pytest.mark.parametrize("d", CASES)
def test_leaves_a_prior_that_explains_the_picture(photo: Tensor, d: Degradation) -> None:
    lr, _ = case_of(photo, d)
    truth = photo.double()[:, :, : lr.shape[2] * d.scale, : lr.shape[3] * d.scale]
    torch.testing.assert_close(data_step(lr, truth, d, 1e-3), truth, rtol=0, atol=1e-9)


@pytest.mark.parametrize("d", CASES)
def test_is_where_the_gradient_vanishes(photo: Tensor, d: Degradation) -> None:
    """Aᵀ(A x - y) + α (x - x₀) = 0, away from the border."""
    lr, prior = case_of(photo, d)
    x = data_step(lr, prior, d, 0.05)
    gradient = adjoint(linear(x, d) - lr, d) + 0.05 * (x - prior)
    cut = 6 * d.scale
    inside = gradient[..., cut:-cut, cut:-cut]
    scale = adjoint(linear(prior, d) - lr, d).abs().max()  # where it began
    assert float(inside.abs().max()) < 1e-3 * float(scale)


@pytest.mark.parametrize("d", CASES)
def test_is_nearer_than_the_prior_up_to_the_border(photo: Tensor, d: Degradation) -> None:
    """The filter is circular: without its symmetric extension the left edge would leak into the right one."""
    lr, prior = case_of(photo, d)
    before, after = (float((linear(x, d) - lr).abs().max()) for x in (prior, data_step(lr, prior, d, 0.01)))
    assert after < 0.7 * before


@pytest.mark.parametrize(
    ("kernel", "scale", "subsample"),
    [
        (kernels.gaussian((1.2, 0.5), 0.4, size=5), 2, "direct"),
        (kernels.gaussian((0.8, 0.5), 0.4, size=7, offset=(0.5, 0.5)), 2, "direct"),
        (kernels.delta(), 2, "bicubic"),
        (kernels.gaussian((1.0, 2.0), 0.4, size=5), 3, "direct"),
    ],
)
def test_equals_dense_least_squares(kernel: Tensor, scale: int, subsample: Subsample) -> None:
    """In the interior: the filter's border is the mirror image of the residual, that of A the picture's."""
    side = 40 // scale
    d = Degradation(kernel.double(), scale, subsample)
    lr, prior = draw(1, 1, side, side), draw(1, 1, side * scale, side * scale, seed=1)
    matrix = oracles.operator(effective_kernel(d).numpy(), scale, side * scale, side * scale)
    expected = oracles.least_squares(matrix, lr[0, 0].numpy(), prior[0, 0].numpy(), alpha=0.1)
    found = data_step(lr, prior, d, 0.1)[0, 0].numpy()
    inside = slice(14, -14)
    np.testing.assert_allclose(found[inside, inside], expected[inside, inside], atol=2e-4)
    assert np.abs(found - prior[0, 0].numpy())[inside, inside].max() > 0.1


def test_one_alpha_and_one_kernel_for_each_image() -> None:
    """A batch is its images one by one; a number, a scalar tensor and a tensor of ones for each are the same."""
    batch = torch.stack([ANISOTROPIC, kernels.gaussian((1.0, 1.0)).double()])
    lr, prior = draw(2, 3, 7, 9), draw(2, 3, 14, 18, seed=1)
    alphas = torch.tensor([0.01, 0.3], dtype=torch.float64).reshape(2, 1, 1, 1)
    together = data_step(lr, prior, Degradation(batch), alphas)
    for i in range(2):
        d, alpha = Degradation(batch[i]), alphas[i].squeeze()
        alone = data_step(lr[i : i + 1], prior[i : i + 1], d, alpha)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-10)
        torch.testing.assert_close(data_step(lr[i : i + 1], prior[i : i + 1], d, float(alpha)), alone)


@pytest.mark.parametrize("subsample", ["direct", "bicubic"])
def test_gradients(subsample: Subsample) -> None:
    """With respect to the picture, the prior, the kernel and α, which training learns; twice for meta-training."""
    kernel = draw(3, 3, seed=3)
    inputs = [draw(1, 1, 2, 3), draw(1, 1, 4, 6, seed=1), kernel / kernel.sum(), torch.tensor(0.1, dtype=torch.float64)]

    def step(lr: Tensor, prior: Tensor, kernel: Tensor, alpha: Tensor) -> Tensor:
        return data_step(lr, prior, Degradation(kernel, 2, subsample), alpha)

    wanted = tuple(tensor.requires_grad_() for tensor in inputs)
    assert torch.autograd.gradcheck(step, wanted, fast_mode=True)
    assert torch.autograd.gradgradcheck(step, wanted, fast_mode=True)


def test_a_kernel_larger_than_the_picture() -> None:
    """The lags of a wide kernel wrap around a small grid; what is solved is still what was asked."""
    wide = Degradation(kernels.gaussian((2.0, 1.0), 0.3, size=61).double())
    narrow = Degradation(kernels.gaussian((2.0, 1.0), 0.3, size=19).double())  # the same but for empty taps
    lr, prior = draw(1, 1, 5, 6), draw(1, 1, 10, 12, seed=1)
    torch.testing.assert_close(data_step(lr, prior, wide, 0.01), data_step(lr, prior, narrow, 0.01), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [8, 15, 128])
def test_inverse_filter_is_one_over_the_spectrum(size: int) -> None:
    """1 / (|lags' Fourier sum| + α), also where the grid is smaller than the kernel."""
    kernel = kernels.gaussian((3.0, 1.0), 0.7, size=41)
    taps = kernel.double()
    frequency = torch.arange(size, dtype=torch.float64) / size
    expected = torch.zeros(size, size, dtype=torch.float64)
    for row in range(2):  # A Aᵀ is the mean power of the kernel over the two aliases of each axis
        for column in range(2):
            place = torch.arange(41, dtype=torch.float64) - 20
            rows = torch.exp(-1j * math.pi * torch.outer(frequency + row, place))
            columns = torch.exp(-1j * math.pi * torch.outer(place, frequency + column))
            expected += (rows @ taps.to(rows) @ columns).abs() ** 2 / 4
    found = torch.fft.fft2(inverse_filter(Degradation(kernel), 0.02, size))
    torch.testing.assert_close(found.real, 1 / (expected + 0.02), rtol=0, atol=1e-6)


@pytest.mark.parametrize("d", CASES)
def test_inverse_filter_inverts(d: Degradation) -> None:
    """(A Aᵀ + α) h = δ."""
    response = torch.roll(inverse_filter(d, 0.05, 48), (24, 24), (0, 1))[None, None]
    impulse = linear(adjoint(response, d), d) + 0.05 * response
    expected = torch.zeros_like(impulse)
    expected[..., 24, 24] = 1.0
    torch.testing.assert_close(impulse[..., 12:-12, 12:-12], expected[..., 12:-12, 12:-12], rtol=0, atol=1e-4)


@pytest.mark.parametrize("d", CASES)
def test_back_projection_converges(photo: Tensor, d: Degradation) -> None:
    """Every step leaves less of the residual, at x4 too, and ten leave less than a third."""
    lr, hr = case_of(photo, d)
    assert torch.equal(back_project(hr, lr, d, 0), hr)
    residuals = [float((lr - linear(back_project(hr, lr, d, steps), d)).norm()) for steps in range(11)]
    assert all(after < before for before, after in itertools.pairwise(residuals))
    assert residuals[-1] < residuals[0] / 3
    torch.testing.assert_close(back_project(back_project(hr, lr, d, 2), lr, d, 3), back_project(hr, lr, d, 5))


def test_one_back_projection_is_enough_without_blur(photo: Tensor) -> None:
    """Bicubic on the right phase interpolates: A U = 1."""
    d = Degradation(kernels.delta().double(), 3)
    lr, _ = case_of(photo, d)
    hr = back_project(draw(1, 3, 3 * lr.shape[2], 3 * lr.shape[3]), lr, d, 1)
    torch.testing.assert_close(linear(hr, d), lr, rtol=0, atol=1e-12)


def test_back_projection_needs_the_phase() -> None:
    """The residual goes r ← (1 - A U) r: at x4 every frequency shrinks, but not with the reference code's grid."""
    d = Degradation(kernels.gaussian((2.0, 2.0)).double(), 4)
    centred = Degradation(kernels.gaussian((2.0, 2.0), size=17, offset=(1.5, 1.5)).double(), 4)
    impulse = torch.zeros(1, 1, 25, 25, dtype=torch.float64)
    impulse[..., 12, 12] = 1.0
    right, shifted = (
        float(torch.fft.fft2(impulse - linear(upsample(impulse, grid), d)).abs().max()) for grid in (d, centred)
    )
    assert right < 0.8
    assert shifted > 1.01

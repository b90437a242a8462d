"""Tests of ZSSR: what it learns, its learning-rate policy on paper, its fathers, its seed, and what it refuses."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.data_step import back_project
from mzsr.imaging.degrade import Degradation, degrade, linear, phase, upsample
from mzsr.inference import zssr as module
from mzsr.inference.adapt import SMALLEST_SON
from mzsr.inference.ensemble import SYMMETRIES, Symmetry
from mzsr.inference.zssr import enlarge, fathers, forward, intermediate, random_crop, stalled, zssr
from mzsr.learning.losses import l1
from mzsr.learning.networks import Paper

BLUR = Degradation(kernels.gaussian((1.5, 1.5), size=11), 2)


def rings(side: int) -> Tensor:
    """Return (1, 3, side, side): rings and spokes that widen outwards, alike at many scales."""
    axis = (torch.arange(side) - side / 3 + 0.25) / side
    radius, angle = torch.hypot(axis[:, None], axis[None, :]), torch.atan2(axis[:, None], axis[None, :])
    wave = torch.sin(3 * math.pi * torch.log2(radius + 0.1)) * torch.sin(4 * angle)
    colours = torch.tensor([1.0, 0.8, -0.6]).view(1, 3, 1, 1)
    return 0.5 + 0.4 * torch.tanh(8 * wave) * colours


def psnr(picture: Tensor, truth: Tensor) -> float:
    return -10 * math.log10(float((picture - truth)[..., 4:-4, 4:-4].square().mean()))


def network(seed: int = 0) -> Paper:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Paper(layers=3, channels=8)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the network small and look at every iteration, where what it learns is not the question."""
    monkeypatch.setattr(module, "_network", network)
    monkeypatch.setattr(module, "CHECK", 1)
    monkeypatch.setattr(module, "WINDOW", 3)


def test_learns_the_picture_that_is_like_itself() -> None:
    """Better than bicubic, and than what back-projection alone makes of it; the reconstruction error falls."""
    hr = rings(96)
    lr = degrade(hr, BLUR)
    shares: list[float] = []
    result = zssr(lr, BLUR, iterations=60, crop=32, progress=shares.append)
    bicubic = upsample(lr, BLUR)
    assert psnr(result.picture, hr) > psnr(back_project(bicubic, lr, BLUR, 10), hr) + 1
    assert psnr(result.picture, hr) > psnr(bicubic, hr) + 4
    assert result.losses[1] < result.losses[0]
    start = l1(upsample(degrade(lr, BLUR), BLUR), lr)  # what a residual of zero would leave
    assert result.losses[-1] < 0.5 * float(start)
    assert (result.iterations, result.rates, shares) == (60, pytest.approx([1e-3, 1e-4]), [0.5, 1.0])
    assert psnr(linear(result.picture, BLUR), lr) > 40  # it explains what was given
    assert not result.picture.requires_grad


@pytest.mark.parametrize(("share", "expected"), [(1.01, False), (0.99, True)])
@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_stalls_where_the_slope_is_within_its_own_deviation(share: float, expected: bool, unit: float) -> None:
    """On paper: e = -b t + a (1, -1, -1, 1) has slope -b, Σ residual² = 4 a², Σ t² = 5; std of the slope a √(2/5)."""
    b = share * math.sqrt(2 / 5) / 1.5
    errors = [unit * (9 - b * t + r) for t, r in zip((-1.5, -0.5, 0.5, 1.5), (1, -1, -1, 1), strict=True)]
    assert stalled(errors) is expected


def test_stalls_or_not_as_one_sees() -> None:
    noise = torch.randn(8, generator=torch.Generator().manual_seed(0)).tolist()
    falling = [1.0 - 0.05 * t for t in range(8)]
    assert not stalled(falling)
    assert not stalled([e + 0.01 * n for e, n in zip(falling, noise, strict=True)])
    assert stalled([1.0 + 0.01 * n for n in (1, -1, -1, 1, 1, -1, -1, 1)])
    assert stalled([0.5] * 8)  # nothing moves
    assert stalled([2.0 - e for e in falling])  # it gets worse


@pytest.mark.usefixtures("small")
def test_ends_below_the_last_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Always stalled: three rates, each for as long as a window takes to fill."""
    monkeypatch.setattr(module, "stalled", lambda errors: True)
    result = zssr(rings(24), BLUR, iterations=50)
    assert result.rates == pytest.approx([1e-3, 1e-4, 1e-5])
    assert result.iterations == len(result.losses) == 3 * 3
    monkeypatch.setattr(module, "stalled", lambda errors: False)
    assert zssr(rings(24), BLUR, iterations=11).iterations == 11


@pytest.mark.usefixtures("small")
def test_a_rate_that_was_never_divided_is_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(module, "stalled", lambda errors: bool(asked.append(len(errors))))
    assert zssr(rings(24), BLUR, iterations=10).rates == pytest.approx([1e-3, 1e-4])
    assert asked == [3] * 5  # after iterations 3 to 7, and not before the window has filled anew


@pytest.mark.usefixtures("small")
def test_the_seed_decides_and_nothing_else() -> None:
    state = torch.get_rng_state()
    first, again, other = (zssr(rings(32), BLUR, iterations=4, crop=16, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.picture, again.picture)
    assert first.losses == again.losses
    assert not torch.equal(first.picture, other.picture)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_come_from_the_seed_alone() -> None:
    weights = [next(module._network(seed).parameters()) for seed in (3, 3, 4)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.usefixtures("small")
def test_noise_is_on_the_sons_and_stops_back_projection() -> None:
    lr = degrade(rings(64), BLUR)
    clean, noisy, known = (
        zssr(lr, Degradation(BLUR.kernel, 2, noise=of), iterations=4, noise=noise)
        for of, noise in ((0.0, 0.0), (0.0, 0.05), (0.05, 0.0))
    )
    assert torch.equal(noisy.picture, known.picture)
    assert psnr(linear(clean.picture, BLUR), lr) > psnr(linear(noisy.picture, BLUR), lr) + 10


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_turned_picture_is_enlarged_to_the_turned_result(symmetry: Symmetry) -> None:
    """The whole of the last step commutes with turning, whatever the weights, the kernel turning too."""
    d = Degradation(kernels.gaussian((2.0, 0.7), 0.4, size=11), 2)
    lr, net = rings(40)[:, :, :, :24], network()
    turned = enlarge(net, symmetry.turn(lr), symmetry.degradation(d))
    torch.testing.assert_close(turned, symmetry.turn(enlarge(net, lr, d)), rtol=0, atol=1e-4)


def test_a_residual_of_zero_is_bicubic_on_the_right_phase() -> None:
    net = network()
    with torch.no_grad():
        for parameter in net.body[-1].parameters():
            parameter.zero_()
    lr = rings(24)
    assert torch.equal(forward(net, lr, BLUR), upsample(lr, BLUR))


def test_fathers_are_the_picture_at_several_sizes() -> None:
    lr, twice = torch.full((1, 3, 40, 50), 0.25), torch.full((1, 3, 80, 100), 0.75)
    found = fathers([lr, twice], lr, 2)
    assert found[0][0] is lr
    assert [tuple(father.shape[2:]) for father, _ in found[:3]] == [(40, 50), (36, 45), (32, 40)]
    assert [weight for _, weight in found[:6]] == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5])
    assert [weight for _, weight in found[6:]] == pytest.approx([1 / 2, 1 / 1.8, 1 / 1.6, 1 / 1.4, 1 / 1.2, 1])
    assert all(father.allclose(torch.tensor(0.25 if n < 6 else 0.75)) for n, (father, _) in enumerate(found))
    assert [tuple(father.shape[2:]) for father, _ in fathers([lr], lr, 4)] == [(40, 50), (36, 45), (32, 40)]


@pytest.mark.parametrize(("side", "shape"), [(10, (9, 9)), (99, (12, 21))])
def test_crops_are_parts_of_the_father_in_all_positions(side: int, shape: tuple[int, int]) -> None:
    """Every pixel has a number, so that a part tells where it was, and the step between neighbours how it lies."""
    father = torch.arange(14.0 * 23).view(1, 1, 14, 23).expand(1, 3, -1, -1)
    generator = torch.Generator().manual_seed(0)
    seen, corners = set(), set()
    for _ in range(150):
        part = random_crop(father, side, 3, generator)[0, 0]
        right, down = float(part[0, 1] - part[0, 0]), float(part[1, 0] - part[0, 0])
        assert {abs(right), abs(down)} == {1.0, 23.0}
        assert (part.shape if abs(right) == 1 else part.mT.shape) == shape
        torch.testing.assert_close(part, part[0, 0] + right * torch.arange(part.shape[1]) + down * torch.arange(part.shape[0])[:, None])  # fmt: skip # noqa: E501
        seen.add((right, down))
        corners.add(int(part.min()))
    assert len(seen) == 8
    rows, columns = (14 - shape[0] + 1, 23 - shape[1] + 1)
    assert corners <= {23 * row + column for row, column in itertools.product(range(rows), range(columns))}
    assert len(corners) > 0.7 * rows * columns


@pytest.mark.parametrize("subsample", ["direct", "bicubic"])
def test_an_intermediate_scale_explains_the_same_picture(subsample: str) -> None:
    """A slow wave at twice the size, seen through half the kernel, is the wave at four times through the whole."""
    d = Degradation(kernels.gaussian((4.0, 2.0), 0.4, size=21), 4, subsample)  # pyright: ignore[reportArgumentType]
    half = intermediate(d, 2)
    found, expected = kernels.covariance(half.kernel), kernels.covariance(d.kernel) / 4
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)

    def wave(side: int, step: float, first: float) -> Tensor:
        x = (torch.arange(side) * step + first) / 20
        return (0.5 + 0.3 * torch.sin(x[:, None] + 2 * x[None, :])).expand(1, 3, -1, -1)

    # Where pixel 0 of each picture lies on the finest grid: all on pixel 0 of the lowest one, or centred
    low = phase(d)[0]
    full, middle = wave(96, 1, 0), wave(48, 2, low - 2 * phase(half)[0])
    difference = (linear(full, d) - linear(middle, half)).abs()[..., 4:-4, 4:-4]
    assert float(difference.max()) < 2e-3
    assert torch.equal(intermediate(d, 4).kernel, d.kernel)


@pytest.mark.usefixtures("small")
def test_gradual_scales_end_at_the_last() -> None:
    d, lr, shares = Degradation(kernels.gaussian((3.0, 3.0)), 4), rings(36), []
    result = zssr(lr, d, iterations=3, gradual=[2], progress=shares.append)
    assert result.picture.shape == (1, 3, 144, 144)
    assert (result.iterations, len(result.losses), result.rates) == (6, 6, pytest.approx([1e-3, 1e-4] * 2))
    assert shares == pytest.approx([n / 6 for n in range(1, 7)])
    assert not torch.equal(result.picture, zssr(lr, d, iterations=3).picture)


def test_refuses_what_has_no_son() -> None:
    side = 2 * SMALLEST_SON
    with pytest.raises(InputError, match=rf"40x{side - 1} and crop 128; at x2 at least {side} pixels"):
        zssr(torch.zeros(1, 3, side - 1, 40), BLUR)
    with pytest.raises(InputError, match=rf"40x40 and crop {side - 1};"):
        zssr(torch.zeros(1, 3, 40, 40), BLUR, crop=side - 1)


@pytest.mark.parametrize("gradual", [[1], [4], [3, 2], [2, 2], [5]])
def test_refuses_scales_that_do_not_grow(gradual: list[int]) -> None:
    with pytest.raises(InputError, match="they must grow, from 2 to less than 4"):
        zssr(rings(40), Degradation(BLUR.kernel, 4), gradual=gradual)

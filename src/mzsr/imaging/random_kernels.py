"""Kernels drawn at random for training: Gaussians, and the blurs that Gaussians are not.

Every kernel of a call has its centroid at `offset`, relative to the middle tap, and so one grid; where a variance asks
for more than the square of size x size taps holds, the square wins and the centroid stays.

A disk, a rectangle and a motion are clouds of points of light. Each point is shared among its four nearest taps
linearly, which keeps the centroid to the last digit and adds at most a quarter, in the mean 1/6 pixels², to the
variance along each axis. `variance` is always that of the blur itself, before it meets the taps.

Knows nothing of images. Goes to `patches`, `estimation` and `mzsr bench`.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.imaging.kernels import SIZE, covariances, moments, principal
from mzsr.shapes import Kernels

Two = tuple[int | float, int | float]
NOISE = 0.4  # largest relative error of a tap of `_perturbed`: that of KernelGAN's test kernels
NARROWEST = 0.02  # pixels²: sampled on the taps, a narrower Gaussian is a single one
LATTICE = 32  # points per axis of a disk or a rectangle: one every 0.4 pixels in a disk of variance 10
PATH = 48  # points of a motion: one every quarter of a pixel at variance 10


def random_kernels(
    family: str,
    count: int,
    *,
    variance: Two,
    size: int = SIZE,
    offset: Two = (0.0, 0.0),
    generator: torch.Generator,
) -> Float[Tensor, "{count} {size} {size}"]:
    """Draw kernels of a family.

    Args:
        family: one of RANDOM.
        count: how many.
        variance: the smallest and the largest, pixels².
        size: taps per axis, odd.
        offset: (row, column) of their centroids relative to the middle tap, pixels.
        generator: source of randomness.
    """
    return RANDOM[family](count, variance, size, offset, generator)


def _gaussians(count: int, variance: Two, size: int, offset: Two, generator: torch.Generator) -> Kernels:
    """Draw anisotropic Gaussians, both variances log-uniform and the angle uniform.

    The paper draws l1 ~ U(1, 2.5 s) and l2 ~ U(1, l1): no variance below 1, which is where it loses to ZSSR. The
    log-uniform law reaches the sharp pictures too.
    """
    drawn = _uniform(count, 3, generator)
    covariance = covariances(_log_uniform(drawn[:, :2], variance), math.pi * drawn[:, 2])
    return _gaussian_at(covariance, _tensor(offset, drawn), size).float()


def _uniform_gaussians(count: int, variance: Two, size: int, offset: Two, generator: torch.Generator) -> Kernels:
    """Draw anisotropic Gaussians by the paper's law: l1 ~ U(low, high), l2 ~ U(low, l1), theta ~ U(0, π).

    The paper has variance (1, 2.5 s).

    Source: MZSR, section 4.1 (kernel distribution).
    """
    low, high = variance
    drawn = _uniform(count, 3, generator)
    l1 = low + (high - low) * drawn[:, 0]
    l2 = low + (l1 - low) * drawn[:, 1]
    covariance = covariances(torch.stack([l1, l2], 1), math.pi * drawn[:, 2])
    return _gaussian_at(covariance, _tensor(offset, drawn), size).float()


def _perturbed(count: int, variance: Two, size: int, offset: Two, generator: torch.Generator) -> Kernels:
    """Draw anisotropic Gaussians and multiply every tap by noise ~ U(0.6, 1.4).

    The noise moves the centroid; the Gaussian below it is moved the other way.

    Source: KernelGAN (NeurIPS 2019), the law of the DIV2KRK kernels; the log-uniform variances are ours.
    """
    drawn = _uniform(count, 3, generator)
    covariance = covariances(_log_uniform(drawn[:, :2], variance), math.pi * drawn[:, 2])
    noise = 1 + NOISE * (2 * _uniform(count, size * size, generator).view(count, size, size) - 1)
    return _gaussian_at(covariance, _tensor(offset, drawn), size, noise).float()


def _disks(count: int, variance: Two, size: int, offset: Two, generator: torch.Generator) -> Kernels:
    """Draw disks, the blur of a lens out of focus; radius r has variance r²/4 along each axis, log-uniform."""
    radius = 2 * _log_uniform(_uniform(count, 1, generator), variance).sqrt()  # (count, 1)
    points = _lattice(radius)
    distance = points.norm(dim=2) / radius
    # A point on the rim stands for a small square of which the disk covers a part
    return _splat(points, ((1 - distance) * LATTICE / 2 + 0.5).clamp(0, 1), size, _tensor(offset, radius))


def _boxes(count: int, variance: Two, size: int, offset: Two, generator: torch.Generator) -> Kernels:
    """Draw rectangles, half of them turned; side a has variance a²/12, log-uniform for each of the two."""
    drawn = _uniform(count, 4, generator)
    points = _lattice((3 * _log_uniform(drawn[:, :2], variance)).sqrt())  # half a side is √(3 variance)
    theta = torch.where(drawn[:, 2] < 0.5, 0.0, math.pi * drawn[:, 3])
    turn = torch.stack([theta.cos(), -theta.sin(), theta.sin(), theta.cos()], 1).view(count, 2, 2)
    return _splat(points @ turn, torch.ones_like(points[:, :, 0]), size, _tensor(offset, drawn))


def _motions(count: int, variance: Two, size: int, offset: Two, generator: torch.Generator) -> Kernels:
    """Draw paths of a shaken camera, from straight to a hook, each blurred by a small Gaussian.

    Heading and speed change smoothly. The largest second moment is log-uniform; a quarter of it, and no more than
    1/4 pixels², is the Gaussian's. A path too long for the window is shrunk until it fits.
    """
    drawn = _uniform(count, 4, generator)
    time = (torch.arange(PATH, dtype=drawn.dtype, device=drawn.device) + 0.5) / PATH
    bends = torch.randn((count, 2), generator=generator, dtype=drawn.dtype, device=drawn.device)
    # Radians over the whole exposure; the square leaves a third of the paths all but straight
    bend = 3 * drawn[:, 1:2] ** 2 * (bends[:, :1] * time + bends[:, 1:] * torch.sin(2 * math.pi * time) / 2)
    heading = 2 * math.pi * drawn[:, :1] + bend
    speed = torch.exp(0.5 * torch.sin(2 * math.pi * (time + drawn[:, 2:3])))
    path = (speed[:, :, None] * torch.stack([heading.sin(), heading.cos()], 2)).cumsum(1)  # (count, PATH, 2)
    path = path - path.mean(1, keepdim=True)
    largest = principal(path.mT @ path / PATH)[0][:, 0]
    total = _log_uniform(drawn[:, 3], variance)
    lens = (total / 4).clamp(max=0.25)
    path = path * ((total - lens) / largest).sqrt()[:, None, None]
    # The Gaussian as 3 x 3 points, Gauss-Hermite quadrature: exact up to its fifth moments
    node = torch.tensor([-math.sqrt(3), 0.0, math.sqrt(3)], dtype=drawn.dtype, device=drawn.device)
    share = torch.tensor([1.0, 4.0, 1.0], dtype=drawn.dtype, device=drawn.device)
    points = (path[:, :, None] + lens.sqrt()[:, None, None, None] * torch.cartesian_prod(node, node)).flatten(1, 2)
    shift = _tensor(offset, drawn)
    # All but the last digits of the window: a point that rounding put outside would be lost
    fit = (0.9999 * (size // 2 - shift.abs()) / points.abs().amax(1)).amin(1).clamp(max=1)
    return _splat(points * fit[:, None, None], torch.outer(share, share).repeat(count, PATH, 1).flatten(1), size, shift)


RANDOM: dict[str, Callable[..., Kernels]] = {
    "gaussian": _gaussians,
    "uniform": _uniform_gaussians,
    "disk": _disks,
    "box": _boxes,
    "motion": _motions,
    "perturbed": _perturbed,
}
"""The families that a law of kernels may name."""


def misjudged(kernels: Kernels, *, error: int | float, generator: torch.Generator) -> Kernels:
    """Return the Gaussians that an estimator would take some kernels for.

        Σ̂ = V R diag(l1 exp(error n1), l2 exp(error n2)) Rᵀ Vᵀ,   R a turn by error n3 / 2 radians,   n ~ N(0, 1)

    V diag(l1, l2) Vᵀ is the Gaussian whose taps have the second moments of the kernel; error 0 returns it. The centroid
    stays: estimators are told the grid. The Gaussian of the right moments costs a restoration tenths of a decibel, that
    of wrong ones decibels: training must have met what estimators get wrong.

    Args:
        kernels: each summing to 1.
        error: standard deviation of a log-variance, 0 or more.
        generator: source of randomness.
    """
    size = kernels.shape[-1]
    centroid, wanted = moments(kernels.double())
    covariance = _not_too_narrow(wanted)
    for _ in range(8):  # sampled, a Gaussian has not quite its own moments: at 0.2 pixels², 0.14
        found = moments(_weighted(covariance, centroid, size))[1]
        covariance = _not_too_narrow(covariance + wanted - found)
    variances, theta = principal(covariance)
    wrong = torch.randn((*theta.shape, 3), generator=generator, dtype=torch.float64, device=generator.device)
    wrong = error * wrong.to(kernels.device)
    covariance = covariances(variances * wrong[..., :2].exp(), theta + wrong[..., 2] / 2)
    return _gaussian_at(_not_too_narrow(covariance), centroid, size).to(kernels.dtype)


def _gaussian_at(
    covariance: Float[Tensor, "*batch 2 2"],
    centroid: Float[Tensor, "*#batch 2"],
    size: int,
    weights: Float[Tensor, "*#batch n n"] | None = None,
) -> Kernels:
    """Sample Gaussians, multiply them by weights, and see to it that the centroid is where it should be.

    The middle m of a Gaussian is found by Newton's method: ∂ centroid / ∂ m = C Σ⁻¹, C the second moments of the taps.
    """
    middle = centroid.expand(covariance.shape[:-1])
    ridge = 1e-3 * torch.eye(2, dtype=covariance.dtype, device=covariance.device)  # all in one tap: C is 0
    reach = 0.25 + covariance.diagonal(dim1=-2, dim2=-1)
    taps = _weighted(covariance, middle, size, weights)
    for iteration in range(5):
        found, second = moments(taps)
        missing = centroid - found
        if float(missing.abs().max()) < 1e-4:
            break
        step = covariance @ torch.linalg.solve(second + ridge, missing[..., None])
        # Between two taps a narrow Gaussian switches from one to the other; shorter and shorter steps find the place
        bound = reach / 2**iteration
        middle = middle + step[..., 0].clamp(-bound, bound)
        taps = _weighted(covariance, middle, size, weights)
    return taps


def _weighted(
    covariance: Float[Tensor, "*batch 2 2"],
    middle: Float[Tensor, "*batch 2"],
    size: int,
    weights: Float[Tensor, "*#batch n n"] | None = None,
) -> Kernels:
    """Sample Gaussians, k(p) ∝ w(p) exp(-(p - m)ᵀ Σ⁻¹ (p - m) / 2)."""
    axis = _axis(size, middle)
    row, column = (axis - middle[..., :1])[..., :, None], (axis - middle[..., 1:])[..., None, :]
    (a, b), (_, d) = covariance.movedim((-2, -1), (0, 1))[..., None, None]
    exponent = (d * row**2 - 2 * b * row * column + a * column**2) / (a * d - b**2)
    taps = torch.exp(-0.5 * (exponent - exponent.amin((-2, -1), keepdim=True)))
    return _normalised(taps if weights is None else taps * weights)


def _splat(
    points: Float[Tensor, "count points 2"],
    weights: Float[Tensor, "count points"],
    size: int,
    middle: Float[Tensor, "2"],
) -> Kernels:
    """Share each point, (row, column) from the middle of its cloud, among its four nearest taps.

    What lies beyond the window goes, and so does its mirror image in the middle of the cloud.
    """
    points, weights, middle = points.float(), weights.float(), middle.float()
    inside = (points.abs() <= size // 2 - middle.abs()).all(2)
    hats = (1 - (points[..., None] + middle[:, None] - _axis(size, points)).abs()).clamp(min=0)
    rows, columns = hats.unbind(2)  # (count, points, size)
    return _normalised((rows * (weights * inside)[..., None]).mT @ columns)


def _lattice(half: Float[Tensor, "count _sides"]) -> Float[Tensor, "count points 2"]:
    """Return points that fill rectangles of half sides `half`, or squares where there is one."""
    steps = (torch.arange(LATTICE, dtype=half.dtype, device=half.device) + 0.5) * 2 / LATTICE - 1
    return torch.cartesian_prod(steps, steps) * half[:, None]


def _not_too_narrow(covariance: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch 2 2"]:
    variances, theta = principal(covariance)
    return covariances(variances.clamp(min=NARROWEST), theta)


def _normalised(taps: Kernels) -> Kernels:
    taps = taps / taps.sum((-2, -1), keepdim=True)
    taps = torch.where(taps < 1e-9, 0.0, taps)  # as in `kernels.gaussians`
    return taps / taps.sum((-2, -1), keepdim=True)


def _log_uniform(drawn: Float[Tensor, "*shape"], bounds: Two) -> Float[Tensor, "*shape"]:
    low, high = math.log(bounds[0]), math.log(bounds[1])
    return torch.exp(low + (high - low) * drawn)


def _uniform(count: int, numbers: int, generator: torch.Generator) -> Float[Tensor, "{count} {numbers}"]:
    return torch.rand((count, numbers), generator=generator, dtype=torch.float64, device=generator.device)


def _axis(size: int, like: Tensor) -> Float[Tensor, " size"]:
    return torch.arange(size, dtype=like.dtype, device=like.device) - size // 2


def _tensor(offset: Two, like: Tensor) -> Float[Tensor, "2"]:
    return torch.tensor(offset, dtype=like.dtype, device=like.device)

"""Blur kernels: Gaussians, their moments, and how they are centred and checked.

A kernel is an odd, square tensor that sums to one, indexed (row, column), and applied as *correlation* around its
middle tap. Its grid convention is its centroid: at the middle tap the kernel belongs to the paper's grid, where
low-resolution pixel i sits on high-resolution pixel s i; at (s - 1) / 2 from it, to the centre-aligned grid.

Knows nothing of images. Goes to `degrade.Degradation`.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.errors import InputError
from mzsr.shapes import Kernel, Kernels

SIZE = 15  # taps per axis of the kernels of the MZSR paper


def gaussians(
    variances: Float[Tensor, "*batch 2"],
    theta: Float[Tensor, "*batch"],
    *,
    size: int = SIZE,
    offset: tuple[int | float, int | float] = (0.0, 0.0),
) -> Kernels:
    """Sample anisotropic Gaussians, k(p) ∝ exp(-pᵀ Σ⁻¹ p / 2), Σ = V diag(l1, l2) Vᵀ.

    V turns the column axis by theta towards the row axis: (cos, -sin; sin, cos) on (column, row) coordinates.

    Args:
        variances: (l1, l2), eigenvalues of the covariance in pixels², not standard deviations.
        theta: radians.
        size: taps per axis, odd.
        offset: (row, column) of the centre of the Gaussian relative to the middle tap, pixels.

    Returns:
        (*batch, size, size), each summing to 1.

    Source: MZSR, section 4.1 (kernel distribution).

    >>> k = gaussians(torch.tensor([[1.0, 1.0]]), torch.zeros(1), size=3)
    >>> round(float(k[0, 1, 1] / k[0, 0, 1]), 4) == round(math.exp(0.5), 4)
    True
    """
    axis = torch.arange(size, dtype=variances.dtype, device=variances.device) - size // 2
    row = (axis - offset[0])[:, None]
    column = (axis - offset[1])[None, :]
    cos, sin = torch.cos(theta)[..., None, None], torch.sin(theta)[..., None, None]
    along, across = cos * column + sin * row, -sin * column + cos * row
    exponent = along**2 / variances[..., 0, None, None] + across**2 / variances[..., 1, None, None]
    # Subtracting the smallest exponent keeps a very narrow, shifted kernel from vanishing altogether
    taps = torch.exp(-0.5 * (exponent - exponent.amin((-2, -1), keepdim=True)))
    # In float32 the tails of a narrow Gaussian are denormal numbers, which slow a convolution down fivefold
    taps = torch.where(taps < 1e-9, 0.0, taps)
    return taps / taps.sum((-2, -1), keepdim=True)


def gaussian(
    variances: tuple[int | float, int | float],
    theta: int | float = 0.0,
    *,
    size: int = SIZE,
    offset: tuple[int | float, int | float] = (0.0, 0.0),
) -> Kernel:
    """Sample one anisotropic Gaussian; see `gaussians`.

    Raises:
        InputError: not two variances above 0, an angle or an offset that is not finite, or an even size.

    >>> float(gaussian((2.0, 2.0)).sum().round(decimals=6))
    1.0
    """
    if not isinstance(variances, tuple | list) or len(variances) != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"kernel variances are {variances!r}; two are required, (l1, l2) in pixels²")
    if not all(0 < variance < math.inf for variance in variances):
        raise InputError(f"kernel variances are {variances[0]:g} and {variances[1]:g} pixels²; both must be above 0")
    if not all(map(math.isfinite, offset)):
        raise InputError(f"kernel offset is {offset}; two finite numbers of pixels are required")
    if not math.isfinite(theta):
        raise InputError(f"kernel angle is {theta:g}; it must be a finite number of radians")
    _check_size(size)
    exact = torch.tensor(variances, dtype=torch.float64), torch.tensor(theta, dtype=torch.float64)
    return gaussians(*exact, size=size, offset=offset).float()


def delta(size: int = 1) -> Kernel:
    """Return the kernel that does nothing.

    Raises:
        InputError: an even size.

    >>> delta(3).tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    _check_size(size)
    taps = torch.zeros(size, size)
    taps[size // 2, size // 2] = 1.0
    return taps


def _check_size(size: int) -> None:
    if size < 1 or size % 2 == 0:
        raise InputError(f"kernel size is {size}; it must be odd and at least 1")


def moments(kernels: Kernels) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch 2 2"]]:
    """Return centroids, relative to the middle tap, and second central moments, pixels and pixels², on (row, column).

    Args:
        kernels: each summing to 1.
    """
    axis = torch.arange(kernels.shape[-1], dtype=kernels.dtype, device=kernels.device) - kernels.shape[-1] // 2
    marginals = torch.stack([kernels.sum(-1), kernels.sum(-2)], -2)  # (*batch, 2, n)
    middle = marginals @ axis
    row, column = (axis - middle[..., None]).unbind(-2)
    rows, columns = (marginals * torch.stack([row, column], -2) ** 2).sum(-1).unbind(-1)
    mixed = (row[..., None, :] @ kernels @ column[..., None])[..., 0, 0]
    return middle, torch.stack([rows, mixed, mixed, columns], -1).unflatten(-1, (2, 2))


def centroid(kernel: Kernel) -> tuple[float, float]:
    """Return the centre of mass, (row, column) relative to the middle tap, pixels.

    >>> centroid(delta(5))
    (0.0, 0.0)
    """
    taps = kernel.detach().double().cpu()
    row, column = moments(taps / taps.sum())[0].tolist()
    return row, column


def covariance(kernel: Kernel) -> Float[Tensor, "2 2"]:
    """Return the second central moments in pixels², on (row, column)."""
    taps = kernel.detach().double().cpu()
    return moments(taps / taps.sum())[1]


def covariances(variances: Float[Tensor, "*batch 2"], theta: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2"]:
    """Return V diag(l1, l2) Vᵀ on (row, column), with the variances and the angle of `gaussians`."""
    cos, sin = theta.cos(), theta.sin()
    axes = torch.stack([sin, cos, cos, -sin], -1).unflatten(-1, (2, 2))  # columns: along l1, along l2
    return axes * variances[..., None, :] @ axes.mT


def principal(covariance: Float[Tensor, "*batch 2 2"]) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"]]:
    """Return the eigenvalues (l1, l2) of covariances, l1 the larger, and theta: the inverse of `covariances`."""
    rows, mixed, columns = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    mean, half = (rows + columns) / 2, torch.hypot((columns - rows) / 2, mixed)
    return torch.stack([mean + half, mean - half], -1), torch.atan2(2 * mixed, columns - rows) / 2


def centre(kernel: Float[Tensor, "rows columns"], to: tuple[int | float, int | float] = (0.0, 0.0)) -> Kernel:
    """Pad a kernel of any shape to an odd square and move its centroid to `to`, by cubic-spline interpolation.

    Args:
        kernel: any shape, any centroid.
        to: (row, column) of the new centroid relative to the middle tap, pixels. ((s - 1) / 2, (s - 1) / 2) gives the
            centre-aligned grid, the convention of the DIV2KRK kernels.

    Returns:
        Odd and square, summing to 1, its centroid within a thousandth of a pixel of `to`, its covariance within a
        thousandth of a square pixel of what it was.

    Raises:
        InputError: a value that is not finite, a sum that is not above 0, or a centroid outside the kernel.

    >>> centre(torch.ones(2, 2), (0.5, 0.5))[2:4, 2:4].tolist()
    [[0.25, 0.25], [0.25, 0.25]]
    """
    taps = _normalised(torch.as_tensor(kernel), "kernel").detach().cpu().numpy()
    if not all(map(math.isfinite, to)):
        raise InputError(f"the new centroid is {to}; two finite numbers of pixels are required")
    places = np.indices(taps.shape).reshape(2, -1)
    middle = places @ taps.ravel()
    if (middle < 0).any() or (middle > np.array(taps.shape) - 1).any():
        raise InputError(
            f"kernel has its centroid at {middle.round(1)}, outside itself; its values must be mostly above 0"
        )
    spread = torch.from_numpy((places - middle[:, None]) * taps.ravel() @ (places - middle[:, None]).T)
    # A spline rings beyond a kernel that ends abruptly, by a quarter as much at each tap: cut off too early, it moves
    # the moments. One tap is enough for a kernel that fades out; a kernel of a single tap needs six.
    margin = 1
    moved = _moved(taps, middle, to, margin)
    while margin < 16 and not _has(moved, to, spread):
        margin += 1
        moved = _moved(taps, middle, to, margin)
    return moved.float()


def _has(kernel: Kernel, centroid: tuple[int | float, int | float], covariance: Float[Tensor, "2 2"]) -> bool:
    """Tell whether a kernel has these moments, to a thousandth."""
    found, spread = moments(kernel)
    return math.dist(found.tolist(), centroid) < 1e-3 and float((spread - covariance).abs().max()) < 1e-3


def _moved(taps: np.ndarray, middle: np.ndarray, to: tuple[int | float, int | float], margin: int) -> Kernel:
    """Move the centroid from `middle`, an index into taps, to `to`, on an odd square with a margin around the taps."""
    from scipy.ndimage import shift  # scipy is slow to import, and few commands need it

    reach = np.maximum(middle - np.array(to), np.array(taps.shape) - 1 - middle + np.array(to))
    radius = math.ceil(float(reach.max())) + margin
    move = np.array(to) + radius - middle
    row, column = np.rint(move).astype(int)  # whole pixels are a copy
    canvas = np.zeros((2 * radius + 1, 2 * radius + 1))
    canvas[row : row + taps.shape[0], column : column + taps.shape[1]] = taps
    moved = torch.from_numpy(shift(canvas, move - (row, column), order=3))
    return moved / moved.sum()


def check(kernel: Float[Tensor, "*shape"], name: str = "kernel") -> Kernel:
    """Return the kernel normalised to sum 1, or say what is wrong with it.

    Raises:
        InputError: not two-dimensional, not square, even-sized, not finite, or of a sum that is not above 0.

    >>> check(torch.full((3, 3), 2.0)).sum().round(decimals=6).item()
    1.0
    """
    kernel = torch.as_tensor(kernel)
    shape = "x".join(str(side) for side in kernel.shape)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise InputError(f"{name} is {shape}; it must be square and odd — pad it with mzsr.kernels.centre()")
    return _normalised(kernel, name).float()


def _normalised(kernel: Float[Tensor, "rows columns"], name: str) -> Float[Tensor, "rows columns"]:
    if kernel.ndim != 2:
        shape = "x".join(str(side) for side in kernel.shape)
        raise InputError(f"{name} is {shape}; rows and columns are required")
    if kernel.is_complex():
        raise InputError(f"{name} has values of {kernel.dtype}; real numbers are required")
    if not bool(torch.isfinite(kernel).all()):
        bad = int((~torch.isfinite(kernel)).sum())
        raise InputError(f"{name} has {bad} values that are NaN or infinite; every value must be finite")
    total = float(kernel.detach().double().sum())
    if not total > 1e-8:
        raise InputError(f"{name} sums to {total:g}; the sum must be above 0, so that brightness is kept")
    return kernel.double() / total

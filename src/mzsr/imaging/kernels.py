"""Blur kernels: analytic, random and from files.

A kernel is an odd, square tensor that sums to one, indexed (row, column), and applied as *correlation* around its
middle tap. Its grid convention is its centroid: at the middle tap the kernel belongs to the paper's grid, where
low-resolution pixel i sits on high-resolution pixel s i; at (s - 1) / 2 from it, to the centre-aligned grid.

Knows nothing of images. Goes to `degrade.Degradation`.
"""

import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.atomic import write_atomically
from mzsr.errors import InputError
from mzsr.shapes import Kernel, Kernels

SIZE = 15  # taps per axis of the kernels of the MZSR paper
MAX_VARIANCE = 400  # pixels²: a blur of 20 pixels, past which there is nothing left to restore; a kernel of 121 x 121


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
        InputError: a variance that is not above 0, an angle that is not finite, or an even size.

    >>> float(gaussian((2.0, 2.0)).sum().round(decimals=6))
    1.0
    """
    if not all(0 < variance < math.inf for variance in variances):
        raise InputError(f"kernel variances are {variances[0]:g} and {variances[1]:g} pixels²; both must be above 0")
    if not math.isfinite(theta):
        raise InputError(f"kernel angle is {theta:g}; it must be a finite number of radians")
    if size < 1 or size % 2 == 0:
        raise InputError(f"kernel size is {size}; it must be odd and at least 1")
    exact = torch.tensor(variances, dtype=torch.float64), torch.tensor(theta, dtype=torch.float64)
    return gaussians(*exact, size=size, offset=offset).float()


def random_gaussians(
    count: int,
    *,
    variance: tuple[int | float, int | float],
    size: int = SIZE,
    offset: tuple[int | float, int | float] = (0.0, 0.0),
    generator: torch.Generator,
) -> Float[Tensor, "{count} {size} {size}"]:
    """Draw anisotropic Gaussians, both variances log-uniform and the angle uniform.

    The paper draws l1 ~ U(1, 2.5 s) and l2 ~ U(1, l1): no variance below 1, which is where it loses to ZSSR. The
    log-uniform law reaches the sharp pictures too.

    Args:
        count: how many.
        variance: the smallest and the largest, pixels².
        size: taps per axis, odd.
        offset: (row, column) of their centres relative to the middle tap, pixels.
        generator: source of randomness.
    """
    low, high = math.log(variance[0]), math.log(variance[1])
    drawn = torch.rand((count, 3), generator=generator, dtype=torch.float64, device=generator.device)
    variances = torch.exp(low + (high - low) * drawn[:, :2])
    return gaussians(variances, math.pi * drawn[:, 2], size=size, offset=offset).float()


def delta(size: int = 1) -> Kernel:
    """Return the kernel that does nothing.

    >>> delta(3).tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    taps = torch.zeros(size, size)
    taps[size // 2, size // 2] = 1.0
    return taps


def centroid(kernel: Kernel) -> tuple[float, float]:
    """Return the centre of mass, (row, column) relative to the middle tap, pixels.

    >>> centroid(delta(5))
    (0.0, 0.0)
    """
    taps = kernel.detach().double().cpu()
    axis = torch.arange(taps.shape[0], dtype=torch.float64) - taps.shape[0] // 2
    total = taps.sum()
    return float((taps.sum(1) @ axis) / total), float((taps.sum(0) @ axis) / total)


def covariance(kernel: Kernel) -> Float[Tensor, "2 2"]:
    """Return the second central moments in pixels², on (row, column)."""
    taps = kernel.detach().double().cpu()
    taps = taps / taps.sum()
    axis = torch.arange(taps.shape[0], dtype=torch.float64) - taps.shape[0] // 2
    row, column = (axis - shift for shift in centroid(kernel))
    mixed = row @ taps @ column
    return torch.stack([taps.sum(1) @ row**2, mixed, mixed, taps.sum(0) @ column**2]).view(2, 2)


def centre(kernel: Float[Tensor, "rows columns"], to: tuple[int | float, int | float] = (0.0, 0.0)) -> Kernel:
    """Pad a kernel of any shape to an odd square and move its centroid to `to`, by cubic-spline interpolation.

    Args:
        kernel: any shape, any centroid.
        to: (row, column) of the new centroid relative to the middle tap, pixels. ((s - 1) / 2, (s - 1) / 2) gives the
            centre-aligned grid, the convention of the DIV2KRK kernels.

    Returns:
        Odd and square, summing to 1, its centroid within a thousandth of a pixel of `to`.

    Raises:
        InputError: a value that is not finite, a sum that is not above 0, or a centroid outside the kernel.

    >>> centre(torch.ones(2, 2), (0.5, 0.5))[2:4, 2:4].tolist()
    [[0.25, 0.25], [0.25, 0.25]]
    """
    taps = _normalised(kernel, "kernel").detach().cpu().numpy()
    middle = np.indices(taps.shape).reshape(2, -1) @ taps.ravel()
    if (middle < 0).any() or (middle > np.array(taps.shape) - 1).any():
        raise InputError(
            f"kernel has its centroid at {middle.round(1)}, outside itself; its values must be mostly above 0"
        )
    # A spline rings beyond a kernel that ends abruptly, by a quarter as much at each tap: cut off too early, it moves
    # the centroid. One tap is enough for a kernel that fades out; a kernel of a single tap needs six.
    margin = 1
    moved = _moved(taps, middle, to, margin)
    while math.dist(centroid(moved), to) > 1e-3 and margin < 16:
        margin += 1
        moved = _moved(taps, middle, to, margin)
    return moved.float()


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
    shape = "x".join(str(side) for side in kernel.shape)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise InputError(f"{name} is {shape}; it must be square and odd — pad it with mzsr.kernels.centre()")
    return _normalised(kernel, name).float()


def _normalised(kernel: Float[Tensor, "rows columns"], name: str) -> Float[Tensor, "rows columns"]:
    if not bool(torch.isfinite(kernel).all()):
        bad = int((~torch.isfinite(kernel)).sum())
        raise InputError(f"{name} has {bad} values that are NaN or infinite; every value must be finite")
    total = float(kernel.detach().double().sum())
    if not total > 1e-8:
        raise InputError(f"{name} sums to {total:g}; the sum must be above 0, so that brightness is kept")
    return kernel.double() / total


def load(path: str | Path) -> Kernel:
    """Read a kernel from a MATLAB file (.mat, one 2-D variable of any name) or from NumPy's .npy.

    Raises:
        InputError: the file is missing, unreadable, of another kind, or holds no or several 2-D variables.
    """
    path = Path(path)
    if not os.path.isfile(path):  # unlike path.is_file(), not with an OSError of its own for a name too long
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        raise InputError(f"kernel file {path} {what}; give a .mat or .npy file")
    if path.suffix.lower() not in (".mat", ".npy"):
        raise InputError(f"kernel file {path} ends in '{path.suffix}'; .mat and .npy files are read")
    try:
        array = _load_mat(path) if path.suffix.lower() == ".mat" else _load_npy(path)
    except InputError:
        raise
    except Exception as error:  # scipy and numpy raise nearly anything on a damaged file
        reason = " ".join(str(error).split())  # some of it on several lines
        raise InputError(f"kernel file {path} cannot be read ({reason}); it may be damaged") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"kernel file {path} holds {array.dtype}; real numbers are required")
    return check(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64)), f"kernel in {path}")


def _load_mat(path: Path) -> np.ndarray:
    from scipy.io import loadmat

    found = {name: value for name, value in loadmat(path).items() if isinstance(value, np.ndarray) and value.ndim == 2}
    # MATLAB writes numbers as 1x1; one of them is the kernel only where there is nothing larger
    planes = {name: value for name, value in found.items() if value.size > 1} or found
    if len(planes) != 1:
        names = ", ".join(sorted(planes)) or "none"
        raise InputError(f"kernel file {path} has {len(planes)} 2-D variables ({names}); exactly one is required")
    return next(iter(planes.values()))


def _load_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:  # np.load takes an archive or a pickle under this name too
        return np.lib.format.read_array(file, allow_pickle=False)


def save(path: str | Path, kernel: Kernel) -> None:
    """Write a kernel as .mat (variable `Kernel`) or .npy, by way of a temporary file.

    Raises:
        InputError: another suffix, or a folder that is missing or cannot be written to.
    """
    path = Path(path)
    if path.suffix.lower() not in (".mat", ".npy"):
        raise InputError(f"kernel output {path} ends in '{path.suffix}'; use .mat or .npy")
    if os.path.isdir(path):
        raise InputError(f"kernel output {path} is a folder; name a file")
    taps = kernel.detach().cpu().double().numpy()

    def write(part: Path) -> None:
        with part.open("wb") as file:
            if path.suffix.lower() == ".mat":
                from scipy.io import savemat

                savemat(file, {"Kernel": taps})
            else:
                np.save(file, taps, allow_pickle=False)

    write_atomically(path, write)


def parse(spec: str) -> Kernel:
    """Read a kernel as it is written on the command line.

    Args:
        spec: `bicubic` (no blur beside the resize itself), a family and its numbers (`gauss:VAR`,
            `gauss:VAR1,VAR2,THETA`; see FAMILIES), or a file.

    Raises:
        InputError: anything else.

    >>> torch.equal(parse("gauss:2.0"), gaussian((2.0, 2.0)))
    True
    """
    if spec == "bicubic":
        return delta()
    family, _, written = spec.partition(":")
    if family not in FAMILIES:
        return load(spec)
    draw = FAMILIES[family]
    try:
        numbers = [float(number) for number in written.split(",")]
        inspect.signature(draw).bind(*numbers)
    except (ValueError, TypeError):
        usage = ",".join(inspect.signature(draw).parameters).upper()
        raise InputError(f"kernel is '{spec}'; write {family}:{usage} with numbers, lengths in pixels") from None
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"kernel is '{spec}'; every number in it must be finite")
    return draw(*numbers)


def _gauss(variance: float, variance2: float | None = None, theta: float = 0.0) -> Kernel:
    second = variance if variance2 is None else variance2
    largest = max(variance, second, 0.0)
    if largest > MAX_VARIANCE:
        raise InputError(f"kernel variance is {largest:g} pixels²; it must be at most {MAX_VARIANCE}")
    # Six standard deviations hold all but 0.3 % of a Gaussian; below the paper's size nothing is saved
    size = max(SIZE, 2 * math.ceil(3 * math.sqrt(largest)) + 1)
    return gaussian((variance, second), theta, size=size)


FAMILIES: dict[str, Callable[..., Kernel]] = {"gauss": _gauss}
"""What may stand before the colon of `--kernel FAMILY:NUMBERS`; the numbers are the function's arguments."""

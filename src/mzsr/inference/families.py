"""Shapes of blur in the frequency domain: Gaussian, disk, rectangle, motion, each with a covariance of its own.

Every response is a function of q1 = 4 π² l1 (f · v1)² and q2, where l1 and l2 are the variances of the blur along its
axes v1 and v2; so all shapes have the same three numbers, and near DC the same response 1 - (q1 + q2) / 2.

Arithmetic only. `fits` fits them, `estimate` makes kernels of them.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import j0, j1

from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, effective_kernel
from mzsr.learning.estimator import FREQUENCIES, Grid, kernel_of, shrinking
from mzsr.shapes import Kernel

Family = Literal["gaussian", "bicubic", "disk", "box", "motion"]  # bicubic: a Gaussian and then a bicubic shrinking
Responses = tuple[np.ndarray, np.ndarray, np.ndarray]
"""K, and its derivatives by q1 and by q2."""


def gaussian(q1: np.ndarray, q2: np.ndarray) -> Responses:
    """Return K = exp(-(q1 + q2) / 2)."""
    value = np.exp(-(q1 + q2) / 2)
    return value, -value / 2, -value / 2


def disk(q1: np.ndarray, q2: np.ndarray) -> Responses:
    """Return that of an ellipse of even brightness, a lens out of focus: K = 2 J1(z) / z, z = 2 √(q1 + q2)."""
    z = 2 * np.sqrt(q1 + q2) + 1e-3
    value = 2 * j1(z) / z
    slope = 4 * (j0(z) - value) / z**2  # d (J1 / z) / dz = -J2 / z, J2 = 2 J1 / z - J0, dz / dq = 2 / z
    return value, slope, slope


def box(q1: np.ndarray, q2: np.ndarray) -> Responses:
    """Return that of a rectangle: K = sinc √(3 q1) sinc √(3 q2), sinc z = sin z / z."""
    (first, by_q1), (second, by_q2) = _line(q1), _line(q2)
    return first * second, by_q1 * second, first * by_q2


def motion(q1: np.ndarray, q2: np.ndarray) -> Responses:
    """Return that of a straight path along the first axis, blurred by a Gaussian along the second."""
    (first, by_q1), second = _line(q1), np.exp(-q2 / 2)
    return first * second, by_q1 * second, -first * second / 2


SHAPES: dict[Family, Callable[[np.ndarray, np.ndarray], Responses]] = {
    "gaussian": gaussian, "bicubic": gaussian, "disk": disk, "box": box, "motion": motion,
}  # fmt: skip

WORDS: dict[Family, str] = {
    "gaussian": "Gaussian blur",
    "bicubic": "Gaussian blur and bicubic shrinking",
    "disk": "a lens out of focus",
    "box": "a rectangular blur",
    "motion": "motion",
}


def response_of(family: Family, variances: tuple[float, float], theta: float, scale: int) -> Float[torch.Tensor, "f f"]:
    """Return the response of a blur around its own centre, on the frequencies of `estimator`.

    Args:
        family: its shape.
        variances: l1, l2, pixels² of the high-resolution grid.
        theta: angle of the first axis from the column axis towards the row axis, radians.
        scale: of the shrinking, where there is one.
    """
    row, column = np.meshgrid(*[np.fft.fftfreq(FREQUENCIES)] * 2, indexing="ij")
    along, across = (math.sin(theta), math.cos(theta)), (math.cos(theta), -math.sin(theta))
    q1, q2 = (
        4 * math.pi**2 * variance * (v[0] * row + v[1] * column) ** 2
        for variance, v in zip(variances, (along, across), strict=True)
    )
    found = torch.from_numpy(SHAPES[family](q1, q2)[0]).float()
    return found * shrinking(scale)[0] if family == "bicubic" else found


def kernel_from(family: Family, variances: tuple[float, float], theta: float, scale: int, grid: Grid) -> Kernel:
    """Return the kernel of a blur on a grid, shrinking included; variances and theta as for `response_of`."""
    if family not in ("gaussian", "bicubic"):
        return kernel_of(response_of(family, variances, theta, scale), scale, grid)
    # Sampled, as kernels are in training and in tests: a narrow one is not the same in the frequency domain
    (l1, l2), theta = in_order(variances, theta)
    # A bicubic shrinking brings the offset of the centre grid itself
    offset = (scale - 1) / 2 if grid == "centre" and family == "gaussian" else 0.0
    size = max(kernels.SIZE, 2 * math.ceil(3 * math.sqrt(l1) + offset) + 1)  # 3 standard deviations
    kernel = kernels.gaussian((l1, l2), theta, size=size, offset=(offset, offset))
    return effective_kernel(Degradation(kernel, scale, "bicubic" if family == "bicubic" else "direct"))


def in_order(variances: tuple[float, float], theta: float) -> tuple[tuple[float, float], float]:
    """Return the larger variance first, and the angle of its axis in [0, π)."""
    l1, l2 = variances
    return (variances, theta % math.pi) if l1 >= l2 else ((l2, l1), (theta + math.pi / 2) % math.pi)


def _line(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sin z / z, z = √(3 q), and its derivative."""
    z = np.sqrt(3 * q) + 1e-3
    value = np.sin(z) / z
    return value, 1.5 * (np.cos(z) - value) / z**2

"""Kernels as people write them: families with numbers, .mat and .npy files.

Knows nothing of images. What comes out has passed `kernels.check`.
"""

import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mzsr.atomic import write_atomically
from mzsr.errors import InputError, unknown
from mzsr.imaging.kernels import SIZE, check, delta, gaussian
from mzsr.imaging.mat import read_matrices
from mzsr.shapes import Kernel

SUFFIXES = ".mat", ".npy"

MAX_VARIANCE = 400  # pixels²: a blur of 20 pixels, past which there is nothing left to restore; a kernel of 121 x 121


def load(path: str | Path) -> Kernel:
    """Read a kernel from a MATLAB file (.mat up to -v7, one 2-D variable of any name) or from NumPy's .npy.

    Raises:
        InputError: the file is missing, unreadable, of another kind, or holds no or several 2-D variables.
    """
    path = Path(path)
    if not os.path.isfile(path):  # unlike path.is_file(), not with an OSError of its own for a name too long
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        raise InputError(f"kernel file {path} {what}; give a .mat or .npy file")
    if path.suffix.lower() not in SUFFIXES:
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
    return check(torch.from_numpy(np.array(array, dtype=np.float64, order="C")), f"kernel in {path}")


def _load_mat(path: Path) -> np.ndarray:
    try:
        found = read_matrices(path.read_bytes())
    except InputError as error:
        raise InputError(f"kernel file {path} cannot be read: {error}") from error
    # MATLAB writes numbers as 1x1; one of them is the kernel only where there is nothing larger
    planes = {name: value for name, value in found.items() if value.size > 1} or found
    if len(planes) != 1:
        names = ", ".join(sorted(planes)) or "none"
        raise InputError(f"kernel file {path} has {len(planes)} 2-D variables ({names}); exactly one is required")
    return next(iter(planes.values()))


def _load_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:  # np.load takes an archive or a pickle under this name too
        return np.lib.format.read_array(file, allow_pickle=False)


def check_suffix(path: Path) -> None:
    """Raise InputError for a kernel's file of another kind than those that `save` writes."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"kernel output {path} ends in '{path.suffix}'; use .mat or .npy")


def save(path: str | Path, kernel: Kernel) -> None:
    """Write a kernel as .mat (variable `Kernel`) or .npy, by way of a temporary file.

    Raises:
        InputError: another suffix, or a folder that is missing or cannot be written to.
    """
    path = Path(path)
    check_suffix(path)
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
        if Path(spec).suffix.lower() not in SUFFIXES and not os.path.exists(spec):
            name = spec if family == "bicubic" else family
            raise unknown("kernel", name, ["bicubic", *FAMILIES], ", or a .mat or .npy file")
        return load(spec)
    draw = FAMILIES[family]
    try:
        numbers = [float(number) for number in written.split(",")]
        inspect.signature(draw).bind(*numbers)
    except (ValueError, TypeError):
        usage = ",".join(inspect.signature(draw).parameters).upper()
        raise InputError(
            f"kernel is '{spec}'; write {family}:{usage} with numbers, lengths in pixels, angles in radians"
        ) from None
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"kernel is '{spec}'; every number in it must be finite")
    return draw(*numbers)


def _gauss(variance: float, variance2: float | None = None, theta: float = 0.0) -> Kernel:
    second = variance if variance2 is None else variance2
    largest = max(variance, second, 0.0)
    if largest > MAX_VARIANCE:
        raise InputError(f"kernel variance is {largest:g} pixels²; it must be at most {MAX_VARIANCE}")
    if abs(theta) > 2 * math.pi:
        raise InputError(
            f"kernel angle is {theta:g} radians, more than a turn; {theta:g} degrees are {math.radians(theta):.4g}"
        )
    # Six standard deviations hold all but 0.3 % of a Gaussian; below the paper's size nothing is saved
    size = max(SIZE, 2 * math.ceil(3 * math.sqrt(largest)) + 1)
    return gaussian((variance, second), theta, size=size)


FAMILIES: dict[str, Callable[..., Kernel]] = {"gauss": _gauss}
"""What may stand before the colon of `--kernel FAMILY:NUMBERS`; the numbers are the function's arguments."""

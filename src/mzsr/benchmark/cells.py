"""What methods are measured on: sets of pictures, and what is done to every picture. A column of a table is a cell.

Pictures and kernels come from folders that the user names; (truth, low resolution, degradation) go to `methods`.
"""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from mzsr.benchmark.rows import cell_name
from mzsr.errors import InputError, unknown
from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.degrade import Degradation, Subsample, crop, degrade, informed, phase
from mzsr.imaging.folders import pictures_in
from mzsr.imaging.jpeg import Jpeg, tables
from mzsr.imaging.random_kernels import random_kernels
from mzsr.shapes import Images, Kernel

NAMED: dict[str, tuple[Callable[[], Kernel], Subsample]] = {
    "g0.2d": (lambda: kernels.gaussian((0.2, 0.2)), "direct"),
    "g2.0d": (lambda: kernels.gaussian((2.0, 2.0)), "direct"),
    "g_ani-d": (lambda: kernels.gaussian((4.0, 1.0), -0.5), "direct"),
    "g1.3b": (lambda: kernels.gaussian((1.3, 1.3)), "bicubic"),
    "bicubic": (kernels.delta, "bicubic"),
}
"""The kernels of the MZSR paper, d and b for direct and bicubic subsampling, and plain bicubic shrinking."""

RANDOM = {
    "gaussians": "gaussian",
    "disks": "disk",
    "boxes": "box",
    "motions": "motion",
}
"""Families of which a kernel is drawn for every picture, by its place in the set; direct, on the centred grid."""
RANDOM_VARIANCE = (0.35, 1.25)  # of those, pixels²; the second is times scale²: from hardly any blur to a strong one


@dataclass(frozen=True)
class Cell:
    """What is done to a picture.

    Attributes:
        scale: of the shrinking.
        kernel: a key of NAMED or RANDOM, what `kernel_files.parse` reads, or a folder of kernels.
        noise: standard deviation in [0, 1] units.
        jpeg: quality; None for no compression.
    """

    scale: int
    kernel: str
    noise: float = 0.0
    jpeg: int | None = None

    @property
    def condition(self) -> str:
        """Return noise and compression in words: `clean`, `noise 5/255`, `JPEG 80`."""
        parts = [f"noise {255 * self.noise:g}/255"] if self.noise else []
        return " and ".join(parts + ([f"JPEG {self.jpeg}"] if self.jpeg else [])) or "clean"

    @property
    def kernel_name(self) -> str:
        """Return the kernel as tables call it; a folder by its own name."""
        return os.path.basename(os.path.abspath(self.kernel)) if _is_folder(self.kernel) else self.kernel

    @property
    def subsample(self) -> Subsample:
        """Return its subsampling."""
        return NAMED[self.kernel][1] if self.kernel in NAMED else "direct"

    def __str__(self) -> str:
        """Return the head of a column: `x2 g2.0d`."""
        return cell_name(self.scale, self.kernel_name, self.condition)

    @property
    def folder(self) -> str:
        """Return the same as the name of a folder: `x2_g2.0d`."""
        return re.sub(r"[^\w.-]+", "_", str(self))


@dataclass(frozen=True)
class Source:
    """One picture of a set: where it lies, its place in the set, and its sha256."""

    set: str
    path: Path
    index: int
    sha256: str


@dataclass(frozen=True)
class Case:
    """One degraded picture.

    Attributes:
        truth: (1, 3, H, W), cropped to a multiple of the scale.
        lr: (1, 3, H / s, W / s), rounded to 8 bits.
        degradation: what happened; of a JPEG the tables, as a file tells them, and an estimate of its error.
    """

    truth: Images
    lr: Images
    degradation: Degradation

    @property
    def on_corner(self) -> bool:
        """Return whether the grid is the paper's, low-resolution pixel 0 on high-resolution pixel 0."""
        return max(abs(offset) for offset in phase(self.degradation)) < 0.25


def read_set(folder: Path, every: int = 1) -> tuple[list[Source], list[str]]:
    """List the pictures of a set, in the order of their names.

    Args:
        folder: of ground truth.
        every: take every n-th.

    Returns:
        The pictures that can be read, and a sentence about each that cannot; both empty for no folder at all.
    """
    if not os.path.isdir(folder):
        return [], [f"set {folder} is no folder; name a folder of ground-truth pictures"]
    name = os.path.basename(os.path.abspath(folder)) + (f"/{every}" if every > 1 else "")
    paths, closed = pictures_in(folder, recursive=False)
    if closed:
        return [], [words for _, words in closed]
    if not paths:
        return [], [f"set {folder} holds no ground truth; pictures are required ({', '.join(files.READABLE)})"]
    found, problems = [], []
    for index, path in list(enumerate(paths))[::every]:
        try:
            files.read(path)
            found.append(Source(name, path, index, hashlib.sha256(path.read_bytes()).hexdigest()))
        except InputError as error:
            problems.append(str(error))
    return found, problems


def set_hash(sources: list[Source]) -> str:
    """Return a hash over the hashes of a set's pictures, 12 digits."""
    return hashlib.sha256("".join(source.sha256 for source in sources).encode()).hexdigest()[:12]


def check(cell: Cell) -> None:
    """Raise InputError, with the nearest valid name, for a kernel that is none."""
    if _is_folder(cell.kernel):
        _kernel_paths(cell)
    elif cell.kernel not in NAMED and cell.kernel not in RANDOM:
        if ":" in cell.kernel or os.path.exists(cell.kernel):
            kernel_files.parse(cell.kernel)  # says itself what is wrong
            return
        raise unknown("kernel", cell.kernel, [*NAMED, *RANDOM], ", gauss:VAR, a kernel file or a folder of them")


def has_kernel(cell: Cell, source: Source) -> bool:
    """Return whether a cell has a kernel for a picture; a folder may hold fewer kernels than the set pictures."""
    return not _is_folder(cell.kernel) or source.index < len(_kernel_paths(cell))


def make(source: Source, cell: Cell) -> Case:
    """Degrade a picture; noise and random kernels depend on its place in the set alone.

    Raises:
        InputError: the picture cannot be read, or is too small for the scale.
    """
    truth = crop(files.read(source.path).pixels.expand(-1, 3, -1, -1), cell.scale)
    kernel = kernel_of(source, cell)
    jpeg = None if cell.jpeg is None else Jpeg(tables(cell.jpeg))
    d = Degradation(kernel, cell.scale, cell.subsample, cell.noise, jpeg)
    generator = torch.Generator().manual_seed(source.index) if cell.noise else None
    lr = (degrade(truth, d, generator).clamp(0, 1) * 255).round() / 255
    return Case(truth, lr, informed(d, lr))  # a JPEG file says how it was compressed


def kernel_of(source: Source, cell: Cell) -> Kernel:
    """Return the kernel for a picture; a folder's are moved to the centre-aligned grid, one file is taken as it is.

    Raises:
        InputError: a kernel file that cannot be used.
    """
    shift = (cell.scale - 1) / 2
    if cell.kernel in NAMED:
        return NAMED[cell.kernel][0]()
    if cell.kernel in RANDOM:
        low, high = RANDOM_VARIANCE
        drawn = random_kernels(
            RANDOM[cell.kernel],
            1, variance=(low, high * cell.scale**2), size=12 * cell.scale + 1, offset=(shift, shift),
            generator=torch.Generator().manual_seed(source.index),
        )  # fmt: skip
        return drawn[0]
    if _is_folder(cell.kernel):
        return kernels.centre(kernel_files.load(_kernel_paths(cell)[source.index]), (shift, shift))
    return kernel_files.parse(cell.kernel)


def centred(cell: Cell) -> bool:
    """Return whether kernels are drawn or moved to the centred grid, whatever they are."""
    return cell.kernel in RANDOM or _is_folder(cell.kernel)


def _is_folder(kernel: str) -> bool:
    return kernel not in NAMED and kernel not in RANDOM and os.path.isdir(kernel)


def _kernel_paths(cell: Cell) -> list[Path]:
    """Return the kernels of a folder in the order of their numbers; of its subfolder x2 where it has one for x2."""
    folder = Path(cell.kernel)
    folder = folder / f"x{cell.scale}" if os.path.isdir(folder / f"x{cell.scale}") else folder
    try:
        paths = [p for p in folder.iterdir() if p.name[0] != "." and p.suffix.lower() in kernel_files.SUFFIXES]
    except OSError as error:
        raise InputError(f"folder {folder} cannot be read ({error.strerror}); read permission is required") from error
    if not paths:
        raise InputError(f"folder {folder} holds no kernels; .mat or .npy files are required")
    return sorted(paths, key=lambda path: [int(part) if part.isdigit() else part for part in _PARTS.split(path.name)])


_PARTS = re.compile(r"(\d+)")  # kernel_10.mat comes after kernel_9.mat

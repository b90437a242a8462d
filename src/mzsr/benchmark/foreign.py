"""Methods that are not ours: folders of results that any program has written, and networks that spandrel reads.

    results: DIR/CELL/PICTURE, DIR/SET/CELL/PICTURE, or DIR/PICTURE where one cell alone is measured

A picture bears the name of the truth, with any suffix and with or without `_x2` or `x2` at its end. `mzsr bench inputs`
writes the low-resolution pictures that other programs need, into the same folders.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError  # what torch.load raises; nothing is unpickled
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mzsr.benchmark.cells import Case, Cell, Source
from mzsr.benchmark.methods import Output
from mzsr.errors import InputError
from mzsr.imaging import files
from mzsr.imaging.folders import pictures_in


@dataclass(frozen=True)
class _Given:
    """What both have in common: a name of their own, and no steps."""

    spec: str

    @property
    def label(self) -> str:
        """Return its name in every table."""
        return self.spec

    def outputs(self) -> tuple[int | None, ...]:
        """Return that there are no steps."""
        return (None,)


@dataclass(frozen=True)
class Results(_Given):
    """A folder of results under a name of its own.

    Attributes:
        spec: the name in every table.
        folder: of the results.
        single: whether one cell alone is measured, so that pictures may lie in the folder itself.
    """

    folder: Path
    single: bool

    def identity(self, source: Source, cell: Cell) -> str:
        """Return the name and a hash of the result, so that a changed file is measured again; none where none is.

        Raises:
            InputError: the result cannot be read.
        """
        path = self.find(source, cell)
        try:
            found = "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        except OSError as error:
            raise InputError(f"result {path} cannot be read ({error.strerror})") from error
        return f"{self.spec} {found}"

    def refuses(self, cell: Cell) -> str:
        """Return that every cell may have results."""
        return ""

    def find(self, source: Source, cell: Cell) -> Path | None:
        """Return the result for a picture, or None."""
        for folder in self._folders(source, cell):
            for path in _pictures(folder):
                if path.stem in _names(source.path.stem, cell):
                    return path
        return None

    def extra(self, sources: Sequence[Source], cells: Sequence[Cell]) -> list[Path]:
        """Return pictures in the folders of the results that belong to none of the sources."""
        known: dict[Path, set[str]] = {}  # by folder; several sets may have theirs in one
        sets = {source.path.parent: source for source in sources}  # all of a set, of which some may be taken
        for place, source in sets.items():
            stems = {path.stem for path in _pictures(place)}
            for cell in cells:
                for folder in self._folders(source, cell):
                    known.setdefault(folder, set()).update(name for stem in stems for name in _names(stem, cell))
        return sorted(path for folder, names in known.items() for path in _pictures(folder) if path.stem not in names)

    def __call__(self, case: Case, source: Source, cell: Cell) -> Iterator[Output]:
        """Read the result.

        Raises:
            InputError: it is missing, cannot be read, or has another size than the truth.
        """
        path = self.find(source, cell)
        if path is None:
            expected = self.folder / _plain(source) / cell.folder / f"{source.path.stem}.png"
            raise InputError(f"no result for {source.path.name}; {expected} is required")
        picture = files.read(path).pixels.expand(-1, 3, -1, -1)
        if picture.shape != case.truth.shape:
            found, needed = (f"{images.shape[3]}x{images.shape[2]}" for images in (picture, case.truth))
            raise InputError(f"result {path} is {found}; {needed} is required (the truth, cropped to the scale)")
        yield Output(None, picture, float("nan"))

    def _folders(self, source: Source, cell: Cell) -> list[Path]:
        inside = [self.folder / _plain(source) / cell.folder, self.folder / cell.folder]
        return inside + ([self.folder / _plain(source), self.folder] if self.single else [])


@dataclass(frozen=True)
class Foreign(_Given):
    """A network file that spandrel reads (RCAN, ESRGAN, SwinIR and many more); it knows no kernel.

    Attributes:
        spec: the name in every table.
        file: .pth or .safetensors.
    """

    file: Path

    def identity(self, source: Source, cell: Cell) -> str:
        """Return the name and the hash of the file."""
        return f"{self.spec} {_sha256(self.file, self.file.stat().st_mtime_ns)}"

    def refuses(self, cell: Cell) -> str:
        """Return why it cannot do a cell; empty where it can."""
        scale = _network(self.file).scale
        return "" if scale == cell.scale else f"it enlarges {scale} times"

    def __call__(self, case: Case, source: Source, cell: Cell) -> Iterator[Output]:
        """Enlarge."""
        network = _network(self.file)
        start = time.perf_counter()
        with torch.no_grad():
            picture = network(case.lr)
        yield Output(None, picture, time.perf_counter() - start)


@lru_cache(maxsize=2)
def _network(file: Path) -> Any:
    """Load a network: tensors alone, from which spandrel tells what they are of.

    Raises:
        InputError: spandrel is not there, or cannot read the file as a network of three colours.
    """
    try:
        import spandrel  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision for CUDA beside PyTorch for CPUs
        raise InputError(f"networks of others need spandrel ({error}); pip install '.[compare]'") from error
    try:
        tensors = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
        found = spandrel.ModelLoader("cpu").load_from_state_dict(spandrel.canonicalize_state_dict(tensors))
    except (
        OSError,
        RuntimeError,
        ValueError,
        UnpicklingError,
        SafetensorError,
        spandrel.UnsupportedModelError,
    ) as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(f"network {file} cannot be read ({told}); a file that spandrel knows is required") from error
    if not isinstance(found, spandrel.ImageModelDescriptor) or found.input_channels != 3 or found.output_channels != 3:
        raise InputError(f"network {file} does not make RGB pictures of RGB pictures; a super-resolver is required")
    return found.eval()


def _plain(source: Source) -> str:
    return source.set.partition("/")[0]


@lru_cache(maxsize=16)
def _sha256(file: Path, changed: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _names(stem: str, cell: Cell) -> tuple[str, ...]:
    return stem, f"{stem}_x{cell.scale}", f"{stem}x{cell.scale}"


def _pictures(folder: Path) -> list[Path]:
    found, closed = pictures_in(folder, recursive=False)
    if closed and os.path.isdir(folder):
        raise InputError(closed[0][1])
    return found

"""What is measured: one row for a method on a picture, and what is known of all of them; CSV and back.

Rows come from `measure`; tables, plots and pages are made of nothing else.
"""

import csv
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from mzsr.atomic import write_atomically
from mzsr.errors import InputError

Line = TypeVar("Line")


def cell_name(scale: int, kernel: str, condition: str = "clean") -> str:
    """Return the head of a column, what is done to a picture.

    >>> cell_name(2, "g2.0d"), cell_name(4, "disks", "noise 5/255")
    ('x2 g2.0d', 'x4 disks, noise 5/255')
    """
    return f"x{scale} {kernel}" + ("" if condition == "clean" else f", {condition}")


class Row(NamedTuple):
    """One method on one picture under one degradation.

    Attributes:
        set: name of the set of pictures, with /N where only every N-th was taken: `Set5`, `BSD100/10`.
        image: file name of the picture.
        sha256: of the file, its first 12 digits.
        scale: of the super-resolution.
        kernel: as it was asked for: `g2.0d`, `bicubic`, `kernels`.
        condition: `clean`, `noise 5/255`, `JPEG 80`.
        method: as it was asked for: `bicubic`, `zssr`, `mzsr`, `mzsr:blind`, or the name of foreign results.
        steps: gradient steps of adaptation; None for a method that has none.
        protocol: of PSNR and SSIM.
        psnr: dB.
        ssim: structural similarity.
        reprojection: dB (RGB, peak 1) between the degraded result and the low-resolution picture.
        seconds: from low resolution to result, pictures and models in memory; NaN for foreign results.
    """

    set: str
    image: str
    sha256: str
    scale: int
    kernel: str
    condition: str
    method: str
    steps: int | None
    protocol: str
    psnr: float
    ssim: float
    reprojection: float
    seconds: float

    @property
    def label(self) -> str:
        """Return method and steps as people read them: `mzsr, 1 step`."""
        if self.steps is None:
            return self.method
        return f"{self.method}, {self.steps} step{'' if self.steps == 1 else 's'}"

    @property
    def cell(self) -> str:
        """Return what was done to the picture, the head of a column: `x2 g2.0d`."""
        return cell_name(self.scale, self.kernel, self.condition)


@dataclass(frozen=True)
class About:
    """What stands beside every table: how its numbers came about.

    Attributes:
        command: as it was typed.
        version: of mzsr.
        commit: of the source tree, or `unknown`.
        machine: processor, workers and threads, version of torch.
        protocol: name of the protocol.
        protocol_words: what that means, in a sentence.
        data: name of a set → pictures measured and sha256 over their bytes, in words.
        skipped: what was asked for and could not be measured, a sentence each.
    """

    command: str
    version: str
    commit: str
    machine: str
    protocol: str
    protocol_words: str
    data: dict[str, str]
    skipped: tuple[str, ...] = ()


def mean(rows: Iterable[Row]) -> tuple[float, float]:
    """Return mean PSNR and SSIM; infinite PSNR, of pictures that are reproduced exactly, stays out of it.

    >>> row = Row("", "", "", 2, "", "", "", None, "", 30.0, 0.5, 0.0, 0.0)
    >>> mean([row, row._replace(psnr=40.0, ssim=0.5), row._replace(psnr=math.inf, ssim=0.5)])
    (35.0, 0.5)
    """
    found = list(rows)
    finite = [row.psnr for row in found if row.psnr < math.inf]
    return statistics.fmean(finite) if finite else math.inf, statistics.fmean(row.ssim for row in found)


def write_table(path: Path, head: Sequence[str], lines: Iterable[Iterable[object]]) -> None:
    """Write a CSV, whole or not at all; None becomes an empty cell."""

    def fill(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(head)
            writer.writerows(lines)

    write_atomically(path, fill)


def read_table(path: Path, kind: Callable[..., Line], what: str, command: str) -> list[Line]:
    """Return the rows of a CSV; the annotations of `kind` say what every cell is, and which ones may be empty.

    Raises:
        InputError: the file cannot be read, or a line has no such cells.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        return [kind(*(_cell(line[name], of) for name, of in kind.__annotations__.items())) for line in lines]
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read ({error.strerror}); give a CSV of {command}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{what} {path} are no CSV of {command} ({error}); measure them again") from error


def _cell(text: str, kind: Any) -> Any:
    plain, *others = get_args(kind) or (kind,)  # float | None
    if others and not text:
        return None
    return {"True": True, "False": False}[text] if plain is bool else plain(text)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows, whole or not at all."""
    write_table(path, Row._fields, rows)


def read_csv(path: Path) -> list[Row]:
    """Return the rows of a file; the inverse of `write_csv`. See `read_table`."""
    return read_table(path, Row, "results", "mzsr bench")

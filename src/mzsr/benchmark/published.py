"""The numbers that papers print, beside which ours stand; marked as published wherever they are shown.

Source: published.csv holds tables 1 and 2 of MZSR (CVPR 2020): PSNR (dB) and SSIM on Y, protocol `mzsr`.
"""

import csv
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from mzsr.benchmark.rows import cell_name

PROTOCOL = "mzsr"
BICUBIC = "bicubic-paper"
PSNR_DIGITS, SSIM_DIGITS = 0.01, 0.0005
"""How far a re-measured number may lie from a published one: the target of the benchmark, and rounding."""


class Published(NamedTuple):
    """One published number; `kernel` as in `cells.NAMED`, `psnr` in dB."""

    set: str
    scale: int
    kernel: str
    method: str
    psnr: float
    ssim: float

    @property
    def cell(self) -> str:
        """Return the head of its column."""
        return cell_name(self.scale, self.kernel)


@lru_cache(maxsize=1)
def published() -> tuple[Published, ...]:
    """Return all of them, in the order of the paper.

    >>> next(row.psnr for row in published() if row.method == "MZSR, 10 steps")
    33.74
    """
    lines = (files("mzsr.benchmark") / "published.csv").read_text("utf-8").splitlines()
    return tuple(
        Published(r["set"], int(r["scale"]), r["kernel"], r["method"], float(r["psnr"]), float(r["ssim"]))
        for r in csv.DictReader(lines)
    )

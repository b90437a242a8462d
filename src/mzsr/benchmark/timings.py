"""What was timed: one row for a network at a size; a table, CSV and back.

Timings come from `speed`; imports no torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mzsr.benchmark.rows import read_table, write_table

STAGES = ("read", "estimate", "adapt", "enhance", "write")


class Timing(NamedTuple):
    """What one network took at one size. Seconds are medians of the rounds, None where there is no such stage.

    Attributes:
        network: as it was asked for: `mzsr`, `zssr`, `edsr-s`, a file.
        size: side of the output, pixels; the input has half of it.
        read: file → pixels, seconds.
        estimate: pixels → kernel and noise, seconds.
        adapt: seconds.
        enhance: seconds; of our models with the re-projection, which goes into every result.
        write: pixels → file, seconds.
        spread: slowest minus fastest round, against the median of all.
        peak_memory_mb: most memory of the rounds above `held_memory_mb`, MiB; of the accelerator where there is one.
        held_memory_mb: what was held before the first picture: Python, PyTorch and the network, MiB.
        macs_per_pixel: multiply-accumulates of the enhancement for each pixel of output.
        adapt_macs_per_pixel: those of the adaptation.
        matmul_rate: floating-point operations per second of a large matrix product, the best of the run.
        rounds: that were timed, after one that was not.
        threads: of PyTorch.
        device: `cpu` or `cuda`.
        precision: of the convolutions, and of the matrix product.
        extrapolated: whether adaptation was timed for a part of its schedule, and the rest calculated.
    """

    network: str
    size: int
    read: float
    estimate: float | None
    adapt: float | None
    enhance: float
    write: float
    spread: float
    peak_memory_mb: float | None
    held_memory_mb: float | None
    macs_per_pixel: float
    adapt_macs_per_pixel: float | None
    matmul_rate: float
    rounds: int
    threads: int
    device: str
    precision: str
    extrapolated: bool

    @property
    def total(self) -> float:
        """Return the seconds of all stages together."""
        return sum(getattr(self, stage) or 0.0 for stage in STAGES)

    @property
    def share_of_matmul_rate(self) -> float:
        """Return the arithmetic rate of the enhancement against that of a large matrix product."""
        return 2 * self.macs_per_pixel * self.size**2 / self.enhance / self.matmul_rate


def table(timings: Sequence[Timing], flagship: str = "mzsr") -> list[str]:
    """Return the lines of a Markdown table, size by size; seconds that were extrapolated have a star."""
    ours = {timing.size: timing.total for timing in timings if timing.network == flagship}
    heads = ["output", "network", *(f"{stage} s" for stage in STAGES), "total s", f"/ {flagship}", "MiB",
             "MAC / pixel", "of matmul rate"]  # fmt: skip
    rows = [heads, ["---"] * len(heads)]
    for timing in sorted(timings, key=lambda timing: timing.size):  # stable: networks stay as they were asked for
        star = "*" if timing.extrapolated else ""
        ratio = timing.total / ours[timing.size] if timing.size in ours else None
        rows.append([
            f"{timing.size}x{timing.size}", timing.network, *(_seconds(getattr(timing, stage)) for stage in STAGES),
            _seconds(timing.total) + star, "" if ratio is None else f"{ratio:.3g}",
            "" if timing.peak_memory_mb is None else f"{timing.peak_memory_mb:.0f}", f"{timing.macs_per_pixel:,.0f}",
            f"{100 * timing.share_of_matmul_rate:.0f} %",
        ])  # fmt: skip
    return ["| " + " | ".join(row) + " |" if row is not rows[1] else "|" + "|".join(row) + "|" for row in rows]


def write_timings(path: Path, timings: Sequence[Timing]) -> None:
    """Write timings as CSV, with what follows from them in the last two columns, whole or not at all."""
    lines = ([*timing, timing.total, timing.share_of_matmul_rate] for timing in timings)
    shown = ([f"{value:.6g}" if isinstance(value, float) else value for value in line] for line in lines)
    write_table(path, [*Timing._fields, "total", "share_of_matmul_rate"], shown)


def read_timings(path: Path) -> list[Timing]:
    """Return the timings of a file; the inverse of `write_timings` to the six digits that it writes."""
    return read_table(path, Timing, "timings", "mzsr bench speed")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

"""Does adaptation earn its place? PSNR at 0, 1 and 10 steps under foreign kernels; writes docs/results/adaptation.csv.

The 50 random kernels of the DIV2KRK set, at x2 and at x4, each on its own DIV2K_valid crop: centre-aligned grid, direct
subsampling, low resolution rounded to 8 bits, protocol `mzsr`. The son is made with what the method knows: the known
kernel; the estimated kernel and noise; or a wrong one, an isotropic Gaussian of variance scale² / 2 on the right grid.
Gains over 0 steps of the same weights can be had by making those worse, which meta-training does if it is let; so
`--before` adds what the weights were at 0 steps before it.

command: python runs/adaptation.py --data ../shared/data/bench --model mzsr-meta --before mzsr
machine: 1 CPU core (float32), torch 2.13
hours:   0.2
score:   README; x2, known kernel, mzsr-meta: 32.79 / 32.81 / 32.88 dB at 0 / 1 / 10 steps, mzsr at 0 steps 33.01
"""

import argparse
import csv
import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mzsr import Upscaler
from mzsr.atomic import write_atomically
from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.degrade import Degradation, crop, degrade
from mzsr.imaging.metrics import psnr
from mzsr.shapes import Images, Kernel

KERNELS = 50  # of the DIV2KRK set at each scale
HARM = 0.1  # dB; a picture that loses more is counted
HEAD = f"""\
| scale | kernel | steps | mean dB | mean gain | worst change | lose over {HARM} dB |
|---|---|---|---|---|---|---|"""


class Row(NamedTuple):
    """PSNR (dB) of one picture after so many steps, of which the guard kept some."""

    scale: int
    image: str
    knowledge: str
    steps: int
    kept: int
    psnr: float


class Summary(NamedTuple):
    """What steps do to a set of pictures, in dB: mean PSNR, mean and worst change against 0 steps, and who loses."""

    mean: float
    gain: float
    worst: float
    worst_image: str
    harmed: int
    images: int


def case(data: Path, index: int, scale: int) -> tuple[str, Images, Images, Kernel]:
    """Return the name, the picture, its 8-bit low resolution and the kernel on the centre-aligned grid."""
    name = f"{800 + index:04}.png"
    hr = crop(files.read(data / "DIV2K_valid" / name).pixels.expand(-1, 3, -1, -1), scale)
    shift = (scale - 1) / 2
    kernel = kernels.centre(kernel_files.load(data / "kernels" / f"x{scale}" / f"kernel_{index}.mat"), (shift, shift))
    lr = degrade(hr, Degradation(kernel, scale))
    return name, hr, (lr.clamp(0, 1) * 255).round() / 255, kernel


def wrong(scale: int) -> Kernel:
    """Return the Gaussian of variance scale² / 2 on the centre-aligned grid."""
    variance, shift = scale**2 / 2, (scale - 1) / 2
    # Cut off nearer than four standard deviations, its far side would be missed and its centroid be off the grid
    size = 2 * math.ceil(4 * math.sqrt(variance) + shift) + 1
    return kernels.gaussian((variance, variance), size=size, offset=(shift, shift))


def measure(
    upscaler: Upscaler,
    data: Path,
    index: int,
    scale: int,
    steps: list[int],
    kinds: tuple[str, ...] = ("known", "estimated", "wrong"),
) -> list[Row]:
    """Return one row for every kind of knowledge and number of steps on one picture."""
    name, hr, lr, kernel = case(data, index, scale)
    knowledge: dict[str, dict[str, Any]] = {
        "known": {"kernel": kernel, "noise": 0.0},
        "estimated": {"kernel": "auto"},
        "wrong": {"kernel": wrong(scale), "noise": 0.0},
    }
    rows = []
    for kind in kinds:
        for n in steps:
            result = upscaler(lr, scale=scale, steps=n, **knowledge[kind])
            decibel = round(float(psnr(result.picture.pixels, hr, protocol="mzsr", scale=scale)), 4)
            rows.append(Row(scale, name, kind, n, result.kept, decibel))
    return rows


def summarise(rows: list[Row], steps: int) -> Summary:
    """Compare every picture with itself at 0 steps; the rows are of one scale and one knowledge."""
    before = {row.image: row.psnr for row in rows if row.steps == 0}
    after = {row.image: row.psnr for row in rows if row.steps == steps}
    # Rows have four decimals; without rounding, a loss of exactly 0.1 dB would now count and now not
    changes = {image: round(after[image] - before[image], 4) for image in before}
    worst = min(changes, key=lambda image: changes[image])
    harmed = sum(change < -HARM for change in changes.values())
    return Summary(
        statistics.mean(after.values()), statistics.mean(changes.values()), changes[worst], worst, harmed, len(changes)
    )


def lines(rows: list[Row]) -> list[str]:
    """Return one line of Markdown for every scale, knowledge and number of steps; the columns are those of HEAD."""
    told = []
    for scale, kind, steps in dict.fromkeys((row.scale, row.knowledge, row.steps) for row in rows):
        found = summarise([row for row in rows if (row.scale, row.knowledge) == (scale, kind)], steps)
        start = f"| x{scale} | {kind} | {steps} | {found.mean:.2f} |"
        change = f" {found.gain:+.3f} | {found.worst:+.3f} ({found.worst_image}) | {found.harmed} of {found.images} |"
        told.append(start + (change if steps else " | | |"))
    return told


def write(path: Path, rows: list[Row]) -> None:
    """Write the rows, whole or not at all."""

    def fill(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows(rows)

    write_atomically(path, fill)


def read(path: Path) -> list[Row]:
    """Return the rows of a file; the inverse of `write`."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(int(r["scale"]), r["image"], r["knowledge"], int(r["steps"]), int(r["kept"]), float(r["psnr"]))
            for r in csv.DictReader(file)
        ]


def main() -> None:
    """Measure, print the table scale by scale, write the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder that holds DIV2K_valid and kernels")
    parser.add_argument("--model", default="mzsr")
    parser.add_argument("--before", help="weights from before meta-training, shown at 0 steps for comparison")
    parser.add_argument("--scales", type=int, nargs="+", choices=(2, 4), default=[2, 4])
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 1, 10], help="0 is added where it is missing")
    parser.add_argument("--count", type=int, choices=range(1, KERNELS + 1), default=KERNELS, metavar="N",
                        help=f"only the first N of the {KERNELS} kernels")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("docs/results/adaptation.csv"))
    arguments = parser.parse_args()
    steps = sorted({0, *arguments.steps})
    arguments.out.parent.mkdir(parents=True, exist_ok=True)  # before the work: what cannot be written is said at once
    upscaler = Upscaler(arguments.model)
    before = None if arguments.before is None else Upscaler(arguments.before)
    where = f"{upscaler.device}, {torch.get_num_threads()} threads"
    print(f"PSNR (dB), protocol mzsr, model {arguments.model}, first {arguments.count} random kernels, {where}\n")
    print(HEAD, flush=True)
    rows = []
    for scale in sorted(set(arguments.scales)):
        measured = [
            row
            for index in range(1, arguments.count + 1)
            for row in measure(upscaler, arguments.data, index, scale, steps)
        ]
        if before is not None:
            measured += [
                row._replace(knowledge=f"{row.knowledge}, before meta-training")
                for index in range(1, arguments.count + 1)
                for row in measure(before, arguments.data, index, scale, [0])
            ]
        print("\n".join(lines(measured)), flush=True)
        rows += measured
    write(arguments.out, rows)


if __name__ == "__main__":
    main()

"""Score a model with known and with estimated kernels at 0, 1 and 10 steps; writes docs/results/quality.csv.

Every set is degraded by the kernels of the MZSR paper at x2 and x4, low resolution rounded to 8 bits, and scored under
the protocol `mzsr` (PSNR on rounded Y, shave of the scale). `blind` means kernel and noise estimated, on the paper's
(direct) grid.

command: python runs/quality.py --data ../shared/data/bench
machine: 1 CPU core (Intel Xeon, float32), torch 2.13
hours:   0.15
score:   Set5, 1 step, known: g0.2 d 35.59, g2.0 d 36.57, g_ani d 35.82, g1.3 b 36.78, bicubic 37.02, x4 g2.0 d 30.55 dB
"""

import argparse
import csv
import statistics
from pathlib import Path

import torch

from mzsr import Upscaler
from mzsr.imaging import files, kernels
from mzsr.imaging.degrade import Degradation, crop, degrade, upsample
from mzsr.imaging.metrics import psnr, ssim
from mzsr.shapes import Images

KERNELS = {
    "g0.2 d": kernels.gaussian((0.2, 0.2)),
    "g2.0 d": kernels.gaussian((2.0, 2.0)),
    "g_ani d": kernels.gaussian((4.0, 1.0), -0.5),
    "g1.3 b": kernels.gaussian((1.3, 1.3)),
    "bicubic": kernels.delta(),
}
CELLS = {f"x2 {name}": (2, name) for name in KERNELS} | {"x4 g2.0 d": (4, "g2.0 d")}
STEPS = (0, 1, 10)


def photograph(path: Path, scale: int) -> Images:
    """Read a picture as RGB, cropped to a multiple of the scale."""
    return crop(files.read(path).pixels.expand(-1, 3, -1, -1), scale)


def score(picture: Images, truth: Images, scale: int) -> tuple[float, float]:
    """Return PSNR (dB) and SSIM under the protocol of the paper."""
    clean = picture.clamp(0, 1)
    return tuple(float(f(clean, truth, protocol="mzsr", scale=scale)) for f in (psnr, ssim))  # pyright: ignore


def label(kind: str, steps: int) -> str:
    """Name a method: `known, 1 step`."""
    return f"{kind}, {steps} step{'' if steps == 1 else 's'}"


def measure(upscaler: Upscaler, path: Path, cell: str, group: str, blind: bool) -> list[dict[str, object]]:
    """Return one row for every method on one picture in one cell of the table."""
    scale, name = CELLS[cell]
    hr = photograph(path, scale)
    d = Degradation(KERNELS[name], scale, "bicubic" if name in ("g1.3 b", "bicubic") else "direct")
    lr = (degrade(hr, d).clamp(0, 1) * 255).round() / 255
    results = {"bicubic (right phase)": upsample(lr, d)}
    for steps in STEPS:
        known = upscaler(lr, scale=scale, kernel=d.kernel, subsample=d.subsample, noise=0.0, steps=steps)
        results[label("known", steps)] = known.picture.pixels
        if blind:
            told = upscaler(lr, scale=scale, subsample="direct" if d.subsample == "direct" else None, steps=steps)
            results[label("blind", steps)] = told.picture.pixels
    rows = []
    for method, picture in results.items():
        decibel, similarity = score(picture, hr, scale)
        row = {"set": group, "image": path.name, "kernel": cell, "method": method}
        rows.append(row | {"psnr": round(decibel, 4), "ssim": round(similarity, 5)})
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Return means as Markdown: one row per set and method, one column per kernel."""
    names = list(dict.fromkeys(str(row["kernel"]) for row in rows))
    lines = ["| set | method | " + " | ".join(names) + " |", "|---|---" + "|---" * len(names) + "|"]
    for group, method in dict.fromkeys((row["set"], row["method"]) for row in rows):
        cells = []
        for name in names:
            mine = [r for r in rows if (r["set"], r["method"], r["kernel"]) == (group, method, name)]
            mean = [statistics.mean(float(str(row[key])) for row in mine) for key in ("psnr", "ssim")]
            cells.append(f"{mean[0]:.2f}/{mean[1]:.4f}")
        lines.append(f"| {group} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def losses(rows: list[dict[str, object]], steps: int) -> list[float]:
    """Return the dB that each blind result under a direct kernel loses against the known kernel."""
    by_method = {
        (row["image"], row["kernel"]): float(str(row["psnr"])) for row in rows if row["method"] == label("known", steps)
    }
    return [
        by_method[row["image"], row["kernel"]] - float(str(row["psnr"]))
        for row in rows
        if row["method"] == label("blind", steps) and str(row["kernel"]) in ("x2 g0.2 d", "x2 g2.0 d", "x2 g_ani d")
    ]


def main() -> None:
    """Measure, print the table, write the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--sets", nargs="+", default=["Set5", "BSD100"])
    parser.add_argument("--every", type=int, default=10, help="of BSD100 take every n-th picture")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--model", default="mzsr")
    parser.add_argument("--known", action="store_true", help="do not estimate kernels")
    parser.add_argument("--out", type=Path, default=Path("docs/results/quality.csv"))
    arguments = parser.parse_args()
    upscaler = Upscaler(arguments.model)
    rows = []
    for name in arguments.sets:
        every = arguments.every if name == "BSD100" else 1
        group = name if every == 1 else f"{name}/{every}"
        paths = sorted(path for path in (arguments.data / name).iterdir() if path.suffix.lower() in files.SUFFIXES)
        for path in paths[::every]:
            rows += [
                row for cell in arguments.cells for row in measure(upscaler, path, cell, group, not arguments.known)
            ]
    print(f"PSNR (dB) / SSIM, protocol mzsr, model {arguments.model}, {torch.get_num_threads()} threads\n")
    print(table(rows))
    for name in dict.fromkeys(str(row["set"]) for row in rows):
        mine = sorted(losses([row for row in rows if row["set"] == name], 1))
        if not mine:
            continue
        middle, worst = statistics.median(mine), max(mine)
        print(
            f"\n{name}: blind against known kernel, direct kernels, 1 step: median {middle:.3f}, worst {worst:.3f} dB"
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

"""Measure what estimating the kernel costs: dB lost against the known kernel, x2, protocol `mzsr`.

Every picture is degraded, rounded to 8 bits, estimated, and enlarged twice: under the known and under the estimated
degradation, by back-projection and by the data step, which leave no network to blame. "none" is the loss of plain
phase-correct bicubic enlargement, "mild" that of the kernel to which the estimator falls back. Constants of the
estimator were chosen on the train pack, and this table only reports.

command: python runs/estimate_blind.py --data ../shared/data
machine: 2 CPU cores (one thread)
hours:   0.1
score:   median dB lost, data step 1e-3: Set5 g0.2 d 0.04, g2.0 d 0.03, g_ani d 0.00 (worst picture 0.38);
         BSD100/4 random d 0.10 (worst 0.35), at noise 5/255 and data step 3e-2 0.05; plain bicubic 0.00 (mean 0.09,
         worst 1.33); g1.3 b 0.06; BSD100/4 random on the centre grid 0.18; DIV2K_valid under 50 random kernels 0.45,
         by back-projection 0.30 (worst 1.44)
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.data_step import back_project, data_step
from mzsr.imaging.degrade import Degradation, crop, degrade, effective_kernel, upsample
from mzsr.imaging.metrics import psnr
from mzsr.imaging.random_kernels import random_gaussians
from mzsr.inference.estimate import Estimate, Grid, estimate, mild
from mzsr.shapes import Images, Kernel

SCALE = 2
METHODS = ("back-projection", "data step 1e-3", "data step 1e-2")
NOISY_METHODS = ("data step 3e-2", "data step 1e-1")


@dataclass(frozen=True)
class Case:
    """One picture, what is done to it, and the grid that the estimator is told."""

    path: Path
    known: Degradation
    grid: Grid


def rows(data: Path) -> Iterator[tuple[str, list[Case], tuple[str, ...]]]:
    """Yield the name of a row, its cases and the methods it is judged by."""
    set5 = sorted((data / "bench" / "Set5").glob("*.png"))
    bsd = sorted((data / "bench" / "BSD100").glob("*.jpg"))[::4]
    div = sorted((data / "bench" / "DIV2K_valid").glob("*.png"))[:50]
    published = {
        "g0.2": kernels.gaussian((0.2, 0.2)),
        "g2.0": kernels.gaussian((2.0, 2.0)),
        "g_ani": kernels.gaussian((4.0, 1.0), -0.5),
    }
    for name, kernel in published.items():
        yield f"Set5 {name} d", [Case(path, Degradation(kernel), "corner") for path in set5], METHODS
    generator = torch.Generator().manual_seed(0)
    drawn = random_gaussians(len(bsd), variance=(0.2, 5.0), size=21, generator=generator)
    clean = [Case(path, Degradation(kernel), "corner") for path, kernel in zip(bsd, drawn, strict=True)]
    yield "BSD100/4 random d", clean, METHODS
    noisy = [Case(case.path, Degradation(case.known.kernel, noise=5 / 255), "corner") for case in clean]
    yield "BSD100/4 random d, noise 5/255", noisy, NOISY_METHODS
    bicubic = Degradation(kernels.delta(), subsample="bicubic")
    yield "Set5 + BSD100/4 plain bicubic", [Case(path, bicubic, "centre") for path in set5 + bsd], METHODS
    blurred = Degradation(kernels.gaussian((1.3, 1.3)), subsample="bicubic")
    yield "Set5 + BSD100/4 g1.3 b", [Case(path, blurred, "centre") for path in set5 + bsd], METHODS
    moved = [kernels.centre(kernel, (0.5, 0.5)) for kernel in drawn]
    centred = [Case(path, Degradation(kernel), "centre") for path, kernel in zip(bsd, moved, strict=True)]
    yield "BSD100/4 random, centre grid", centred, METHODS
    folder = data / "bench" / "kernels" / "x2"
    foreign = [
        kernels.centre(kernel_files.load(folder / f"kernel_{i}.mat"), (0.5, 0.5)) for i in range(1, len(div) + 1)
    ]
    random = [Case(path, Degradation(kernel), "centre") for path, kernel in zip(div, foreign, strict=True)]
    yield "DIV2K_valid, 50 random kernels", random, METHODS


def restore(lr: Images, kernel: Kernel, method: str) -> Images:
    """Enlarge without a network: back-projection ten times, or the data step at an α."""
    d = Degradation(kernel, SCALE)
    prior = upsample(lr, d)
    if method == "back-projection":
        return back_project(prior, lr, d, 10)
    return data_step(lr, prior, d, float(method.split()[-1]))


def measure(case: Case, method: str, seed: int) -> tuple[Estimate, float, list[float]]:
    """Return the estimate, its seconds, and PSNR by known kernel, estimate, mild kernel and plain bicubic."""
    hr = crop(files.read(case.path).pixels, SCALE)
    lr = degrade(hr, case.known, torch.Generator().manual_seed(seed) if case.known.noise else None)
    lr = torch.round(lr.clamp(0, 1) * 255) / 255
    started = time.perf_counter()
    found = estimate(lr, SCALE, grid=case.grid)
    seconds = time.perf_counter() - started
    known = effective_kernel(case.known)
    tried = [known, found.degradation.kernel, mild(SCALE, case.grid)]
    results = [restore(lr, kernel, method) for kernel in tried] + [upsample(lr, Degradation(known))]
    return found, seconds, [float(psnr(result, hr, scale=SCALE)) for result in results]


def main() -> None:
    """Print one line for every row and method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder of the image packs")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--cases", action="store_true", help="print every picture too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| row | method | known dB | median loss | mean | 90 % | worst | mild | none | fallbacks | seconds |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, cases, methods in rows(arguments.data):
        if arguments.only not in name:
            continue
        for method in methods:
            measured = [measure(case, method, seed) for seed, case in enumerate(cases)]
            table = torch.tensor([psnrs for *_, psnrs in measured], dtype=torch.float64)
            loss = (table[:, :1] - table)[:, 1:]
            blind = loss[:, 0]
            if arguments.cases:
                for case, (found, _, psnrs), lost in zip(cases, measured, blind.tolist(), strict=True):
                    true = torch.linalg.eigvalsh(kernels.covariance(effective_kernel(case.known))).flip(0).tolist()
                    print(
                        f"{case.path.name:15} lost {lost:6.2f} of {psnrs[0]:.2f}, true ({true[0]:.2f}, {true[1]:.2f})",
                        f"found ({found.variances[0]:.2f}, {found.variances[1]:.2f})",
                        f"theta {math.degrees(found.theta):.0f}° confidence {found.confidence:.2f} {found.note}",
                        file=sys.stderr,
                    )
            figures = [
                float(table[:, 0].mean()),
                float(blind.median()),
                float(blind.mean()),
                float(blind.quantile(0.9)),
            ]
            figures += [float(blind.max()), *loss[:, 1:].mean(0).tolist()]
            fallbacks = sum(found.fallback for found, *_ in measured)
            seconds = sum(seconds for _, seconds, _ in measured) / len(measured)
            print(f"| {name} | {method} |", " | ".join(f"{figure:.2f}" for figure in figures), end=" | ")
            print(f"{fallbacks} of {len(cases)} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()

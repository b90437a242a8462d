"""How often does the true kernel lie where the estimate says? Random Gaussians, x2, on the grid of photographs.

The width is to be within `width_error`, and the decibels lost (of `decibels_lost`) below `loss`, in 80 % of the
pictures. The constants SPREAD, NARROW and LOSS of `inference.estimate` were chosen on the train pack, and hold as well
on pictures that nobody looked at as docs/measured.md says.

command: python runs/kernel_uncertainty.py ../shared/data/bench/BSD100 1 ../shared/data/bench/Kodak24 1
machine: 1 core of an Intel Xeon with AMX (float32), torch 2.13
hours:   0.03
score:   docs/measured.md, "Unknown blur"
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch

from mzsr.benchmark.cells import Cell, make, read_set
from mzsr.imaging import kernels
from mzsr.imaging.degrade import effective_kernel
from mzsr.inference.estimate import estimate
from mzsr.learning.estimator import decibels_lost, response

CONDITIONS = {"clean": Cell(2, "gaussians"), "noise 5/255": Cell(2, "gaussians", 5 / 255),
              "JPEG 80": Cell(2, "gaussians", jpeg=80)}  # fmt: skip


def main() -> None:
    """Print a row for every set and condition."""
    torch.set_num_threads(1)
    print("| set | condition | fallbacks | width within | ±, median | lost below | dB said / lost, median |")
    print("|---" * 7 + "|")
    for folder, every in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        sources, _ = read_set(Path(folder), int(every))
        for name, cell in CONDITIONS.items():
            rows, fallbacks = [], 0
            for source in sources:
                case = make(source, cell)
                found = estimate(case.lr, 2, jpeg=case.degradation.jpeg)
                if found.fallback:
                    fallbacks += 1
                    continue
                true = effective_kernel(case.degradation)
                width = math.sqrt(float(kernels.covariance(true.double()).trace()) / 2)
                told = None if case.degradation.jpeg is None else float(case.degradation.jpeg.error)
                believed = response(found.degradation.kernel[None], 0.5), response(true[None], 0.5)
                lost = float(decibels_lost(*believed, 2, torch.tensor([told or cell.noise])))
                rows.append((abs(math.log(found.width / width)), found.width_error, lost, found.loss))
            off, said, lost, loss = np.array(rows).T
            print(
                f"| {sources[0].set} | {name} | {fallbacks} of {len(sources)} | {100 * np.mean(off < said):.0f} % | "
                f"{100 * np.median(said):.0f} % | {100 * np.mean(lost < loss):.0f} % | "
                f"{np.median(loss):.2f} / {np.median(lost):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Is a son that went through what its father did worth more than a clean one? A step on each, scored alike.

Both learn from the same squares of the same picture, and the network is told the same of them: a matched son has the
father's noise and JPEG, a clean one has the blur alone. Steps are taken without the guard that users have. Known
kernel, PSNR on Y, protocol mzsr.

command: python runs/sons.py --data ../shared/data/bench/BSD100 --every 5
machine: 1 core of an Intel Xeon with AMX (bfloat16), torch 2.13
hours:   0.1
score:   docs/measured.md, "Adaptation"
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import torch

from mzsr.benchmark.cells import Case, Cell, make, read_set
from mzsr.imaging.degrade import degrade
from mzsr.imaging.metrics import psnr
from mzsr.inference.adapt import support
from mzsr.inference.tiles import enhance
from mzsr.inference.upscale import Upscaler
from mzsr.learning.inner import descend, detach, schedule

CONDITIONS = {"noise 10/255": {"noise": 10 / 255}, "JPEG 60": {"jpeg": 60}}
STEPS = 1, 10


def scores(upscaler: Upscaler, case: Case, *, matched: bool) -> list[float]:
    """Return PSNR after each of STEPS, dB."""
    d = case.degradation
    pair = support(case.lr, d, upscaler.card.crops, torch.Generator().manual_seed(0))
    if not matched:
        pair = replace(pair, lr=degrade(pair.hr, replace(d, noise=0.0, jpeg=None)))
    steps = schedule(upscaler.card.step_sizes, max(STEPS))
    thetas = descend(upscaler.network, detach(upscaler.theta), pair, steps).thetas
    results = [enhance(upscaler.network, thetas[count], case.lr, d).clamp(0, 1) for count in STEPS]
    return [float(psnr(result, case.truth, scale=d.scale)) for result in results]


def main() -> None:
    """Print a row for every model and condition."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder of ground truth")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture")
    parser.add_argument("--models", nargs="+", default=["mzsr", "mzsr-meta"])
    arguments = parser.parse_args()
    sources, _ = read_set(arguments.data, arguments.every)
    print("| model | condition | clean son, 1 / 10 steps | matched son, 1 / 10 steps | gain |")
    print("|---" * 5 + "|")
    for name in arguments.models:
        upscaler = Upscaler(name, device="cpu")
        for condition, told in CONDITIONS.items():
            found: dict[bool, list[list[float]]] = {False: [], True: []}
            for source in sources:
                case = make(source, Cell(2, "g2.0d", **told))
                expert = upscaler.at(2, case.degradation.jpeg)
                for matched, rows in found.items():
                    rows.append(scores(expert, case, matched=matched))
            clean, same = ([statistics.fmean(column) for column in zip(*found[m], strict=True)] for m in (False, True))
            gains = " / ".join(f"{b - a:+.3f}" for a, b in zip(clean, same, strict=True))
            columns = (" / ".join(f"{value:.3f}" for value in values) for values in (clean, same))
            print(f"| {name} | {condition} | {' | '.join(columns)} | {gains} |", flush=True)


if __name__ == "__main__":
    main()

"""What could adaptation be worth at most? The same steps on pictures that are ever nearer to the one that is measured.

A picture is cut in two. Adam goes down L1 on four patches at a time, of

    truth       the true high resolution of the left half, degraded by the kernel of the picture: no user has it
    statistics  the same, degraded by the kernels of other pictures: what is learned is the scene alone
    kernel      photographs of training, degraded by the kernel of the picture: what is learned is the kernel alone
    son         the low-resolution picture itself, both halves, and its son: what adaptation has

and the PSNR of the right half is taken after some steps. The random kernels of DIV2KRK, known; two rates, the better
of which is printed as well as it can be chosen with hindsight.

command: python runs/ceiling.py ../shared/data --every 4
machine: 1 core of an AMD EPYC, torch 2.13
hours:   0.3
score:   docs/measured.md, "What adaptation could be worth"
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from mzsr.benchmark.cells import Cell, Source, make, read_set
from mzsr.imaging import files
from mzsr.imaging.degrade import Degradation, degrade
from mzsr.imaging.metrics import psnr
from mzsr.learning.checkpoint import load_weights
from mzsr.learning.contract import HEAD
from mzsr.learning.losses import l1
from mzsr.shapes import Images

STEPS = (1, 5, 20, 60)  # after which the right half is enlarged
RATES = (1e-5, 5e-5)
PATCHES, SIDE = 4, 96
TEACHERS = ("truth", "statistics", "kernel", "son")


def main() -> None:
    """Print a row for every teacher."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, help="holds train/ and bench/")
    parser.add_argument("--every", type=int, default=4, help="of Kodak24")
    parser.add_argument("-n", "--model", default="mzsr")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sources, _ = read_set(arguments.data / "bench" / "Kodak24", arguments.every)
    cell = Cell(2, str(arguments.data / "bench" / "kernels" / "x2"))
    others = [make(source, cell).degradation for source in read_set(arguments.data / "bench" / "Kodak24")[0]]
    photographs = [files.read(path).pixels for path in sorted((arguments.data / "train" / "cid22").glob("*.webp"))[::4]]

    print(f"dB gained by {arguments.model} on the other half of {len(sources)} pictures of Kodak24, random kernels, x2")
    print(f"| learned from | {' | '.join(f'{steps} steps' for steps in STEPS)} | worst of the last |")
    print("|---" * (len(STEPS) + 2) + "|")
    for teacher in TEACHERS:
        gains = [[_gains(arguments.model, source, cell, teacher, rate, others, photographs) for source in sources]
                 for rate in RATES]  # fmt: skip
        best = max(gains, key=lambda rows: sum(row[-1] for row in rows))
        means = torch.tensor(best).mean(0).tolist()
        print(f"| {teacher} | {' | '.join(f'{m:+.3f}' for m in means)} | {min(r[-1] for r in best):+.3f} |", flush=True)


def _gains(
    model: str, source: Source, cell: Cell, teacher: str, rate: float, others: list[Degradation],
    photographs: list[Images],
) -> list[float]:  # fmt: skip
    """Return the gain in PSNR of the right half after each of STEPS."""
    network, _ = load_weights(model)
    moved = [tensor for name, tensor in network.named_parameters() if not name.startswith(HEAD)]
    adam = torch.optim.Adam(moved, lr=rate)
    generator = torch.Generator().manual_seed(source.index)
    case = make(source, cell)
    middle = case.truth.shape[3] // 4 * 2
    left, right = case.truth[..., :middle], case.truth[..., middle:]
    lr = _eight_bits(degrade(right, case.degradation))

    def draw(of: int) -> int:
        return int(torch.randint(0, of, (1,), generator=generator))

    def patch(picture: Images) -> Images:
        top, corner = (draw(side - SIDE + 1) // 2 * 2 for side in picture.shape[2:])
        return picture[:, :, top : top + SIDE, corner : corner + SIDE]

    teach: dict[str, Callable[[], tuple[Images, Degradation]]] = {
        "truth": lambda: (left, case.degradation),
        "statistics": lambda: (left, others[draw(len(others))]),
        "kernel": lambda: (photographs[draw(len(photographs))], case.degradation),
        "son": lambda: (case.lr, case.degradation),
    }

    @torch.no_grad()
    def measured() -> float:
        return float(psnr(network(lr, case.degradation).clamp(0, 1), right, scale=cell.scale))

    before, gains = measured(), []
    for step in range(1, max(STEPS) + 1):
        _, d = teach[teacher]()
        fathers = torch.cat([patch(teach[teacher]()[0]) for _ in range(PATCHES)])
        loss = l1(network(_eight_bits(degrade(fathers, d)), d), fathers)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step in STEPS:
            gains.append(measured() - before)
    return gains


def _eight_bits(picture: Images) -> Images:
    return (picture.clamp(0, 1) * 255).round() / 255


if __name__ == "__main__":
    main()

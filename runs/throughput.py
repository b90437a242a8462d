"""Measure the speed of meta-training against a plain loop, and how much of the machine it uses.

The plain loop takes tasks one after another in float32 with the default memory layout, as the obvious program does;
ours is what `mzsr train meta` runs. Both compute the same gradient, in the same process, in turns. The matrix-product
rate is that of one large product in the precision of the training.

command: python runs/throughput.py --data ../shared/data/train/gb82
machine: AMD EPYC (bfloat16), torch 2.13
hours:   0.02 (with --rounds 9)
score:   one thread: paper 2.05 times, 75 % of the matrix-product rate; flagship 1.66 times, 62 % (261 GFLOP/s); two
         threads 1.92 times, 78 %; in float32, on a core of an Intel Xeon, 0.96 and 1.03
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from mzsr.config import MetaConfig
from mzsr.learning.devices import best_precision, pick_device
from mzsr.learning.metatrain import MetaTraining
from mzsr.learning.photographs import load_photographs
from mzsr.presets import META


def matrix_rate(device: torch.device, precision: torch.dtype, side: int = 2048) -> float:
    """Return the rate of a square matrix product in floating-point operations per second, the best of five."""
    a, b = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    return 2 * side**3 / min(seconds(lambda: a @ b, device) for _ in range(5))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long a piece of work takes."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def objective(config: MetaConfig, data: Path, device: torch.device, *, plain: bool) -> MetaTraining:
    """Build the meta-training of a configuration, or its plain form."""
    made = MetaTraining(config, load_photographs([data], config.patch).to(device), device)
    if plain:
        made.network.precision = torch.float32
        made.network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    return made


def main() -> None:
    """Time both in turns, for the paper's network and for the flagship."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vectorise", action="store_true")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    precision = best_precision(device)
    rate = matrix_rate(device, precision)
    print(f"{device}, {torch.get_num_threads()} threads, {precision}; matrix product {rate / 1e9:.0f} GFLOP/s")
    for name, config in (("paper", META["paper"]), ("flagship", META["flagship"])):
        config = config.model_copy(update={"batch": 2, "tasks": 2})
        ours_config = config.model_copy(update={"vectorise": arguments.vectorise})
        plain = objective(config, arguments.data, device, plain=True)
        ours = objective(ours_config, arguments.data, device, plain=False)
        with FlopCounterMode(display=False) as counter:
            ours.gradient(0, range(config.tasks))
        plain.gradient(0, range(config.tasks))
        times: dict[str, list[float]] = {"plain": [], "ours": []}
        for step in range(1, arguments.rounds + 1):
            for kind, made in (("plain", plain), ("ours", ours)):
                times[kind].append(seconds(partial(made.gradient, step, range(config.tasks)), device))
        middle = {kind: statistics.median(spent) for kind, spent in times.items()}
        reached = counter.get_total_flops() / middle["ours"]
        print(
            f"{name}: plain {1 / middle['plain']:.2f}, ours {1 / middle['ours']:.2f} iterations/s, "
            f"{middle['plain'] / middle['ours']:.2f} times; {reached / 1e9:.0f} GFLOP/s, {100 * reached / rate:.0f} % "
            "of the matrix-product rate"
        )


if __name__ == "__main__":
    main()

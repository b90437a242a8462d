"""Time one-step super-resolution, 256x256 → 512x512, known kernel, model in memory: flagship against paper network.

Both go through the same functions in the same process, in turn: adaptation on the son, then enhancement. The paper's
network adapts on the whole picture, as published, the flagship on its card's crops. Weights do not change the cost, so
the paper's network has random ones.

command: python runs/speed.py
machine: 2 CPU cores (Intel Xeon, no AMX, float32), torch 2.13
hours:   0.01
score:   paper / flagship: 3.53 (of pairs: 2.60 to 4.18); 5.43 with the two stages of the first flagship
"""

import argparse
import statistics
import time

import torch

from mzsr import Upscaler
from mzsr.config import NetworkConfig
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation
from mzsr.inference.adapt import adapt
from mzsr.inference.tiles import enhance
from mzsr.learning.devices import best_precision
from mzsr.learning.networks import Network, build
from mzsr.shapes import Images, Params


def seconds(network: Network, lr: Images, d: Degradation, steps: int, crops: int) -> tuple[float, float]:
    """Return the seconds of adaptation and of enhancement."""
    start = time.perf_counter()
    theta: Params = dict(network.named_parameters())
    adapted = adapt(network, theta, lr, d, steps=steps, step_sizes=(1e-2,), crops=crops)
    middle = time.perf_counter()
    enhance(network, adapted.theta, lr, d, tile=0)
    return middle - start, time.perf_counter() - middle


def main() -> None:
    """Time both in turn and print medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    flagship = Upscaler("mzsr", device="cpu")
    paper = build(NetworkConfig(name="paper")).requires_grad_(False)
    paper.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    paper.precision = best_precision(torch.device("cpu"))
    lr = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    d = Degradation(kernels.gaussian((2.0, 2.0)))
    times: dict[str, list[tuple[float, float]]] = {"flagship": [], "paper": []}
    for _ in range(arguments.runs + 1):
        times["flagship"].append(seconds(flagship.network, lr, d, arguments.steps, flagship.card.crops))
        times["paper"].append(seconds(paper, lr, d, arguments.steps, 0))
    print(f"{arguments.steps} step, 256x256 → 512x512, {paper.precision}, {torch.get_num_threads()} threads; medians")
    total = {}
    for name, rows in times.items():
        adapting, enhancing = (statistics.median(column) for column in zip(*rows[1:], strict=True))
        total[name] = statistics.median(sum(row) for row in rows[1:])
        print(f"{name:9} adapt {adapting:.3f} s, enhance {enhancing:.3f} s, together {total[name]:.3f} s")
    ratios = sorted(sum(p) / sum(f) for f, p in zip(times["flagship"][1:], times["paper"][1:], strict=True))
    print(f"paper / flagship: {statistics.median(ratios):.2f} (of pairs: {ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()

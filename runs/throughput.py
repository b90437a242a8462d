"""Measure the speed of meta-training against a plain loop, and how much of the machine it uses.

The plain loop takes tasks one after another in float32 with the default memory layout, as the obvious program does;
ours is what `mzsr train meta` runs. Both compute the same gradient, in the same process, in turns. The matrix-product
rate is that of one large product in the precision of the training. Under torchrun ours is all processes, each with its
share of the tasks and the mean of the gradients at last, and the plain loop has the threads of all.

command: python runs/throughput.py --data ../shared/data/train/gb82
         torchrun --nproc-per-node 2 runs/throughput.py --data ../shared/data/train/gb82
machine: 2 cores of an Intel Xeon with AMX (bfloat16), torch 2.13
hours:   0.1 (with --rounds 3)
score:   two processes of one thread, the plain loop with two threads: paper 4.04 times, 31 % of the matrix-product rate
         (2 x 1013 GFLOP/s); flagship 3.35 times, 23 %; one thread against one: 3.59 and 2.52. On a Xeon without AMX, in
         float32: paper 1.10 times, flagship 1.31 times, 57 % of the matrix-product rate (2 x 162 GFLOP/s)
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from mzsr.benchmark.speed import matmul_rate
from mzsr.benchmark.stages import counter
from mzsr.config import MetaConfig
from mzsr.learning.devices import best_precision, pick_device, train_fast
from mzsr.learning.metatrain import MetaTraining
from mzsr.learning.parallel import World, join
from mzsr.learning.photographs import load_photographs
from mzsr.presets import META


def seconds(work: Callable[[], object], world: World) -> float:
    """Return how long a piece of work takes, from when all processes are ready until all are done."""
    world.wait()
    start = time.perf_counter()
    work()
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
    world.wait()
    return time.perf_counter() - start


def objective(config: MetaConfig, data: Path, device: torch.device, *, plain: bool) -> MetaTraining:
    """Build the meta-training of a configuration, or its plain form."""
    made = MetaTraining(config, load_photographs([data], config.patch).to(device), device)
    if plain:
        made.network.precision, made.network.layout = torch.float32, torch.contiguous_format
        made.network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    return made


def together(made: MetaTraining, world: World, tasks: int, step: int) -> None:
    """Compute the gradient of all tasks, each process its share."""
    gradient = made.gradient(step, world.share(tasks // world.size))[1]
    world.mean_(torch.cat([tensor.reshape(-1) for tensor in gradient.values()]))


def alone(made: MetaTraining, world: World, tasks: int, step: int) -> None:
    """Compute the same in the first process, which has the threads of all."""
    if world.rank:
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(threads * world.size)
    made.gradient(step, range(tasks))
    torch.set_num_threads(threads)


def compare(name: str, config: MetaConfig, ours_config: MetaConfig, data: Path, world: World, rounds: int) -> str:
    """Time both in turns, and say what came of it."""
    plain = objective(config, data, world.device, plain=True)
    ours = objective(ours_config, data, world.device, plain=False)
    with counter() as counted:
        together(ours, world, config.tasks, 0)
    alone(plain, world, config.tasks, 0)
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for step in range(1, rounds + 1):
        times["plain"].append(seconds(partial(alone, plain, world, config.tasks, step), world))
        times["ours"].append(seconds(partial(together, ours, world, config.tasks, step), world))
    middle = {kind: statistics.median(spent) for kind, spent in times.items()}
    reached = counted.get_total_flops() / middle["ours"]  # of one process
    rate = matmul_rate(world.device, best_precision(world.device), side=2048 if world.device.type == "cpu" else None)
    return (
        f"{name}: plain {1 / middle['plain']:.2f}, ours {1 / middle['ours']:.2f} iterations/s, "
        f"{middle['plain'] / middle['ours']:.2f} times; {world.size} x {reached / 1e9:.0f} GFLOP/s, "
        f"{100 * reached / rate:.0f} % of the matrix-product rate, {world.size} x {rate / 1e9:.0f}"
    )


def main() -> None:
    """Time both for the paper's network and for the flagship."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vectorise", action="store_true")
    arguments = parser.parse_args()
    with join(pick_device(arguments.device)) as world:
        train_fast(world.device)
        say = print if world.rank == 0 else lambda text: None
        threads = torch.get_num_threads()
        say(f"{world.device}, {world.size} processes of {threads} threads, {best_precision(world.device)}")
        for name in ("paper", "flagship"):
            config = META[name].model_copy(update={"batch": 2, "tasks": 2 * world.size})
            ours = config.model_copy(update={"vectorise": arguments.vectorise})
            say(compare(name, config, ours, arguments.data, world, arguments.rounds))


if __name__ == "__main__":
    main()

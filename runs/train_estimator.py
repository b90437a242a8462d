"""The kernel estimator, from nothing to src/mzsr/weights/estimator.safetensors: samples, then training.

Samples are kept in OUT, in files of a thousand; stop it at any time, run it again, and it goes on where it was (the
training, a third of an hour, begins again).

command: python runs/train_estimator.py --data ../shared/data/train/*/ --check ../shared/data/bench/Kodak24
machine: 1 core of an Intel Xeon with AMX (float32), torch 2.13
hours:   0.55 samples, 0.35 training
score:   `mzsr bench blind`, docs/measured.md, "Unknown blur"
"""

import argparse
import sys
import time
from dataclasses import astuple
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from mzsr.atomic import write_atomically
from mzsr.card import Card
from mzsr.commands import command_line
from mzsr.config import NetworkConfig
from mzsr.learning.cards import commit, machine
from mzsr.learning.estimation import LEAST, Sample, Samples, draw_sample, fit, losses, stack
from mzsr.learning.estimator import HEADS, Estimator
from mzsr.learning.parallel import World
from mzsr.learning.photographs import Photographs, load_photographs
from mzsr.learning.weights import save_weights

LICENCES = {"cid22": "CC BY-SA 4.0", "clic2025": "Unsplash", "gb82": "public domain"}
SHARD = 1000
CHECKED = 1500, 77  # samples of photographs that no training saw, and their seed


def samples(photographs: Photographs, count: int, seed: int, out: Path, share: tuple[int, int]) -> list[Sample]:
    """Make the samples that are not there yet; of several processes each makes its share of the files."""
    found = []
    for first in range(0, count, SHARD):
        path = out / f"samples-{photographs.digest}-{seed}-{first}.safetensors"
        if not path.exists():
            if first // SHARD % share[1] != share[0]:
                continue
            start = time.monotonic()
            made = [draw_sample(photographs.pictures, seed, index) for index in range(first, first + SHARD)]
            columns = [
                torch.stack([torch.as_tensor(value) for value in column])
                for column in zip(*map(astuple, made), strict=True)
            ]
            head, features, response, noise, error = columns
            tensors = {
                "head": head,
                "features": features.half(),
                "response": torch.view_as_real(response).half(),
                "noise": noise,
                "error": error,
            }
            write_atomically(path, lambda part, tensors=tensors: save_file(tensors, part))
            print(f"{first + SHARD} of {count} samples, {SHARD / (time.monotonic() - start):.0f} a second", flush=True)
        t = load_file(path)
        response = torch.view_as_complex(t["response"].float())
        found += [
            Sample(int(t["head"][i]), t["features"][i].float(), response[i], float(t["noise"][i]), float(t["error"][i]))
            for i in range(len(t["head"]))
        ]
    return found[:count]


def lost(network: Estimator, check: dict[int, Samples]) -> dict[int, Float[Tensor, " n"]]:
    """Return the decibels that samples lose, by their head."""
    with torch.no_grad():
        return {head: losses(network, part, head)[0] for head, part in check.items()}


def told(decibels: Float[Tensor, " n"]) -> str:
    """Return what a card says of them."""
    return f"median {float(decibels.median()):.2f}, mean {float(decibels.mean()):.2f} dB lost"


def main() -> None:
    """Make samples, train, publish."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--check", type=Path, help="folder of photographs of no training, to measure it on")
    parser.add_argument("--out", type=Path, default=Path("out/estimator"))
    parser.add_argument("--weights", type=Path, default=Path("src/mzsr/weights/estimator.safetensors"))
    parser.add_argument("--samples", type=int, default=99_000)
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--channels", type=int, default=640)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), help="of the samples: this process, of how many")
    parser.add_argument("--samples-only", action="store_true")
    arguments = parser.parse_args()
    if tuple(arguments.share) != (0, 1) and not arguments.samples_only:
        parser.error("--share makes a part of the samples; give --samples-only too, and train when all are there")
    arguments.out.mkdir(parents=True, exist_ok=True)
    photographs = load_photographs(arguments.data, LEAST)
    start = time.monotonic()
    made = samples(photographs, arguments.samples, arguments.seed, arguments.out, tuple(arguments.share))
    if arguments.samples_only:
        return
    held_out = max(len(made) // 20, 1)
    check, learn = stack(made[:held_out]), stack(made[held_out:])
    torch.manual_seed(arguments.seed)
    network = Estimator(arguments.channels)

    def progress(step: int, loss: float) -> None:
        if step % 250 == 0:
            print(f"step {step} of {arguments.steps}, loss {loss:.3f}, {time.monotonic() - start:.0f} s", flush=True)

    theta = fit(network, learn, arguments.steps, arguments.seed, progress)
    network.load_state_dict(theta)
    score = {
        "x{} {}, other samples of the same photographs".format(*HEADS[head]): told(decibels)
        for head, decibels in lost(network, check).items()
    }
    if arguments.check is not None:
        (count, seed), others = CHECKED, load_photographs([arguments.check], LEAST).pictures
        unseen = lost(network, stack([draw_sample(others, seed, index) for index in range(count)]))
        name = f"{arguments.check.name}, {count:,} samples of seed {seed}, all scales and grids"
        score[name] = told(torch.cat(list(unseen.values())))
    print("\n".join(f"{name}: {said}" for name, said in score.items()))
    card = Card(
        name="estimator", summary="kernel estimator: features of a spectrum to the kernel that loses least",
        network=NetworkConfig(name="estimator", channels=arguments.channels),
        scales=tuple(sorted({scale for scale, _ in HEADS})), step_sizes=(),
        data=tuple(f"{f.name} ({LICENCES.get(f.name) or f.licence or 'not stated'})" for f in photographs.folders),
        recipe={"samples": arguments.samples, "steps": arguments.steps, "seed": arguments.seed},
        command=command_line("python", sys.argv),
        commit=commit(), iterations=arguments.steps, hours=round((time.monotonic() - start) / 3600, 3),
        machine=machine(World(torch.device("cpu")), len(photographs.pictures)), score=score, sha256="",
    )  # fmt: skip
    save_weights(arguments.weights, {name: tensor.half() for name, tensor in theta.items()}, card)
    print(f"wrote {arguments.weights} and its card")


if __name__ == "__main__":
    main()

"""Take the silent blocks out of a network: those of `unfolded` whose units say nothing on any photograph.

Behind a ReLU a unit that is below zero everywhere adds a constant, which the bias of the block before takes over. The
network gives the same results, to the rounding of float32, in less time; what it says is compared before anything is
written. A stage keeps its first block, and all stages keep as many.

command: python runs/prune.py out/head-long/weights.safetensors --data ../shared/data/train/gb82 --out out/pruned
machine: 1 core of an Intel Xeon, torch 2.13
hours:   0.02
score:   as before, to 0.001 dB; LOG.md, "Three of four blocks were silent"
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mzsr.config import KernelLaw
from mzsr.learning.cards import as_earlier
from mzsr.learning.checkpoint import load_weights, save_weights
from mzsr.learning.networks import Block, Unfolded, build
from mzsr.learning.patches import Pair, draw_pair, step_generator
from mzsr.learning.photographs import load_photographs

BATCHES = 40  # of eight patches, each with its own scale, kernel family and noise
SAME = 1e-5  # by how much results may differ, of [0, 1]


@torch.no_grad()
def silent(network: Unfolded, pairs: Sequence[Pair]) -> set[str]:
    """Return the names of the blocks, of those behind the first of each stage, no unit of which is ever above zero."""
    found = {
        name: block for name, block in network.named_modules() if isinstance(block, Block) and not name.endswith(".0")
    }
    said: set[str] = set()

    def listen(name: str) -> Callable[..., None]:
        return lambda _, __, out: said.add(name) if bool(out.max() > 0) else None

    hooks = [block.first.register_forward_hook(listen(name)) for name, block in found.items()]
    for pair in pairs:
        network(pair.lr, pair.degradation)
    for hook in hooks:
        hook.remove()
    return found.keys() - said


@torch.no_grad()
def without(network: Unfolded, names: set[str]) -> dict[str, torch.Tensor]:
    """Return the parameters of a network without some silent blocks; those before them take over their constants."""
    theta = {name: tensor.clone() for name, tensor in network.named_parameters()}
    for i, stage in enumerate(network.stages):
        prefix, kept = f"stages.{i}.blocks.", 0
        for j in range(len(stage.blocks)):  # pyright: ignore[reportArgumentType]
            own = {name: theta.pop(name) for name in list(theta) if name.startswith(f"{prefix}{j}.")}
            if f"{prefix}{j}" in names:
                theta[f"{prefix}{kept - 1}.second.bias"] += own[f"{prefix}{j}.second.bias"]
                continue
            theta |= {name.replace(f"{prefix}{j}.", f"{prefix}{kept}."): tensor for name, tensor in own.items()}
            kept += 1
    return theta


def main() -> None:
    """Look for silent blocks, and write the network without them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", help="a file, or the name of a model")
    parser.add_argument("--data", type=Path, required=True, help="photographs to look at")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new weights")
    arguments = parser.parse_args()
    network, card = load_weights(arguments.weights)
    if not isinstance(network, Unfolded) or network.signed:
        raise SystemExit(f"{arguments.weights} is {card.network}; blocks fall silent in the unfolded network alone")
    pictures = load_photographs([arguments.data], 96).pictures
    law = KernelLaw(scales=dict.fromkeys(card.scales, 1.0))
    pairs = [draw_pair(pictures, law, 8, 96, step_generator(0, step)) for step in range(BATCHES)]
    names = silent(network, pairs)
    blocks = [len(stage.blocks) - sum(f"stages.{i}." in n for n in names) for i, stage in enumerate(network.stages)]  # pyright: ignore[reportArgumentType]
    if not names or len(set(blocks)) > 1:
        raise SystemExit(f"of {card.network.blocks} blocks a stage {blocks} speak; nothing is taken out")
    smaller = build(shape := card.network.model_copy(update={"blocks": blocks[0]}))
    theta = without(network, names)
    smaller.load_state_dict(theta)
    with torch.no_grad():
        off = max(
            float((this - that).abs().max())
            for pair in pairs
            for this, that in [(net(pair.lr, pair.degradation) for net in (network, smaller))]
        )
    if not off < SAME:
        raise SystemExit(f"results would differ by {off:.1g}; nothing is written")
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "weights.safetensors"
    command = shlex.join(["python", *sys.argv])
    told = {"command": command, "iterations": 0, "hours": 0.0, "earlier": as_earlier(card), "network": shape}
    save_weights(path, theta, card.model_copy(update=told))
    print(f"{card.network.blocks} -> {blocks[0]} blocks a stage, results differ by {off:.1g}; wrote {path}")


if __name__ == "__main__":
    main()

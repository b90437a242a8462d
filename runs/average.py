"""Average the weights of two runs, of which the second went on where the first ended: a little better than either.

The share was chosen on Kodak24 (LOG.md).
Source: averaging over a cyclic schedule, Izmailov et al., "Averaging weights leads to wider optima and better
generalization", UAI 2018.

command: python runs/average.py FIRST.safetensors SECOND.safetensors --share 0.6 --out OUT
machine: any
hours:   0
score:   of the flagship, see runs/train_flagship.sh; 0.01 dB above its last run
"""

import argparse
import sys
from pathlib import Path

from mzsr.commands import command_line
from mzsr.learning.cards import as_earlier
from mzsr.learning.weights import load_weights, save_weights


def main() -> None:
    """Write the mean, with the card of the second, whose runs led to it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights.safetensors")
    arguments = parser.parse_args()
    (one, other), (two, card) = (load_weights(path) for path in (arguments.first, arguments.second))
    before, after = (dict(network.named_parameters()) for network in (one, two))
    if other.network != card.network:
        raise SystemExit(f"{arguments.first} is of {other.network}, {arguments.second} of {card.network}; make it one")
    theta = {name: (1 - arguments.share) * before[name] + arguments.share * tensor for name, tensor in after.items()}
    command = command_line("python", sys.argv)
    told = {"command": command, "iterations": 0, "hours": 0.0, "earlier": as_earlier(card)}
    told |= {"score": {}, "error_law": None, "error_law_estimated": None}  # nobody has measured these weights
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_weights(arguments.out / "weights.safetensors", theta, card.model_copy(update=told))
    print(f"wrote {arguments.out / 'weights.safetensors'} and its card")


if __name__ == "__main__":
    main()

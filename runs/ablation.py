"""Judge every choice of meta-training beyond the paper: short runs that differ in one field, scored alike.

All start from the same weights, see the same tasks where the field allows it, and take as many iterations. Scored on
the first kernels of the DIV2KRK set at x2, kernel known and estimated: PSNR-Y, protocol mzsr, at 0, 1
and 10 steps. Runs are too short to reach anything; they show which way a choice points.

command: python runs/ablation.py --data ../shared/data --start mzsr
machine: 1 core of an Intel Xeon (no AMX, float32), torch 2.13
hours:   0.4
score:   LOG.md, "Ablations of meta-training"
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch

from mzsr.benchmark.cells import Cell, read_set
from mzsr.benchmark.measure import Unit, run
from mzsr.benchmark.methods import parse
from mzsr.benchmark.rows import mean
from mzsr.config import MetaConfig, NetworkConfig
from mzsr.learning.loop import train
from mzsr.learning.metatrain import MetaTraining
from mzsr.learning.parallel import World
from mzsr.learning.weights import card_of
from mzsr.presets import META
from mzsr.settings import load_config

STEPS = [0, 1, 10]
KINDS = ("", ":blind")
HEAD = (
    "| variant | its/s | known 0 | known 1 | known 10 | estimated 0 | estimated 1 | estimated 10 |\n" + "|---" * 8 + "|"
)

BASE = {"optimiser": "adam", "zero_weight": 0.0}
"""What the preset has changed since."""
VARIANTS: dict[str, dict[str, object]] = {
    "base": {},
    "episodes published": {"episodes": "published"},
    "one fixed step size": {"learn_alpha": False, "alpha": 0.01},
    "first order": {"order": "first"},
    "three inner steps": {"steps": 3},
    "weight on no step": {"zero_weight": 1.0},
    "only weights of tails adapt": {"adapt": ("*tail*",)},
    "Muon outside": {"optimiser": "muon"},
    "no average": {"ema": 0.0},
    "vectorised": {"vectorise": True},
    "Gaussians only": {"law.families": {"gaussian": 1.0}},
    "kernels from variance 1": {"law.variance": (1.0, 2.5)},
    "no noise": {"law.noise_share": 0.0},
    "half through JPEG": {"law.jpeg_share": 0.5},
    "no misjudged kernels": {"law.error_share": 0.0},
}
"""What differs from the base; every key is one field of `MetaConfig`."""


def variant(change: dict[str, object], iterations: int, network: NetworkConfig) -> MetaConfig:
    """Return a short configuration of a network that differs from the base in one field."""
    # JSON is YAML, so that a change goes the way of `--set`
    overrides = [f"{key}={json.dumps(value)}" for key, value in (BASE | change).items()]
    config = load_config(META, "flagship", Path("runs/flagship-meta.yaml"), overrides)
    short = {"iterations": iterations, "tasks": 2, "batch": 2, "save_every": iterations, "warmup": 10, "ema": 0.95}
    return config.model_copy(update={"network": network} | short | {key: change[key] for key in change if key == "ema"})


def main() -> None:
    """Train and score every variant, print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/ and bench/")
    parser.add_argument("--start", required=True, help="weights to start from: a file or a name")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--kernels", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    arguments = parser.parse_args()
    world = World(torch.device("cpu"))
    print(f"start {arguments.start}, {arguments.iterations} iterations, {torch.get_num_threads()} threads\n\n{HEAD}")
    folders = [arguments.data / "train" / "gb82"]
    sources = read_set(arguments.data / "bench" / "DIV2K_valid")[0][: arguments.kernels]
    cell = Cell(2, str(arguments.data / "bench" / "kernels"))

    def told(name: str, rate: float, model: str | Path) -> None:
        rows = [row for source in sources for kind in KINDS
                for row in run(Unit(source, cell, parse(f"{model}{kind}", STEPS), "mzsr"))]  # fmt: skip
        cells = [
            f"{mean(row for row in rows if (row.method, row.steps) == (f'{model}{kind}', steps))[0]:.3f}"
            for kind in KINDS
            for steps in STEPS
        ]
        print(f"| {name} | {rate:.2f} | " + " | ".join(cells) + " |", flush=True)

    network = card_of(arguments.start).network
    told("start", 0.0, arguments.start)
    for name in arguments.only:
        config = variant(VARIANTS[name], arguments.iterations, network)
        with tempfile.TemporaryDirectory() as folder:
            outcome = train(MetaTraining, config, folders, Path(folder), world, start_from=arguments.start)
            told(name, outcome.rate, outcome.weights)


if __name__ == "__main__":
    main()

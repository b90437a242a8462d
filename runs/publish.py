"""Put trained weights into the package under a name, with the scores of docs/results/quality.csv on their card.

command: python runs/publish.py out/flagship/weights.safetensors --name mzsr --summary "..."
machine: any
hours:   0
score:   none of its own; run runs/quality.py first with --model out/flagship/weights.safetensors
"""

import argparse
import csv
import statistics
from pathlib import Path

from mzsr.learning.checkpoint import load_weights, save_weights


def means(path: Path) -> dict[tuple[str, str], list[float]]:
    """Return, for every set and kernel, the mean PSNR at 0, 1 and 10 steps with the known kernel."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"].startswith("known")]
    found = {}
    for group, kernel in dict.fromkeys((row["set"], row["kernel"]) for row in rows):
        mine = [row for row in rows if (row["set"], row["kernel"]) == (group, kernel)]
        found[group, kernel] = [
            statistics.mean(float(row["psnr"]) for row in mine if row["method"] == method)
            for method in dict.fromkeys(row["method"] for row in mine)
        ]
    return found


def scores(path: Path) -> dict[str, str]:
    """Return what the card says of them."""
    told = {f"{group} {kernel}": " / ".join(f"{m:.2f}" for m in mean) for (group, kernel), mean in means(path).items()}
    return {"protocol": "mzsr, PSNR in dB at 0 / 1 / 10 steps, kernel known"} | told


def main() -> None:
    """Copy weights and write their card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--summary", required=True)
    parser.add_argument("--quality", type=Path, default=Path("docs/results/quality.csv"))
    arguments = parser.parse_args()
    network, card = load_weights(arguments.weights)
    change = {"name": arguments.name, "summary": arguments.summary, "score": scores(arguments.quality)}
    target = Path("src/mzsr/weights") / f"{arguments.name}.safetensors"
    save_weights(target, dict(network.named_parameters()), card.model_copy(update=change))
    print(f"wrote {target} and its card")


if __name__ == "__main__":
    main()

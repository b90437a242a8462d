"""Put trained weights into the package under a name, or put measured scores on the card of a model that is there.

command: python runs/publish.py mzsr --weights out/flagship/weights.safetensors --summary "..."
         python runs/publish.py mzsr --scores docs/results/flagship-x2.csv
machine: any
hours:   0
score:   none of its own; `mzsr bench quality` measures
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mzsr.atomic import write_atomically
from mzsr.benchmark.rows import Row, mean, read_csv
from mzsr.learning.weights import find_weights, load_weights, read_card, save_weights


def steps_of(rows: Sequence[Row], model: str) -> list[int]:
    """Return the numbers of steps at which a model was measured."""
    return sorted({row.steps for row in rows if row.method == model and row.steps is not None})


def means(rows: Sequence[Row], model: str) -> dict[tuple[str, str], list[float]]:
    """Return, for every set and cell, the mean PSNR of a model with the known kernel, by its numbers of steps."""
    mine = [row for row in rows if row.method == model]
    return {
        group: [
            mean(row for row in mine if (row.set, row.cell, row.steps) == (*group, steps))[0]
            for steps in steps_of(rows, model)
        ]
        for group in dict.fromkeys((row.set, row.cell) for row in mine)
    }


def scores(rows: Sequence[Row], model: str) -> dict[str, str]:
    """Return what the card of a model says of them."""
    told = {" ".join(group): " / ".join(f"{v:.2f}" for v in values) for group, values in means(rows, model).items()}
    steps = " / ".join(map(str, steps_of(rows, model)))
    protocols = {row.protocol for row in rows}
    if len(protocols) != 1:
        raise SystemExit(f"the rows are of protocols {', '.join(sorted(protocols)) or 'none'}; one is required")
    return {"protocol": f"{protocols.pop()}, PSNR in dB at {steps} steps, kernel known"} | told


def main() -> None:
    """Copy weights, or write scores on a card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--summary", default="")
    parser.add_argument("--half", action="store_true", help="keep half precision, which is half of the size")
    parser.add_argument("--method", help="as which it was measured, where that is not its name: mzsr-x4 is mzsr at x4")
    parser.add_argument("--scores", type=Path, nargs="+", default=[], help="CSVs of mzsr bench quality")
    arguments = parser.parse_args()
    if arguments.weights:
        network, card = load_weights(arguments.weights)
        card = card.model_copy(update={"name": arguments.name, "summary": arguments.summary})
        target = Path("src/mzsr/weights") / f"{arguments.name}.safetensors"
        theta = {name: t.half() if arguments.half else t for name, t in network.named_parameters()}
        save_weights(target, theta, card)
        print(f"wrote {target} and its card")
    if arguments.scores:
        path = find_weights(arguments.name).with_suffix(".json")
        rows = [row for file in arguments.scores for row in read_csv(file)]
        card = read_card(path).model_copy(update={"score": scores(rows, arguments.method or arguments.name)})
        write_atomically(path, lambda part: part.write_text(card.model_dump_json(indent=2) + "\n", "utf-8"))
        print(f"wrote scores on {path}")


if __name__ == "__main__":
    main()

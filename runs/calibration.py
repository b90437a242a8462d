"""Measure whether a model's uncertainty map is true: rank, coverage, expected PSNR, on pictures whose truth is known.

For every picture, known or estimated kernel, and clean, noisy or compressed:

    rank       Spearman's correlation between expected and true absolute error of the pixels
    coverage   share of the errors |e| ≤ E|e| ln 10, where 90 % of a Laplace distribution lie
    dB         expected PSNR less the true one, RGB, nothing rounded, nothing cut off

Writes calibration.csv (a row for every picture) and calibration.svg (expected against true error; needs matplotlib).
With --fit nothing of that: the error laws (`uncertainty`) of known and of estimated kernels are measured, and put on
the card of the model. That is for photographs of training, degraded anew, and never for a test set; where several
weights share the work, it is done for each by its own name.

command: python runs/calibration.py --data ../shared/data/bench/BSD100 --data ../shared/data/bench/Kodak24
machine: 1 core of an Intel Xeon with AMX (bfloat16), torch 2.13, the other one busy
hours:   0.25
score:   rank 0.57, coverage 90 %, expected PSNR within 1 dB for 48 %; docs/measured.md for all
"""

import argparse
import itertools
import statistics
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr

from mzsr.atomic import write_atomically
from mzsr.benchmark import cells, methods
from mzsr.benchmark.cells import Case, Cell, Source
from mzsr.benchmark.rows import read_table, write_table
from mzsr.card import Card, ErrorLaw
from mzsr.inference.uncertainty import CENTRAL, error_law, expected_psnr, psnr
from mzsr.inference.upscale import Upscaler
from mzsr.learning.weights import find_weights
from mzsr.shapes import Images, Layers

CONDITIONS = {"clean": {}, "noise 5/255": {"noise": 5 / 255}, "JPEG 80": {"jpeg": 80}}
KERNELS = {"known": (), "estimated": ("blind",)}
RANKED = 20_000  # pixels of a picture, evenly spread: more of them do not move the second digit
AS_IT_IS: ErrorLaw = ((1e-3, 1e-3, 1e-6), (1e3, 1e3, 1e6))  # E|e| = e^s
EDGES = np.geomspace(0.25, 256, 31)  # grey levels, of the bins of fit and plot


class Judged(NamedTuple):
    """One picture under one condition; errors are means in 8-bit grey levels."""

    set: str
    picture: str
    kernel: str
    condition: str
    rank: float
    coverage: float
    true_error: float
    expected_error: float
    true_psnr: float
    expected_psnr: float


Figures = tuple[float, float, float, float, float, float]
"""The numbers of a `Judged`, in its order."""


def judge(result: Images, truth: Images, expected: Images, law: ErrorLaw) -> Figures:
    """Compare expected and true errors of a picture.

    Args:
        result: (1, 3, H, W) in [0, 1].
        truth: the same.
        expected: E|e|, (1, 1, H, W), in 8-bit grey levels.
        law: between E|e| and E e², of the model.
    """
    error = 255 * (result - truth).abs()
    step = -(-expected.numel() // RANKED)
    doubt, true = (values.flatten()[::step].numpy() for values in (expected, error.mean(1)))
    return (
        float(np.asarray(spearmanr(doubt, true))[0]),
        float((error <= CENTRAL * expected).float().mean()),
        float(error.mean()),
        float(expected.mean()),
        psnr(error.square()),
        expected_psnr(expected, law),
    )


def enlarge(expert: Upscaler, case: Case, known: str, steps: int, law: ErrorLaw) -> Layers:
    """Return the result and below it the expected error of a case, (1, 4, H, W), as `mzsr upscale` makes them."""
    d = methods.told(case, KERNELS[known])
    both = expert.enlarge(expert.adapt(case.lr, d, steps).theta, case.lr, d, law=law)
    return torch.cat([both[:, :3].clamp(0, 1), both[:, 3:]], 1)


def summary(rows: Iterable[Judged]) -> str:
    """Return a table in Markdown: a line for each set, kernel and condition, and one for all."""
    lines = [
        "| set | kernel | condition | pictures | rank | coverage | expected − true dB | within 1 dB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = list(rows)
    groups = itertools.groupby(sorted(rows, key=lambda row: row[2:4]), key=lambda row: (row.set, *row[2:4]))
    for name, found in [*((" | ".join(key), list(group)) for key, group in groups), ("all | | ", rows)]:
        off = [row.expected_psnr - row.true_psnr for row in found]
        lines.append(
            f"| {name} | {len(found)} | {statistics.fmean(row.rank for row in found):.2f} "
            f"| {100 * statistics.fmean(row.coverage for row in found):.0f} % | {statistics.fmean(off):+.2f} "
            f"| {100 * statistics.fmean(abs(each) <= 1 for each in off):.0f} % |"
        )
    return "\n".join(lines) + "\n"


def read_rows(path: Path) -> list[Judged]:
    """Return the rows of a calibration.csv."""
    return read_table(path, Judged, "calibrations", "runs/calibration.py")


def fitted(pictures: list[np.ndarray]) -> ErrorLaw:
    """Return the error law by which expected and true errors agree, over all pictures together.

    A mean of e² is decided by a few pictures, and nearly all others are better than it says. So its column is lowered
    until as many pictures have a lower PSNR than expected as have a higher one.

    Args:
        pictures: (4, bins) each, see `binned`, by e^s.
    """
    shares = [each / each[0].sum() for each in pictures]
    count, *sums = np.sum(shares, 0)
    squares = sums[2] / np.maximum(count, 1e-12)
    sums[2] *= statistics.median(each[3].sum() / (each[0] @ squares) for each in shares)
    full = count > 1e-4 * count.sum()  # fewer pixels say nothing
    law: list[tuple[float, float, float]] = []
    for told, true, squared in zip(*(part[full] / count[full] for part in sums), strict=True):
        row = float(f"{told:.4g}"), float(f"{true:.4g}"), float(f"{squared:.4g}")
        # What does not rise tells nothing apart
        if not law or all(new > 1.01 * old for new, old in zip(row, law[-1], strict=True)):
            law.append(row)
    return tuple(law)


def plot(path: Path, sums: dict[tuple[str, str], np.ndarray]) -> None:
    """Draw mean true error over expected error, a line for each kernel and condition.

    Args:
        path: of an SVG.
        sums: kernel and condition → (4, bins), see `binned`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5.0), layout="constrained")
    axes = figure.subplots()
    for (known, condition), (count, expected, true, _) in sums.items():
        full = count > 1e-4 * count.sum()  # fewer pixels say nothing
        style = "-" if known == "known" else "--"
        colour = f"C{list(CONDITIONS).index(condition)}"
        axes.loglog(
            (expected / np.maximum(count, 1))[full], (true / np.maximum(count, 1))[full], style, color=colour,
            marker="o", markersize=3, label=f"{condition}, kernel {known}",
        )  # fmt: skip
    axes.axline((1, 1), (10, 10), color="0.6", linewidth=1, zorder=0)
    axes.set(xlabel="expected absolute error, grey levels", ylabel="mean true absolute error, grey levels")
    axes.legend(frameon=False)
    write_atomically(path, lambda part: figure.savefig(part, format="svg"))


def binned(expected: Images, error: Images) -> np.ndarray:
    """Return (4, bins), by expected error: how many pixels, sums of theirs, of |e| and of e², all means of colours.

    Args:
        expected: (1, 1, H, W), in 8-bit grey levels.
        error: |e|, (1, 3, H, W), likewise.
    """
    values, true, squared = (each.flatten().numpy() for each in (expected, error.mean(1), error.square().mean(1)))
    place = np.searchsorted(EDGES, values)
    return np.stack([np.bincount(place, each, minlength=len(EDGES) + 1) for each in (None, values, true, squared)])


def read_set(folder: Path, every: int) -> list[Source]:
    """Return the pictures of a folder, and say which of them cannot be read."""
    sources, problems = cells.read_set(folder, every)
    for problem in problems:
        print(problem)
    return sources


def does_the_work(model: str, case: Case) -> str:
    """Return which of a model's weights enlarge a case: those for JPEG or a scale are asked for by the model's name."""
    family = model.removesuffix("-jpeg").removesuffix(f"-x{case.degradation.scale}")
    return _upscaler(family).at(case.degradation.scale, case.degradation.jpeg).model


@lru_cache
def _upscaler(model: str) -> Upscaler:
    return Upscaler(model, device="cpu")


def main() -> None:
    """Measure every picture under every condition, and write what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", "--model", default="mzsr")
    parser.add_argument("--data", type=Path, action="append", required=True, help="folder of ground truth")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture")
    parser.add_argument("--kernel", default="gaussians", help="as of `mzsr bench quality`")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="number of the first picture; kernels are drawn by it")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/calibration"))
    parser.add_argument("--fit", action="store_true", help="write the error laws to the card of the model instead")
    arguments = parser.parse_args()
    upscaler = Upscaler(arguments.model, device="cpu")
    rows: list[Judged] = []
    pictures: dict[str, list[np.ndarray]] = {known: [] for known in KERNELS}
    sums = {key: np.zeros((4, len(EDGES) + 1)) for key in itertools.product(KERNELS, CONDITIONS)}
    for source in itertools.chain.from_iterable(read_set(folder, arguments.every) for folder in arguments.data):
        source = replace(source, index=source.index + arguments.first)
        for known, condition in sums:
            case = cells.make(source, Cell(arguments.scale, arguments.kernel, **CONDITIONS[condition]))
            expert = upscaler.at(arguments.scale, case.degradation.jpeg)
            if arguments.fit and does_the_work(arguments.model, case) != arguments.model:
                continue  # other weights do that work, and have a card of their own
            law = AS_IT_IS if arguments.fit else error_law(expert.card, estimated=known == "estimated")
            assert law is not None
            both = enlarge(expert, case, known, arguments.steps, law)
            result, expected = both[:, :3], both[:, 3:]
            row = Judged(
                source.set, source.path.name, known, condition,
                *judge(result, case.truth, expected, law),
            )  # fmt: skip
            rows.append(row)
            pictures[known].append(binned(expected, 255 * (result - case.truth).abs()))
            sums[known, condition] += pictures[known][-1]
            off = row.expected_psnr - row.true_psnr
            print(f"{row.picture}, {known}, {condition}: {row.rank:.2f}, {100 * row.coverage:.0f} %, {off:+.2f} dB")
    if not rows:
        raise SystemExit(
            "nothing was measured; name a folder of pictures, and to fit the very weights that do the work"
        )
    if arguments.fit:
        laws = {"error_law": fitted(pictures["known"]), "error_law_estimated": fitted(pictures["estimated"])}
        card = Card.parse(upscaler.card.model_dump() | laws, "the card with these laws")  # or nothing could read it
        path = find_weights(arguments.model).with_suffix(".json")
        write_atomically(path, lambda part: part.write_text(card.model_dump_json(indent=2) + "\n", "utf-8"))
        print("\n".join(f"{path}: {name} {law}" for name, law in laws.items()))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_table(arguments.out / "calibration.csv", Judged._fields, rows)
    plot(arguments.out / "calibration.svg", sums)
    print(summary(rows), end="")


if __name__ == "__main__":
    main()

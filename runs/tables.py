"""Write the tables of README.md and docs/measured.md from the CSVs in docs/results; a test holds that they agree.

docs/results/speed.svg is drawn as well.

Between `<!-- table NAME -->` and `<!-- end -->` stands what this prints, and nothing else does.

command: python runs/tables.py
machine: any
hours:   0
score:   none of its own; `bash runs/bench.sh DATA` measures
"""

import re
import statistics
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import calibration
from publish import means

from mzsr.benchmark import plots, tables, timings
from mzsr.benchmark.published import published
from mzsr.benchmark.rows import Row, read_csv
from mzsr.inference.request import MODES

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
DEGRADED = ("jpeg-80", "jpeg-60", "noise-5", "noise-10")
SUMMARY = ("bicubic", "ZSSR, published", "MZSR, 10 steps, published", "mzsr, 0 steps", "mzsr, 1 step", "mzsr, 10 steps")
PAPER = ("mzsr-x2-direct", "mzsr-x2-bicubic", "mzsr-x4-direct", "mzsr-multiscale")


read = cache(read_csv)


def rows_of(*names: str) -> list[Row]:
    """Return the rows of some CSVs, one after another."""
    return [row for name in names for row in read(RESULTS / f"{name}.csv")]


def quality_table() -> str:
    """Return the scores of the flagship, with what is published below each set."""
    return tables.quality(rows_of("flagship-x2", "flagship-x4", "edsr-x2", "edsr-x4"))


def summary_table() -> str:
    """Return the same in few lines: PSNR of the best that is published, of bicubic and of `mzsr`."""
    head, rule, *rows = quality_table().splitlines()
    chosen = [row for row in rows if row.split(" | ")[1].replace("*", "") in SUMMARY]
    return "\n".join([head, rule, *(re.sub(r"/0\.\d+", "", row) for row in chosen)])


def adaptation_table() -> str:
    """Return what steps do under foreign kernels."""
    return tables.adaptation(rows_of("adaptation-x2", "adaptation-x4"))


def blind_table() -> str:
    """Return what estimating costs the flagship; the data step alone is in the CSV."""
    return tables.estimation([row for row in rows_of("gaussians", "blind") if row.method.startswith("mzsr")])


def harm_table() -> str:
    """Return whether any picture is worse than bicubic enlargement would have left it; with one step."""
    others = [row for row in rows_of("blind") if row.kernel != "gaussians"]  # which are a part of the first
    rows = [*rows_of("gaussians"), *others, *rows_of("adaptation-x2", "adaptation-x4")]
    return tables.harm([row for row in rows if row.method == "bicubic" or (row.method, row.steps) == ("mzsr:blind", 1)])


def degraded_table() -> str:
    """Return what it is worth to know of noise and JPEG."""
    return tables.quality(rows_of(*(f"degraded-{condition}" for condition in DEGRADED)))


def modes_table() -> str:
    """Return what each mode gains over the fast one, and its time, which is that of a picture in the mean."""
    rows = rows_of("modes")
    chosen = {
        mode: [row for row in rows if (row.method, row.steps) == ("mzsr:x8" if x8 else "mzsr", steps)]
        for mode, (steps, x8) in MODES.items()
    }
    cells = list(dict.fromkeys((row.set, row.cell) for row in rows))
    lines = [f"| mode | {' | '.join(' '.join(cell) for cell in cells)} | seconds |", "|---" * (len(cells) + 2) + "|"]
    fast = means(chosen["fast"], "mzsr")
    for mode, mine in chosen.items():
        found = means(mine, mine[0].method)
        gains = (f"{found[cell][0]:.2f} ({found[cell][0] - fast[cell][0]:+.2f})" for cell in cells)
        lines.append(f"| {mode} | {' | '.join(gains)} | {_seconds(mine):.2f} |")
    return "\n".join(lines)


def _seconds(rows: Sequence[Row]) -> float:
    """Return the mean over the pictures of the median over the cells, which forgets what else the machine did."""
    taken: dict[str, list[float]] = {}
    for row in rows:
        taken.setdefault(row.image, []).append(row.seconds)
    return statistics.fmean(statistics.median(seconds) for seconds in taken.values())


def calibration_table() -> str:
    """Return how true the uncertainty map is."""
    return calibration.summary(calibration.read_rows(RESULTS / "calibration.csv")).rstrip()


def zssr_table() -> str:
    """Return ZSSR beside what is published of it."""
    return tables.quality(rows_of("zssr"))


def speed_table() -> str:
    """Return seconds and ratios."""
    return "\n".join(timings.table(timings.read_timings(RESULTS / "speed.csv")))


def paper_table() -> str:
    """Return the scores of the paper's models and how far they are from what is published."""
    lines = ["| model | set | cell | 0 steps | 1 step | 10 steps | published 1 / 10 | gap 1 / 10 |", "|---" * 8 + "|"]
    rows = rows_of("paper-x2", "paper-x4")
    for model in (name + option for name in PAPER for option in ("", ":bp")):
        for (group, cell), found in means(rows, model).items():
            known = list(_published(model, group, cell))
            scores = " | ".join(f"{mean:.2f}" for mean in found)
            told = " / ".join(f"{mean:.2f}" for mean in known)
            gap = " / ".join(f"{ours - theirs:+.2f}" for ours, theirs in zip(found[1:], known, strict=False))
            lines.append(f"| {model} | {group} | {cell} | {scores} | {told} | {gap} |")
    return "\n".join(lines)


def losses_table() -> str:
    """Return what each loss gives, and beside it what it is worth against L1 with the same seed: mean ± deviation."""
    scores: dict[str, dict[tuple[str, str], dict[str, float]]] = {}  # loss → set, scale → seed → PSNR
    rows = rows_of(*sorted(path.stem for path in RESULTS.glob("losses-*.csv")))
    for method in dict.fromkeys(row.method for row in rows):
        *_, run, loss, _ = Path(method).parts  # .../x2-SEED/LOSS/weights.safetensors, as runs/train_udl.sh has it
        for column, (value,) in means(rows, method).items():
            scores.setdefault(loss, {}).setdefault(column, {})[run] = value
    columns = list(scores["l1"])
    lines = [
        f"| loss | seeds | {' | '.join(' '.join(column) for column in columns)} |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for loss, found in scores.items():
        cells = []
        for column in columns:
            gains = [value - scores["l1"][column][run] for run, value in found[column].items()]
            spread = f" ± {statistics.stdev(gains):.2f}" if len(gains) > 1 else ""
            gain = "" if loss == "l1" else f" ({statistics.fmean(gains):+.2f}{spread})"
            cells.append(f"{statistics.fmean(found[column].values()):.2f}{gain}")
        lines.append(f"| {loss} | {len(found[columns[0]])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _published(model: str, group: str, cell: str) -> Iterable[float]:
    """Yield what is published of a model with one and, but for the multi-scale one, ten steps, dB."""
    several = model.startswith("mzsr-multiscale")
    for method in ("MZSR multi-scale, 1 step",) if several else ("MZSR, 1 step", "MZSR, 10 steps"):
        for n in published():
            if (n.set, n.cell, n.method) == (group, cell, method):
                yield n.psnr


TABLES = {
    "summary": summary_table,
    "quality": quality_table,
    "paper": paper_table,
    "adaptation": adaptation_table,
    "blind": blind_table,
    "harm": harm_table,
    "degraded": degraded_table,
    "modes": modes_table,
    "calibration": calibration_table,
    "losses": losses_table,
    "zssr": zssr_table,
    "speed": speed_table,
}
MARKED = re.compile(r"(?<=<!-- table )(\w+)( -->\n).*?(?=<!-- end -->\n)", re.DOTALL)
DOCUMENTS = ROOT / "README.md", ROOT / "docs" / "measured.md"


def filled(text: str) -> str:
    """Return a document with every table made anew."""
    return MARKED.sub(lambda found: f"{found[1]}{found[2]}{TABLES[found[1]]()}\n", text)


def main() -> None:
    """Put the tables into the documents, and draw what speed costs."""
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text("utf-8")), "utf-8")
    (RESULTS / "speed.svg").write_text(plots.cost(timings.read_timings(RESULTS / "speed.csv")), "utf-8")


if __name__ == "__main__":
    main()

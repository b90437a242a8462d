"""Write the tables of the README from the CSVs in docs/results; a test holds that they agree.

Between `<!-- table NAME -->` and `<!-- end -->` in README.md stands what this prints, and nothing else does.

command: python runs/tables.py
machine: any
hours:   0
score:   none of its own; runs/quality.py and runs/adaptation.py measure
"""

import csv
from pathlib import Path

import adaptation
import quality
from publish import means

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
PAPER = ("mzsr-x2-direct", "mzsr-x2-bicubic", "mzsr-x4-direct", "mzsr-multiscale")
PUBLISHED = {
    "Set5": {"x2 g0.2 d": (33.14, 33.74), "x2 g2.0 d": (35.20, 36.05), "x2 g_ani d": (34.05, 34.78),
             "x2 g1.3 b": (35.18, 36.64), "x4 g2.0 d": (30.20, 30.50)},
    "BSD100": {"x2 g0.2 d": (28.74, 29.03), "x2 g2.0 d": (30.58, 31.09), "x2 g_ani d": (28.82, 29.54),
               "x2 g1.3 b": (29.02, 31.25), "x4 g2.0 d": (26.73, 26.89)},
}  # fmt: skip
"""MZSR with one and with ten steps, PSNR in dB; tables 1 and 3 of the paper (multi-scale at x4: 29.85 with one)."""


def quality_table() -> str:
    """Return the scores of the flagship, with what is published of MZSR below each set."""
    with (RESULTS / "quality.csv").open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, object]] = [dict(row) for row in csv.DictReader(file)]
    lines = quality.table(rows).splitlines()
    cells = list(dict.fromkeys(str(row["kernel"]) for row in rows))
    for group, published in PUBLISHED.items():
        for index, steps in enumerate(("1 step", "10 steps")):
            numbers = [f"{published[cell][index]:.2f}" if cell in published else "" for cell in cells]
            lines.append(f"| {group}, all | MZSR, {steps}, *published* | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


def paper_table() -> str:
    """Return the scores of the paper's models and how far they are from what is published."""
    lines = ["| model | set | cell | 0 steps | 1 step | 10 steps | published 1 / 10 | gap 1 / 10 |", "|---" * 8 + "|"]
    for model in PAPER:
        for (group, cell), found in means(RESULTS / f"{model}.csv").items():
            known = PUBLISHED.get(group, {}).get(cell, ())  # none for every tenth picture of a set
            scores = " | ".join(f"{mean:.2f}" for mean in found)
            told = " / ".join(f"{mean:.2f}" for mean in known)
            gap = " / ".join(f"{ours - theirs:+.2f}" for ours, theirs in zip(found[1:], known, strict=False))
            lines.append(f"| {model} | {group} | {cell} | {scores} | {told} | {gap} |")
    return "\n".join(lines)


def adaptation_table() -> str:
    """Return what steps do under foreign kernels."""
    return "\n".join([adaptation.HEAD, *adaptation.lines(adaptation.read(RESULTS / "adaptation.csv"))])


TABLES = {"quality": quality_table, "paper": paper_table, "adaptation": adaptation_table}


def filled(text: str) -> str:
    """Return a document with every table made anew."""
    for name, make in TABLES.items():
        before, start, rest = text.partition(f"<!-- table {name} -->\n")
        _, end, after = rest.partition("<!-- end -->\n")
        if not end:
            raise ValueError(f"README.md has no place for the table {name}; two comments around it are required")
        text = before + start + make() + "\n" + end + after
    return text


def main() -> None:
    """Put the tables into README.md."""
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()

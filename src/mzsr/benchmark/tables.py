"""Rows → tables in Markdown: means beside what is published, what estimating costs, what steps gain, and a check.

Documents, the terminal and the HTML page show these and nothing else. All numbers of a table share one protocol.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mzsr.benchmark import published
from mzsr.benchmark.methods import with_option
from mzsr.benchmark.rows import Row, mean

HARM = 0.1  # dB; a picture that loses more by adaptation is counted

Groups = dict[tuple[str, str, str], list[Row]]
"""Set, cell and method with its steps → rows."""


def quality(rows: Sequence[Row]) -> str:
    """Return mean PSNR (dB) / SSIM: a row for every set and method, a column for every cell."""
    cells, groups = list(dict.fromkeys(row.cell for row in rows)), _groups(rows)
    lines = _head(["set", "method", *cells])
    for name in dict.fromkeys(row.set for row in rows):
        mine = [row for row in rows if row.set == name]
        whole = {cell: len({row.image for row in mine if row.cell == cell}) for cell in cells}
        for label in dict.fromkeys(row.label for row in mine):
            found = (_mean(groups.get((name, cell, label), []), whole[cell]) for cell in cells)
            lines.append(_line([name, label, *found]))
        lines += _published(name, cells) if {row.protocol for row in mine} == {published.PROTOCOL} else []
    return "\n".join(lines)


def estimation(rows: Sequence[Row]) -> str:
    """Return what estimating kernel and noise costs: for every method `X` that also ran as `X:blind`.

    The loss of a picture is PSNR with the known minus PSNR with the estimated degradation; `90 %` is the loss that one
    picture in ten exceeds.
    """
    lines = _head(
        ["set", "cell", "method", "known dB", "median loss", "90 %", "worst", "re-projection known / blind, dB"]
    )
    groups = _groups(rows)
    for name, cell, label in groups:
        known, blind = (_by_image(groups, name, cell, one) for one in (label, _variant(label, "blind")))
        shared = [image for image in known if image in blind and known[image].psnr < math.inf]
        if not shared:
            continue
        losses = [known[image].psnr - blind[image].psnr for image in shared]
        worst = max(shared, key=lambda image: known[image].psnr - blind[image].psnr)
        agreement = [statistics.median(side[image].reprojection for image in shared) for side in (known, blind)]
        lines.append(
            _line([
                name, cell, label, f"{statistics.fmean(known[image].psnr for image in shared):.2f}",
                f"{statistics.median(losses):.2f}", f"{np.quantile(losses, 0.9):.2f}", f"{max(losses):.2f} ({worst})",
                f"{agreement[0]:.1f} / {agreement[1]:.1f}",
            ])
        )  # fmt: skip
    return "\n".join(lines)


def harm(rows: Sequence[Row]) -> str:
    """Return what blind methods gain over bicubic, for a tool may do no harm: of every cell that has both."""
    lines = _head(["set", "method", "bicubic dB", "mean gain", "10 %", "worst", "pictures that lose"])
    groups = _groups(rows)
    for name, cell, label in groups:
        if ":blind" not in label:
            continue
        before, after = (_by_image(groups, name, cell, one) for one in ("bicubic", label))
        both = [image for image in after if image in before and before[image].psnr < math.inf]
        gains = {image: after[image].psnr - before[image].psnr for image in both}
        if gains:
            worst = min(gains, key=lambda image: gains[image])
            lines.append(
                _line([
                    f"{name}, {cell}", label, f"{statistics.fmean(before[image].psnr for image in gains):.2f}",
                    f"{statistics.fmean(gains.values()):+.2f}", f"{np.quantile(list(gains.values()), 0.1):+.2f}",
                    f"{gains[worst]:+.2f} ({worst})", f"{sum(gain < 0 for gain in gains.values())} of {len(gains)}",
                ])
            )  # fmt: skip
    return "\n".join(lines)


class Gain(NamedTuple):
    """What steps do to a set of pictures, in dB: mean PSNR, mean and worst change against 0 steps, and who loses."""

    mean: float
    gain: float
    worst: float
    worst_image: str
    harmed: int
    images: int


def gain(before: Iterable[Row], after: Iterable[Row]) -> Gain | None:
    """Compare every picture with itself at 0 steps; None where there is none that has both."""
    start = {row.image: row.psnr for row in before}
    end = {row.image: row.psnr for row in after}
    # Rows have four decimals; without rounding, a loss of exactly 0.1 dB would now count and now not
    changes = {i: round(end[i] - start[i], 4) for i in start if i in end and start[i] < math.inf}
    if not changes:
        return None
    worst = min(changes, key=lambda image: changes[image])
    harmed = sum(change < -HARM for change in changes.values())
    kept = statistics.fmean(end[image] for image in changes)
    return Gain(kept, statistics.fmean(changes.values()), changes[worst], worst, harmed, len(changes))


def adaptation(rows: Sequence[Row]) -> str:
    """Return what steps of adaptation gain over none, for every method that has them."""
    lines = _head(["set", "cell", "method", "mean dB", "mean gain", "worst change", f"lose over {HARM} dB"])
    stepped = [row for row in rows if row.steps is not None]
    for name, cell, method in dict.fromkeys((row.set, row.cell, row.method) for row in stepped):
        mine = [row for row in stepped if (row.set, row.cell, row.method) == (name, cell, method)]
        before = [row for row in mine if row.steps == 0]
        for steps in dict.fromkeys(row.steps for row in mine):
            after = [row for row in mine if row.steps == steps]
            told = ["", "", ""]
            if steps and (found := gain(before, after)) is not None:
                told = [f"{found.gain:+.3f}", f"{found.worst:+.3f} ({found.worst_image})",
                        f"{found.harmed} of {found.images}"]  # fmt: skip
            lines.append(_line([name, cell, after[0].label, f"{mean(after)[0]:.2f}", *told]))
    return "\n".join(lines)


def check(rows: Sequence[Row]) -> tuple[str, bool | None]:
    """Compare the bicubic baseline with what is published; say where nothing is.

    Returns:
        A table, and whether every measured set and cell of which something is published agrees; None if none is.
    """
    lines = _head(["set", "cell", "measured", "published", "agrees"])
    known = {(n.set, n.cell): n for n in published.published() if n.method == published.BICUBIC}
    good = []
    for name, cell in dict.fromkeys((row.set, row.cell) for row in rows):
        psnr, ssim = mean(row for row in rows if (row.set, row.cell) == (name, cell))
        number = known.get((name, cell))
        if number is None:
            lines.append(_line([name, cell, f"{psnr:.3f}/{ssim:.5f}", "", "nothing is published"]))
            continue
        near = abs(psnr - number.psnr) <= published.PSNR_DIGITS + 5e-3  # of rounding
        good.append(near and abs(ssim - number.ssim) <= published.SSIM_DIGITS + 5e-5)
        measured, printed = f"{psnr:.3f}/{ssim:.5f}", f"{number.psnr:.2f}/{number.ssim:.4f}"
        lines.append(_line([name, cell, measured, printed, "yes" if good[-1] else "no"]))
    return "\n".join(lines), all(good) if good else None


def worst(rows: Sequence[Row], label: str, count: int) -> list[Row]:
    """Return the rows of a method that lie furthest below the mean of their cell, one for each picture."""
    mine = [row for row in rows if row.label == label]
    means = {group: mean(row for row in mine if (row.set, row.cell) == group)[0]
             for group in {(row.set, row.cell) for row in mine}}  # fmt: skip
    lowest: dict[tuple[str, str], Row] = {}
    for row in sorted(mine, key=lambda row: row.psnr - means[row.set, row.cell]):
        lowest.setdefault((row.set, row.image), row)
    return list(lowest.values())[:count]


def _mean(rows: Sequence[Row], whole: int) -> str:
    """Return PSNR/SSIM, and how many of the pictures they are the mean of where some are missing."""
    if not rows:
        return ""
    psnr, ssim = mean(rows)
    return f"{psnr:.2f}/{ssim:.4f}" + (f" ({len(rows)} of {whole})" if len(rows) < whole else "")


def _published(name: str, cells: Sequence[str]) -> list[str]:
    """Return the published rows of a set that have a number in any of the cells; of the whole set, always."""
    plain = name.partition("/")[0]
    mine = [number for number in published.published() if number.set == plain]
    lines = []
    for method in dict.fromkeys(number.method for number in mine):
        found = {n.cell: f"{n.psnr:.2f}/{n.ssim:.4f}" for n in mine if n.method == method}
        if any(cell in found for cell in cells):
            whole = plain if plain == name else f"{plain}, all"
            lines.append(_line([whole, f"{method}, *published*", *(found.get(cell, "") for cell in cells)]))
    return lines


def _groups(rows: Iterable[Row]) -> Groups:
    groups: Groups = {}
    for row in rows:
        groups.setdefault((row.set, row.cell, row.label), []).append(row)
    return groups


def _by_image(groups: Groups, name: str, cell: str, label: str) -> dict[str, Row]:
    return {row.image: row for row in groups.get((name, cell, label), [])}


def _variant(label: str, option: str) -> str:
    """Return the label of a method with one more option: `mzsr:x8, 1 step` → `mzsr:blind:x8, 1 step`."""
    method, comma, rest = label.partition(",")
    return f"{with_option(method, option)}{comma}{rest}"


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|" + "---|" * len(names)]


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|") for value in values) + " |"

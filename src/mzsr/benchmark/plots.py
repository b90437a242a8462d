"""ROWS → PLOTS: quality against steps and seconds, gains picture by picture, cost against size; each one SVG.

A plot is a grid of panels, one for each set and cell, at most COLUMNS beside each other, each with its legend below
and its own vertical scale. Lines, points and bars are groups whose id is `mark:` and what they are, in words; letters
are text. matplotlib is imported when something is drawn (InputError if it is missing), and none of it is left changed.
"""

import io
import math
import re
import statistics
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar  # Any: the classes of matplotlib, which is imported late

from mzsr.benchmark.rows import Row, mean
from mzsr.benchmark.timings import STAGES, Timing
from mzsr.errors import InputError
from mzsr.pages import clean

COLUMNS = 3
# 3:1 or more against the light page and the dark one, and far apart for colour-blind eyes too
COLOURS = ("#0072b2", "#d55e00", "#2da587", "#a578ff", "#b42d78", "#870fff", "#875a3c")
MARKERS, DASHES = "osD^vP*X", ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
LEAST_SPAN = 0.1  # dB: no panel of gains spans less, so that what nobody can see does not look like a result
# CSS pixels: three panels fit a laptop, one fits a phone
PANEL, LEFT, ACROSS, ABOVE, TALL, BELOW, LINE = 350, 50, 286, 60, 190, 52, 18

Item = TypeVar("Item")
Point = tuple[Row, float, float]  # mean seconds, mean PSNR
Style = dict[str, Any]


class _Panel(NamedTuple):
    set: str
    title: str
    up: str  # what the vertical axis shows
    along: str  # what the horizontal axis shows
    legend: Sequence[tuple[str, Style | None]]
    draw: Callable[[Any], None]  # into these axes


def quality_over_steps(rows: list[Row]) -> str:
    """Plot what adaptation gains: mean PSNR less mean PSNR at the fewest steps, a line for each method.

    What is gained is small beside what tells methods apart, so the PSNR that a line starts from is in the legend, where
    the methods without a line are too. A line is the mean over the pictures measured at all of its steps. Returns SVG,
    or '' where no method was measured at two numbers of steps.
    """
    styles, panels = _styles(row.method for row in rows), []
    ticks = sorted({row.steps for row in rows if row.steps is not None})
    for name, title, found in _cells(rows):
        curves = {method: means for method, means in _means(found).items() if len(means) > 1}
        starts, legend = {min(means) for means in curves.values()}, []
        for method, means in curves.items():
            first, *_, last = means
            end = f"{_signed(means[last] - means[first])} at {last}"
            legend.append((f"{_short(method, 22)}: {means[first]:.2f} dB, {end}", styles[method]))
        for label, others in _by((row.label for row in found), found).items():
            if others[0].method not in curves:
                legend.append((f"{_short(label, 30)}: {mean(others)[0]:.2f} dB", None))
        start = f"{min(starts)} step{'s' * (starts != {1})}" if len(starts) == 1 else "the fewest steps"
        if curves:
            draw = partial(_draw_steps, title, curves, styles, ticks)
            panels.append(_Panel(name, title, f"gain over {start}, dB", "steps, evenly spaced", legend, draw))
    return _svg(panels)


def quality_over_seconds(rows: list[Row]) -> str:
    """Plot mean PSNR over mean seconds, a point for each method and number of steps; those without times are named.

    Returns SVG, or '' where nothing was timed.
    """
    styles, panels = _styles(row.method for row in rows), []
    timed = [row for row in rows if 0 < row.seconds < math.inf]  # not where it is NaN
    decades = [math.log10(row.seconds) for row in timed]
    for name, title, found in _cells(timed):
        groups = _by((row.label for row in found), found).values()
        points = [(group[0], statistics.fmean(row.seconds for row in group), mean(group)[0]) for group in groups]
        legend = [(_short(method), styles[method]) for method in dict.fromkeys(row.method for row in found)]
        limits = (10.0 ** math.floor(min(decades) - 0.05), 10.0 ** math.ceil(max(decades) + 0.05))
        draw = partial(_draw_seconds, title, points, styles, limits)
        panels.append(_Panel(name, title, "PSNR, dB; beside the points: steps", "seconds per picture", legend, draw))
    without = dict.fromkeys(_short(row.label) for row in rows if not 0 < row.seconds < math.inf)
    return _svg(panels, f"Not shown where there is no time: {'; '.join(without)}." if without else "")


def gains(rows: list[Row], label: str, baseline_label: str) -> str:
    """Plot what one method gains over another, both named by their `Row.label`: a bar for each picture, best to worst.

    Returns SVG, or '' where no picture was measured with both.
    """
    panels = []
    for name, title, found in _cells(rows):
        one, other = ({row.image: row.psnr for row in found if row.label == asked} for asked in (label, baseline_label))
        bars = sorted(((one[image] - other[image], image) for image in one if image in other), reverse=True)
        if bars:
            values = [gain for gain, _ in bars]
            lose = sum(round(gain, 3) < 0 for gain in values)
            words = f"mean {_signed(statistics.fmean(values))} dB; {lose} of {len(bars)} lose"
            legend = [(words, None), (f"worst {_signed(values[-1])} dB, {_short(bars[-1][1])}", None)]
            draw = partial(_draw_gains, title, bars)
            panels.append(_Panel(name, title, "gain, dB", "pictures, best to worst", legend, draw))
    return _svg(panels)


def cost(timings: Sequence[Timing]) -> str:
    """Plot seconds and memory over the side of the output, a line for each network, and stages of the first one.

    Returns SVG, or '' where nothing was timed.
    """
    first = [timing for timing in timings if timing.network == timings[0].network]
    panels = []
    for title, up, points in (
        ("Seconds", "seconds, all stages", [(t.network, t.size, t.total) for t in timings]),
        ("Memory", "MiB above the network's own", [(t.network, t.size, t.peak_memory_mb) for t in timings]),
        (
            f"Stages of {_short(timings[0].network)}" if timings else "", "seconds",
            [(stage, t.size, getattr(t, stage)) for stage in STAGES for t in first],
        ),
    ):  # fmt: skip
        styles = _styles(name for name, *_ in points)
        known = [(name, size, float(value)) for name, size, value in points if value]
        lines = _by((name for name, *_ in known), ((size, value) for _, size, value in known))
        legend = [(_short(name), styles[name]) for name in lines]
        if legend:
            panels.append(
                _Panel("", title, up, "side of the output, pixels", legend, partial(_draw_cost, lines, styles))
            )
    return _svg(panels)


def _draw_cost(lines: dict[str, list[tuple[int, float]]], styles: dict[str, Style], axes: Any):
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    # Matplotlib's own would be TeX, which an SVG with text shows as it is written
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "25" else "")
    for network, points in lines.items():
        (line,) = axes.plot(*zip(*points, strict=True), **styles[network])
        line.set_gid(_short(f"mark:{network}: " + ", ".join(f"{value:.3g} at {side}" for side, value in points), 200))


def _draw_steps(title: str, curves: dict[str, dict[int, float]], styles: dict[str, Style], ticks: list[int], axes: Any):
    axes.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
    values = []
    for method, means in curves.items():
        heights = [psnr - means[min(means)] for psnr in means.values()]
        (line,) = axes.plot([ticks.index(steps) for steps in means], heights, **styles[method])
        line.set_gid(_short(f"mark:{title}, {method}: {', '.join(_signed(height) for height in heights[1:])} dB", 200))
        values += heights
    _span(axes, values)


def _draw_seconds(title: str, points: list[Point], styles: dict[str, Style], limits: tuple[float, float], axes: Any):
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(y=0.12)
    for method, group in _by((point[0].method for point in points), points).items():
        group.sort(key=lambda point: -1 if point[0].steps is None else point[0].steps)
        axes.plot([point[1] for point in group], [point[2] for point in group], **styles[method] | {"marker": ""})
        up = -12 if styles[method]["markerfacecolor"] == "none" else 3  # a variant is often near: away from its numbers
        ends = {group[0][0].steps: (-5, "right"), group[-1][0].steps: (5, "left"), None: None}
        for row, seconds, psnr in group:
            (point,) = axes.plot(seconds, psnr, **styles[method] | {"linestyle": ""})
            point.set_gid(_short(f"mark:{title}, {row.label}: {psnr:.2f} dB, {seconds:.3g} s", 200))
            if end := ends.get(row.steps):  # those between would stand on each other
                axes.annotate(str(row.steps), (seconds, psnr), (end[0], up), textcoords="offset points", ha=end[1])


def _draw_gains(title: str, bars: list[tuple[float, str]], axes: Any):
    axes.set_xticks([])
    for place, (gain, image) in enumerate(bars):
        (bar,) = axes.bar(place, gain, 0.8, color=COLOURS[gain < 0])
        bar.set_gid(_short(f"mark:{title}, {image}: {_signed(gain)} dB", 200))
    few = max(0, 12 - len(bars)) / 2  # so that the bars of five pictures are no walls
    axes.set_xlim(-0.6 - few, len(bars) - 0.4 + few)
    _span(axes, [gain for gain, _ in bars])


def _span(axes: Any, values: list[float]) -> None:
    low, high = min(0.0, *values), max(0.0, *values)
    more = max(0.08 * (high - low), (LEAST_SPAN - (high - low)) / 2)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylim(low - more, high + more)
    axes.yaxis.set_major_formatter(lambda gain, _: re.sub("^.0$", "0", f"{round(gain, 6):+g}").replace("-", "−"))


def _cells(rows: list[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """Yield set, title and rows of each panel, without pictures that came out exactly, for which no axis has room."""
    for name in dict.fromkeys(row.set for row in rows):
        for cell in dict.fromkeys(row.cell for row in rows):
            if found := [row for row in rows if (row.set, row.cell) == (name, cell) and math.isfinite(row.psnr)]:
                yield name, f"{name}, {cell}", found


def _means(rows: list[Row]) -> dict[str, dict[int, float]]:
    """Return method → steps, ascending → mean PSNR over the pictures that were measured at each of them."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for row in rows:
        if row.steps is not None:
            found.setdefault(row.method, {}).setdefault(row.steps, {})[row.image] = row.psnr
    means = {}
    for method, scores in found.items():
        if common := set.intersection(*map(set, scores.values())):
            means[method] = {at: statistics.fmean(map(scores[at].__getitem__, common)) for at in sorted(scores)}
    return means


def _styles(names: Iterable[str]) -> dict[str, Style]:
    """Give each method colour and marker; its variants, as in `mzsr:blind`, hollow markers and dashes."""
    methods = dict.fromkeys(names)
    styles = {}
    for place, variants in enumerate(_by((method.partition(":")[0] for method in methods), methods).values()):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        for number, method in enumerate(variants):
            face, dash = "none" if number else colour, DASHES[number % len(DASHES)]
            styles[method] = {"color": colour, "marker": marker, "linestyle": dash, "markerfacecolor": face}
    return styles


def _by(keys: Iterable[str], items: Iterable[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for key, item in zip(keys, items, strict=True):
        groups.setdefault(key, []).append(item)
    return groups


def _signed(value: float) -> str:
    """Return a gain as people write it.

    >>> [_signed(value) for value in (0.0164, -0.3, -0.0001)]
    ['+0.016', '−0.300', '+0.000']
    """
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")


def _short(text: str, most: int = 28) -> str:
    """Return text without what XML cannot carry, its middle left out where it is too long for its place."""
    text = clean(text)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"


def _svg(panels: list[_Panel], note: str = "") -> str:
    """Draw panels in rows, each set from a new row on; '' for no panels."""
    if not panels:
        return ""
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as error:
        raise InputError(f"plots need matplotlib, which is missing ({error}); pip install '.[bench]'") from error
    sets = _by((panel.set for panel in panels), panels).values()
    lines = [group[at : at + COLUMNS] for group in sets for at in range(0, len(group), COLUMNS)]
    notes = textwrap.wrap(note, PANEL * max(map(len, lines)) // 7)
    heights = [ABOVE + TALL + BELOW + LINE * (1 + max(len(panel.legend) for panel in line)) for line in lines]
    wide, high = PANEL * max(map(len, lines)), sum(heights) + LINE * len(notes)
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from")  # the reader has other fonts
        matplotlib.rcdefaults()  # whatever was set outside, the same rows give the same bytes
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "mzsr", "text.parse_math": False})
        matplotlib.rcParams.update({"font.size": 12, "lines.linewidth": 1.6, "lines.markersize": 5.5})
        matplotlib.rcParams.update({"legend.frameon": False, "legend.borderpad": 0, "legend.borderaxespad": 0})
        figure = Figure(figsize=(wide / 72, high / 72), facecolor="none")  # 72 to the inch: units are CSS pixels
        for number, line in enumerate(lines):
            bottom = high - sum(heights[:number]) - ABOVE - TALL
            for column, panel in enumerate(line):
                box = ((PANEL * column + LEFT) / wide, bottom / high, ACROSS / wide, TALL / high)
                axes = figure.add_axes(box, facecolor="none", axisbelow=True, xlabel=panel.along)
                axes.spines[:].set_visible(False)
                axes.tick_params(length=0, which="both")
                axes.grid(color="black", alpha=0.12, linewidth=0.8)
                for up, words, weight in ((34, _short(panel.title, 42), "bold"), (12, panel.up, "normal")):
                    axes.text(0, 1 + up / TALL, words, transform=axes.transAxes, fontweight=weight)
                panel.draw(axes)
                drawn = any(style for _, style in panel.legend)  # else no room is left for lines
                axes.legend(
                    [Line2D([], [], **(style or {"linestyle": ""})) for _, style in panel.legend],
                    [text for text, _ in panel.legend], bbox_to_anchor=(0, -BELOW / TALL), loc="upper left",
                    handlelength=2.6 * drawn, handletextpad=0.7 * drawn,
                )  # fmt: skip
        figure.text(0, 0.25 * LINE / high, "\n".join(notes), verticalalignment="bottom")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return buffer.getvalue()

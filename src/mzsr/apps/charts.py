"""The drawings of the report: the kernel, the adaptation losses and the times, as inline SVG and HTML.

Pure text from numbers; every colour and font is the page's own (report.html).
"""

import html
import math
from itertools import pairwise

import numpy as np
import torch

from mzsr.imaging import kernels

STAGES = {
    "read": "opening the file",
    "estimate": "finding the blur",
    "adapt": "practising",
    "enhance": "enlarging",
    "write": "saving the file",
}


def moments(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return centroid (row, column) from the middle, variances (long, short) in pixels², and the long axis in degrees.

    The angle is counter-clockwise from the horizontal as seen on the page, in [0, 180).
    """
    centroid, covariance = kernels.moments(torch.from_numpy(kernel / kernel.sum(dtype=np.float64)))
    variances, theta = kernels.principal(covariance)
    return centroid.numpy(), variances.numpy(), math.degrees(-float(theta)) % 180


def kernel_picture(kernel: np.ndarray) -> str:
    """Draw the taps as an SVG heat map with axes in pixels; its tone follows the page's ink, light or dark."""
    n = len(kernel)
    cell = max(2, 240 // n)  # whole pixels, so that no seams show
    side = cell * n
    shades = kernel / np.abs(kernel).max()
    marks = [f'<rect width="{side}" height="{side}"/>']
    for row, column in np.argwhere(np.abs(shades) > 0.005):  # fainter than any screen shows
        shade = shades[row, column]
        sign = ' class="below"' if shade < 0 else ""
        marks.append(
            f'<path d="M{column * cell} {row * cell}h{cell}v{cell}h-{cell}z"{sign} fill-opacity="{abs(shade):.3f}"/>'
        )
    centroid, variances, degrees = moments(kernel)
    if variances.min() > 0:
        y, x = (centroid + n / 2) * cell
        long, short = np.sqrt(variances) * cell
        ellipse = (
            f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{long:.1f}" ry="{short:.1f}" '
            f'transform="rotate({-degrees:.1f} {x:.1f} {y:.1f})"/>'
        )
        marks += [ellipse, ellipse]  # the lower one is a halo, so that the line shows on dark taps and on light ones
    reach = n // 2
    for tick in sorted({-reach, 0, reach}):
        at = (tick + (n - 1) / 2 + 0.5) * cell
        label = f"{tick}".replace("-", "\u2212")
        marks.append(f'<text x="{at:g}" y="{side + 18}" text-anchor="middle">{label}</text>')
        marks.append(f'<text x="-8" y="{at + 4.5:g}" text-anchor="end">{label}</text>')
    marks.append(f'<text x="{side / 2:g}" y="{side + 38}" text-anchor="middle">pixels</text>')
    return (
        f'<svg width="{side}" height="{side}" fill="currentColor" role="img" '
        f'aria-label="Heat map of the {n} by {n} blur kernel">{"".join(marks)}</svg>'
    )


def kernel_key(kernel: np.ndarray) -> str:
    """Say what the marks on the kernel's picture mean."""
    key = "The ellipse marks one standard deviation." if moments(kernel)[1].min() > 0 else ""
    return key + (" Red takes light away." if kernel.min() < -0.005 * np.abs(kernel).max() else "")


def loss_chart(losses: list[float]) -> str:
    """Draw loss over steps. Across in percent, down in pixels: it stretches with the page, its letters do not."""
    finite = losses[: next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))]
    if len(losses) < 2 or not finite:
        return ""
    tall, last = 180, len(losses) - 1
    low, high = min(finite), max(finite)
    unit = nice_step(max(high - low, 1e-3 * abs(high), 1e-12), 3)
    bottom, top = math.floor(low / unit), max(math.ceil(high / unit), math.floor(low / unit) + 1)
    decimals = max(0, -math.floor(math.log10(unit) + 1e-9))

    def across(step: int) -> str:
        return f"{100 * step / last:.2f}%"

    def down(loss: float) -> str:
        return f"{max(0.0, tall * (top - loss / unit) / (top - bottom)):.1f}"  # rounding must not write -0.0

    marks = ['<text x="-60" y="-18">error</text>']
    for tick in range(bottom, top + 1):
        y, value = down(tick * unit), tick * unit
        label = f"{value:.{decimals}f}" if decimals < 6 else f"{value:.3g}"
        marks.append(f'<line x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        marks.append(f'<text x="-10" y="{float(y) + 4.5:.1f}" text-anchor="end">{label}</text>')
    for step in range(0, last + 1, max(1, round(nice_step(float(last), 10)))):
        marks.append(f'<text x="{across(step)}" y="{tall + 22}" text-anchor="middle">{step}</text>')
    marks.append(f'<text x="50%" y="{tall + 42}" text-anchor="middle">step</text>')
    points = [(across(step), down(loss)) for step, loss in enumerate(finite)]
    for (x1, y1), (x2, y2) in pairwise(points):
        marks.append(f'<line class="curve" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    marks += [f'<circle cx="{x}" cy="{y}" r="3.5"/>' for x, y in (points if last <= 20 else [points[-1]])]
    return f'<svg height="{tall}" role="img" aria-label="Error after each step">{"".join(marks)}</svg>'


def colour_bar(colours: list[str], labels: list[str]) -> str:
    """Draw a scale of colours, evenly spaced from left to right, with evenly spaced labels below it."""
    stops = "".join(
        f'<stop offset="{index / (len(colours) - 1):.4f}" stop-color="{colour}"/>'
        for index, colour in enumerate(colours)
    )
    last, marks = len(labels) - 1, []
    for index, label in enumerate(labels):
        anchor = "start" if index == 0 else "end" if index == last else "middle"
        marks.append(f'<text x="{100 * index / last:.2f}%" y="30" text-anchor="{anchor}">{label}</text>')
    return (
        f'<svg height="42" role="img" aria-label="Colours from {labels[0]} to {labels[-1]} grey levels"><defs>'
        f'<linearGradient id="colours">{stops}</linearGradient></defs>'
        f'<rect width="100%" height="12" fill="url(#colours)"/>{"".join(marks)}</svg>'
    )


def nice_step(span: float, count: int) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that divides `span` into at most `count` parts.

    >>> nice_step(0.9, 4)
    0.5
    """
    power = 10.0 ** math.floor(math.log10(span / count))
    return next(m * power for m in (1, 2, 5, 10) if m * power * count >= span * (1 - 1e-9))


def time_table(seconds: dict[str, float]) -> str:
    """Draw the stages as a table with bars, longest = full width, and their sum."""
    longest = max(*seconds.values(), 1e-9)
    rows = []
    for stage, value in seconds.items():
        gloss = f" <small>{STAGES[stage]}</small>" if stage in STAGES else ""
        bar = f'<svg aria-hidden="true"><rect width="{max(0.0, 100 * value / longest):.2f}%" height="100%"/></svg>'
        name = f'<th scope="row">{html.escape(stage)}{gloss}</th>'
        rows.append(f'<tr>{name}<td class="bar">{bar}</td><td>{_duration(value)}</td></tr>')
    total = _duration(sum(seconds.values()))
    rows.append(f'<tr class="total"><th scope="row">in all</th><td class="bar"></td><td>{total}</td></tr>')
    return f'<table class="times">{"".join(rows)}</table>'


def _duration(seconds: float) -> str:
    """Return a time for people.

    >>> [_duration(s) for s in (0.0042, 3.14159, 75.0)]
    ['4 ms', '3.1 s', '1 min 15 s']
    """
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"

"""One self-contained HTML page about one super-resolved picture: what changed, what was assumed, what it cost.

The page can be mailed as it is: pictures are embedded, charts are inline SVG, and its Content-Security-Policy forbids
every access to the network. This file knows nothing of models or tensors; its input is a `ReportData` of arrays and
strings that the command line fills in from the `Result` of an upscale, its output one HTML file, complete or absent.
The look is in report.html.
"""

import base64
import hashlib
import html
import io
import math
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from mzsr.errors import InputError

PICTURE_PIXELS = 2_000_000
"""Pixels embedded of each picture: two of these make a page of a few megabytes, which a phone still opens."""

GLOSSES = {
    "model": "The network and the weights that made the picture.",
    "scale": "How many times wider and taller the picture became.",
    "steps": "How often the network was corrected on this picture before it was used.",
    "noise": "The grain expected in the picture you gave, as a standard deviation.",
    "reprojectionpsnr": "Blurred and shrunk again, the result agrees with your picture to this many decibels. "
    "More is better; above 40 dB the two are hard to tell apart.",
    "device": "The processor that did the work.",
    "seed": "The number from which every random choice was drawn.",
}
STAGES = {
    "read": "opening the file",
    "estimate": "finding the blur",
    "adapt": "practising",
    "enhance": "enlarging",
    "write": "saving the file",
}


@dataclass(frozen=True)
class ReportData:
    """What the page shows of one picture."""

    name: str
    """The picture's name, usually its file name; the page's heading."""
    before: np.ndarray
    """Phase-correct bicubic enlargement, uint8, (H, W, 3)."""
    after: np.ndarray
    """The result, uint8, (H, W, 3)."""
    kernel: np.ndarray
    """Taps of the blur on the grid of the enlarged picture, (n, n), with a positive sum."""
    kernel_source: str
    """Where the kernel came from: "given", or "estimated, confidence 0.83"."""
    note: str
    """What there is to say about the kernel in plain words; may be empty."""
    losses: list[float]
    """Adaptation loss after 0, 1, ... steps."""
    seconds: dict[str, float]
    """Stage -> seconds."""
    facts: dict[str, str]
    """Label -> text, in the order shown: model, scale, steps, noise, re-projection PSNR, device, version, seed."""
    command: str
    """The command line that makes the picture again."""


def write_report(path: str | os.PathLike[str], data: ReportData) -> None:
    """Write the page to `path`, whole or not at all: a temporary file beside it takes its place in one move.

    Args:
        path: The HTML file; an existing one is replaced.
        data: What to show.

    Raises:
        InputError: If `path` cannot be written, or `data` does not fit together (see `render`).
    """
    path = Path(path)
    page = render(data).encode()
    if os.path.isdir(path):  # unlike Path.is_dir, quiet about folders it may not enter
        raise InputError(f"report {path} is a folder; it must be a file — add a name, as in {path / 'report.html'}")
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(page)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"report {path} cannot be written ({reason}); its folder must exist and be writable — choose another place"
        ) from error
    finally:
        with suppress(OSError):  # after success it is gone already
            temporary.unlink()


def render(data: ReportData) -> str:
    """Return the page as HTML text.

    Args:
        data: What to show. Every text in it is escaped.

    Raises:
        InputError: If the pictures are not two uint8 arrays (H, W, 3) of one size, or the kernel is not square, finite
            and of positive sum.
    """
    _check(data)
    full_height, full_width = data.after.shape[:2]
    before, after = _centre_crop(data.before), _centre_crop(data.after)
    height, width = after.shape[:2]
    crop = ""
    if (height, width) != (full_height, full_width):
        crop = (
            '<p class="quiet">To stay a small file, this page carries only the middle of the picture, '
            f"{width} × {height} of its {full_width} × {full_height} pixels, at full resolution.</p>"
        )
    template = resources.files("mzsr.apps").joinpath("report.html").read_text(encoding="utf-8")
    fields = {
        "policy": _policy(template),
        "name": _text(data.name),
        "lead": f"Enlarged to {full_width} × {full_height} pixels.",
        "width": str(width),
        "height": str(height),
        "before": _data_uri(before),
        "after": _data_uri(after),
        "crop": crop,
        "kernel": _kernel_picture(data.kernel),
        "kernel_words": _kernel_words(data),
        "kernel_key": _kernel_key(data.kernel),
        "losses": _loss_chart(data.losses),
        "loss_words": _loss_words(data.losses),
        "seconds": _time_table(data.seconds),
        "facts": _fact_table(data.facts),
        "command": " ".join(f"<span>{_text(word)}</span>" for word in data.command.split(" ")),
    }
    # One pass, so that braces in a file name are never taken for a field.
    return re.sub(r"\{\{(\w+)\}\}", lambda field: fields[field[1]], template)


def _check(data: ReportData) -> None:
    """Raise InputError if the arrays cannot be shown."""
    for label, image in (("before", data.before), ("after", data.after)):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputError(
                f"report: {label} is {image.dtype} {image.shape}; it must be uint8 (H, W, 3) — convert it to 8-bit RGB"
            )
    if data.before.shape != data.after.shape:
        raise InputError(
            f"report: before is {data.before.shape} and after is {data.after.shape}; both must have one size — "
            "resize before to the size of the result"
        )
    kernel = data.kernel
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.size == 0:
        raise InputError(f"report: kernel is {kernel.shape}; it must be square (n, n) — pad it with zeros")
    if not np.isfinite(kernel).all() or kernel.sum() <= 0:
        raise InputError(
            f"report: kernel sums to {kernel.sum():g}; it must be finite with a positive sum — check where it came from"
        )


def _text(text: str) -> str:
    """Escape any text for HTML, attributes included; what HTML cannot carry becomes a replacement character."""
    return html.escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", text))


def _policy(template: str) -> str:
    """Return a policy that lets in the page's own style and script, by hash, and data-URI pictures; nothing else."""
    hashes = {}
    for tag in ("style", "script"):
        body = template.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        hashes[tag] = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )


def _centre_crop(image: np.ndarray) -> np.ndarray:
    """Return the middle of an (H, W, 3) image, of the same proportions and at most PICTURE_PIXELS."""
    height, width = image.shape[:2]
    share = min(1.0, math.sqrt(PICTURE_PIXELS / (height * width)))
    rows = min(max(1, int(height * share)), PICTURE_PIXELS)  # a strip one pixel high or wide keeps that pixel
    columns = max(1, min(int(width * share), PICTURE_PIXELS // rows))
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[top : top + rows, left : left + columns]


def _data_uri(image: np.ndarray) -> str:
    """Return an (H, W, 3) uint8 image as a lossless data URI."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _moments(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return centroid (row, column) from the middle, variances (long, short) in pixels², and the long axis in degrees.

    The angle is counter-clockwise from the horizontal as seen on the page, in [0, 180).
    """
    n = len(kernel)
    weights = kernel.astype(np.float64).ravel() / kernel.sum(dtype=np.float64)
    points = np.indices((n, n)).reshape(2, -1) - (n - 1) / 2  # (2, n n)
    centroid = points @ weights
    covariance = (points * weights) @ points.T - np.outer(centroid, centroid)
    variances, axes = np.linalg.eigh(covariance)  # ascending
    row, column = axes[:, 1]
    return centroid, variances[::-1], math.degrees(math.atan2(-row, column)) % 180


def _kernel_words(data: ReportData) -> str:
    """Say where the kernel came from and how wide it is."""
    source = _text(data.kernel_source[:1].upper() + data.kernel_source[1:]).rstrip(".")
    _, variances, degrees = _moments(data.kernel)
    # Rounding leaves a delta with a variance of about -1e-17; only sharpening lobes make it truly negative.
    if variances.min() < -1e-6:
        width = "The kernel sharpens as well as blurs, so it has no standard deviation."
    else:
        long, short = np.sqrt(variances.clip(0))
        if long < 0.3:  # nine tenths of the light stay within the pixel
            width = f"The blur hardly spreads: its standard deviations are {long:.2f} and {short:.2f} pixels."
        elif long < 1.1 * short:
            width = f"The blur is round: its standard deviations are {long:.2f} and {short:.2f} pixels."
        else:
            width = (
                f"The blur's standard deviations are {long:.2f} pixels along its long axis and {short:.2f} across; "
                f"the long axis is turned {degrees:.0f}° counter-clockwise from the horizontal."
            )
    note = f" {_text(data.note)}" if data.note else ""
    return f"{source}. {width}{note}"


def _kernel_key(kernel: np.ndarray) -> str:
    """Say what the marks on the kernel's picture mean."""
    key = "The ellipse marks one standard deviation." if _moments(kernel)[1].min() > 0 else ""
    return key + (" Red takes light away." if kernel.min() < -0.005 * np.abs(kernel).max() else "")


def _kernel_picture(kernel: np.ndarray) -> str:
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
    centroid, variances, degrees = _moments(kernel)
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


def _loss_words(losses: list[float]) -> str:
    """Say what the adaptation did."""
    if len(losses) < 2:
        start = f" Its error on this picture is {losses[0]:#.3g}." if losses and math.isfinite(losses[0]) else ""
        return f"No step was taken: the network was used as it was trained.{start}"
    steps = f"{len(losses) - 1} step{'s' if len(losses) > 2 else ''}"
    if not all(map(math.isfinite, losses)):
        return (
            f"In {steps} the error stopped being a number; do not trust this result. The curve ends where it happened."
        )
    first, last = losses[0], losses[-1]
    change = (
        f", {abs(last / first - 1):.0%} {'lower' if last < first else 'higher'}" if first > 0 and last != first else ""
    )
    return f"In {steps} the error went from {first:#.3g} to {last:#.3g}{change}."


def _nice_step(span: float, count: int) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that divides `span` into at most `count` parts.

    >>> _nice_step(0.9, 4)
    0.5
    """
    power = 10.0 ** math.floor(math.log10(span / count))
    return next(m * power for m in (1, 2, 5, 10) if m * power * count >= span * (1 - 1e-9))


def _loss_chart(losses: list[float]) -> str:
    """Draw loss over steps. Across in percent, down in pixels: it stretches with the page, its letters do not."""
    finite = losses[: next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))]
    if len(losses) < 2 or not finite:
        return ""
    tall, last = 180, len(losses) - 1
    low, high = min(finite), max(finite)
    unit = _nice_step(max(high - low, 1e-3 * abs(high), 1e-12), 3)
    bottom, top = math.floor(low / unit), max(math.ceil(high / unit), math.floor(low / unit) + 1)
    decimals = max(0, -math.floor(math.log10(unit) + 1e-9))

    def across(step: int) -> str:
        return f"{100 * step / last:.2f}%"

    def down(loss: float) -> str:
        return f"{tall * (top - loss / unit) / (top - bottom):.1f}"

    marks = ['<text x="-60" y="-18">error</text>']
    for tick in range(bottom, top + 1):
        y, value = down(tick * unit), tick * unit
        label = f"{value:.{decimals}f}" if decimals < 6 else f"{value:.3g}"
        marks.append(f'<line x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        marks.append(f'<text x="-10" y="{float(y) + 4.5:.1f}" text-anchor="end">{label}</text>')
    for step in range(0, last + 1, max(1, round(_nice_step(float(last), 10)))):
        marks.append(f'<text x="{across(step)}" y="{tall + 22}" text-anchor="middle">{step}</text>')
    marks.append(f'<text x="50%" y="{tall + 42}" text-anchor="middle">step</text>')
    points = [(across(step), down(loss)) for step, loss in enumerate(finite)]
    for (x1, y1), (x2, y2) in pairwise(points):
        marks.append(f'<line class="curve" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    marks += [f'<circle cx="{x}" cy="{y}" r="3.5"/>' for x, y in (points if last <= 20 else [points[-1]])]
    return f'<svg height="{tall}" role="img" aria-label="Error after each step">{"".join(marks)}</svg>'


def _duration(seconds: float) -> str:
    """Return a time for people.

    >>> [_duration(s) for s in (0.0042, 3.14159, 75)]
    ['4 ms', '3.1 s', '1 min 15 s']
    """
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _time_table(seconds: dict[str, float]) -> str:
    """Draw the stages as a table with bars, longest = full width, and their sum."""
    if not seconds:
        return '<p class="quiet">No times were recorded.</p>'
    longest = max(*seconds.values(), 1e-9)
    rows = []
    for stage, value in seconds.items():
        gloss = f" <small>{STAGES[stage]}</small>" if stage in STAGES else ""
        bar = f'<svg aria-hidden="true"><rect width="{max(0.0, 100 * value / longest):.2f}%" height="100%"/></svg>'
        rows.append(
            f'<tr><th scope="row">{_text(stage)}{gloss}</th><td class="bar">{bar}</td><td>{_duration(value)}</td></tr>'
        )
    total = _duration(sum(seconds.values()))
    rows.append(f'<tr class="total"><th scope="row">in all</th><td class="bar"></td><td>{total}</td></tr>')
    return f'<table class="times">{"".join(rows)}</table>'


def _fact_table(facts: dict[str, str]) -> str:
    """Show label, text and, where the label is known, what it means."""
    if not facts:
        return '<p class="quiet">No details were recorded.</p>'
    rows = []
    for label, value in facts.items():
        gloss = GLOSSES.get(re.sub(r"[^a-z]", "", label.casefold()))
        meaning = f"<small>{gloss}</small>" if gloss else ""
        rows.append(f'<tr><th scope="row">{_text(label)}</th><td>{_text(value)}{meaning}</td></tr>')
    return f"<table>{''.join(rows)}</table>"

"""One self-contained HTML page about one super-resolved picture: what changed, what was assumed, what it cost.

The page can be mailed as it is: pictures are embedded, charts are inline SVG, and its Content-Security-Policy forbids
every access to the network. This file knows nothing of models or tensors; its input is a `ReportData` of arrays and
strings that the command line fills in from the `Result` of an upscale, its output one HTML file, complete or absent.
The look is in report.html.
"""

import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from mzsr.apps import error_map
from mzsr.apps.charts import colour_bar, kernel_key, kernel_picture, loss_chart, moments, time_table
from mzsr.atomic import write_atomically
from mzsr.pages import command_html, data_uri, escape, fill

PICTURE_PIXELS = 2_000_000
"""Pixels embedded of each picture: two of these make a page of a few megabytes, which a phone still opens."""

GLOSSES = {
    "Model": "The network and the weights that made the picture.",
    "Scale": "How many times wider and taller the picture became.",
    "Steps": "How often the network was corrected on this picture before it was used.",
    "Noise": "The grain expected in the picture you gave, as a standard deviation.",
    "Re-projection PSNR": "Blurred and shrunk again, the result agrees with your picture to this many decibels. "
    "More is better.",
    "Expected PSNR": "How near the result is likely to be to the truth. More is better. Nobody knows the truth: this "
    "is the network's own forecast, from the map above.",
    "Device": "The processor that did the work.",
    "Seed": "The number from which every random choice was drawn.",
}


@dataclass(frozen=True)
class ReportData:
    """What the page shows of one picture, of whose middle it may have a part only, see `middle`."""

    name: str
    """The picture's name, usually its file name; the page's heading."""
    size: tuple[int, int]
    """Height and width of the whole result."""
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
    kept: int
    """How many of these steps the result was made with."""
    seconds: dict[str, float]
    """Stage -> seconds."""
    facts: dict[str, str]
    """Label -> text, in the order shown."""
    command: str
    """The command line that makes the picture again."""
    error: np.ndarray | None = None
    """How far each pixel is likely to be off, 8-bit grey levels, (H, W); None where the model does not know."""
    error_top: float = 0.0
    """The level from which colours stay the same, of the whole result."""
    error_words: str = ""
    """What that comes to for the whole picture."""
    icc: bytes | None = None
    """Profile of both pictures; None means sRGB."""


def write_report(path: Path, data: ReportData) -> None:
    """Write the page, whole or not at all; see `write_atomically`."""
    page = render(data).encode()
    write_atomically(path, lambda part: part.write_bytes(page))


def middle(height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of what a page shows: the middle, at most PICTURE_PIXELS, in proportion.

    >>> middle(3000, 4000)
    (888, 2112, 1184, 2816)
    """
    share = min(1.0, math.sqrt(PICTURE_PIXELS / (height * width)))
    rows = min(max(1, int(height * share)), PICTURE_PIXELS)  # a strip one pixel high or wide keeps that pixel
    columns = max(1, min(int(width * share), PICTURE_PIXELS // rows))
    top, left = (height - rows) // 2, (width - columns) // 2
    return top, top + rows, left, left + columns


def render(data: ReportData) -> str:
    """Return the page as HTML text; every text in it is escaped."""
    full_height, full_width = data.size
    height, width = data.after.shape[:2]
    crop = ""
    if (height, width) != data.size:
        crop = (
            '<p class="quiet">To stay a small file, this page carries only the middle of the picture, '
            f"{width} × {height} of its {full_width} × {full_height} pixels, at full resolution.</p>"
        )
    fields = {
        "name": escape(data.name),
        "lead": f"Enlarged to {full_width} × {full_height} pixels.",
        "width": str(width),
        "height": str(height),
        "before": data_uri(data.before, data.icc),
        "after": data_uri(data.after, data.icc),
        "crop": crop,
        "kernel": kernel_picture(data.kernel),
        "kernel_words": _kernel_words(data),
        "kernel_key": kernel_key(data.kernel),
        "losses": loss_chart(data.losses),
        "loss_words": _loss_words(data.losses, data.kept),
        "seconds": time_table(data.seconds),
        "facts": _fact_table(data.facts),
        **_error_fields(data),
        "command": command_html(data.command),
    }
    return fill(template(), fields)


def template() -> str:
    """Return the page with its places unfilled."""
    return resources.files("mzsr.apps").joinpath("report.html").read_text("utf-8")


def _error_fields(data: ReportData) -> dict[str, str]:
    """Return the map over the picture, its switch, and its key; all empty where there is no map."""
    if data.error is None:
        return {"doubt": "", "doubt_switch": "", "doubt_key": ""}
    colours = error_map.coloured(data.error, data.error_top)
    words = f"{error_map.WORDS} {escape(data.error_words)}"
    bar = colour_bar([f"#{colour}" for colour in error_map.VIRIDIS.split()], error_map.ticks(data.error_top))
    height, width = colours.shape[:2]
    return {
        "doubt": f'<img id="doubt" src="{data_uri(colours)}" width="{width}" height="{height}" '
        'alt="How far each pixel is likely to be off" draggable="false">',
        "doubt_switch": '<label class="switch"><input type="checkbox" id="show-doubt">Show where it is unsure</label>',
        "doubt_key": f'<div id="doubt-key">{bar}<p class="quiet">{words}</p></div>',
    }


def _kernel_words(data: ReportData) -> str:
    """Say where the kernel came from and how wide it is."""
    source = escape(data.kernel_source[:1].upper() + data.kernel_source[1:]).rstrip(".")
    _, variances, degrees = moments(data.kernel)
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
    note = f" {escape(data.note)}" if data.note else ""
    return f"{source}. {width}{note}"


def _loss_words(losses: list[float], kept: int) -> str:
    """Say what the adaptation did, and how many of its steps were kept."""
    taken = len(losses) - 1
    if taken < 1:
        return "No step was taken: the network was used as it was trained."
    first, last = losses[0], losses[kept]
    if not math.isfinite(last):
        return f"In {_steps(taken)} the error never was a number; do not trust this result."
    if kept == 0:
        what = f"{_steps(taken).capitalize()} did not lower the error of {first:#.3g}"
        return f"{what}, so nothing of it was kept: the network was used as it was trained."
    size = f"{share:.0%}" if (share := 1 - last / first) >= 0.005 else "less than 1%"
    words = f"In {_steps(kept)} the error went from {first:#.3g} to {last:#.3g}, {size} lower."
    return words if kept == taken else f"{words} What came after did not lower it further, and was not kept."


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


def _fact_table(facts: dict[str, str]) -> str:
    """Show label, text and, where the label is known, what it means."""
    rows = []
    for label, value in facts.items():
        meaning = f"<small>{GLOSSES[label]}</small>" if label in GLOSSES else ""
        rows.append(f'<tr><th scope="row">{escape(label)}</th><td>{escape(value)}{meaning}</td></tr>')
    return f"<table>{''.join(rows)}</table>"

"""Draw how far a result is likely to be off: colours, their scale and a legend in plain words.

The drawing is the map, pixel on pixel of the result, and a strip with the colour bar below it. Numpy and Pillow alone.
Its input is `Result.uncertainty`; the picture that it returns goes to `files.write`, its colours to the report.
"""

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from mzsr.apps.charts import nice_step

WORDS = "How far a pixel is likely to be off, in grey levels of 255. Dark: safe. Bright: a guess."

VIRIDIS = (
    "440154 481a6c 472f7d 414487 39568c 31688e 2a788e 23888e 1f988b 22a884 35b779 54c568 7ad151 a5db36 d2e21b fde725"
)
"""Sixteen colours of viridis, evenly spaced; linear between them it is within 7 of 255 of the whole table.

Source: Smith, van der Walt and Firing, matplotlib's viridis (CC0).
"""

_Map = Float[np.ndarray, "_h _w"]
_NARROWEST = 360  # pixels; a strip that letters fit into
_ROWS = 256  # of a map, coloured at a time
_INK, _PAPER = (28, 28, 26), (253, 253, 251)


def top(error: _Map) -> float:
    """Return the grey levels of the brightest colour: a round number that all but 1 % of the pixels stay below.

    At least one level, or a perfect picture would look like a bad one.

    >>> top(np.full((4, 4), 7.3))
    8.0
    """
    most = max(float(np.percentile(error, 99)), 1.0)
    step = nice_step(most, 4)
    return step * math.ceil(most / step - 1e-9)


def ticks(top: float) -> list[str]:
    """Return the labels of the colour bar, evenly spaced from none to the brightest, which stands for all above too.

    >>> ticks(8.0)
    ['0', '2', '4', '6', '8 or more']
    """
    step = nice_step(top, 4)
    values = [f"{index * step:g}" for index in range(round(top / step) + 1)]
    return [*values[:-1], f"{values[-1]} or more"]


def coloured(error: _Map, top: float) -> UInt8[np.ndarray, "_h _w 3"]:
    """Return the colours of a map, `top` and what lies above it the brightest."""
    shades, colours = palette(), np.empty((*error.shape, 3), np.uint8)
    for start in range(0, len(error), _ROWS):  # a large map is not copied as floats
        rows = slice(start, start + _ROWS)
        colours[rows] = shades[np.minimum(error[rows] * (255 / top), 255).round().astype(np.uint8)]
    return colours


def palette() -> UInt8[np.ndarray, "256 3"]:
    """Return viridis, dark to bright."""
    points = np.array([list(bytes.fromhex(colour)) for colour in VIRIDIS.split()], float)  # (16, 3)
    places = np.linspace(0, len(points) - 1, 256)
    channels = [np.interp(places, range(len(points)), points[:, channel]) for channel in range(3)]
    return np.stack(channels, 1).round().astype(np.uint8)


def drawing(error: _Map, figures: str) -> UInt8[np.ndarray, "_height _width 3"]:
    """Return the map with a strip below it: what it shows, the colour bar, and a line of figures.

    Args:
        error: expected absolute error in 8-bit grey levels, (H, W).
        figures: what it comes to, in words.

    Returns:
        The upper left H x W pixels are the map; width and height are what it and the strip need.
    """
    (height, width), most = error.shape, top(error)
    wide = max(width, _NARROWEST)
    size = min(max(13, wide // 50), 64)  # of letters, pixels: to be read when the whole is fitted to a screen
    font, gap = ImageFont.load_default(size), size
    lines = [*_wrapped(WORDS, font, wide - 2 * gap), *_wrapped(figures, font, wide - 2 * gap)]
    line, bar = round(1.4 * size), round(1.2 * size)
    strip = Image.new("RGB", (wide, 3 * gap + len(lines) * line + bar + line), _PAPER)
    draw = ImageDraw.Draw(strip)
    y = gap
    for words in lines:
        draw.text((gap, y), words, _INK, font)
        y += line
    y += gap // 2
    long = min(wide - 2 * gap, 40 * size)
    shades = palette()[np.linspace(0, 255, long).round().astype(np.uint8)]  # (long, 3)
    strip.paste(Image.fromarray(np.broadcast_to(shades, (bar, long, 3)).copy()), (gap, y))
    labels = ticks(most)
    for index, label in enumerate(labels):
        x = gap + round(index / (len(labels) - 1) * (long - 1))
        draw.line((x, y + bar, x, y + bar + size // 4), _INK, max(1, size // 12))
        anchor = "la" if index == 0 else "ra" if index == len(labels) - 1 else "ma"
        draw.text((x, y + bar + size // 3), label, _INK, font, anchor)
    page = np.full((height + strip.height, wide, 3), _PAPER, np.uint8)
    page[:height, :width], page[height:] = coloured(error, most), np.asarray(strip)
    return page


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break a text into lines that fit."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line]

"""ROWS → PAGE: what was measured, how, and where it goes wrong, as one HTML file that can be mailed as it is.

Pictures are embedded, plots are inline SVG, and the page's Content-Security-Policy forbids every access to the network.
Tables come as Markdown from where they are made for documents too; this file knows nothing of methods or networks. The
look is in page.html.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from xml.etree import ElementTree

import numpy as np

from mzsr.benchmark import plots
from mzsr.benchmark.rows import About, Row
from mzsr.benchmark.timings import Timing
from mzsr.pages import clean, command_html, data_uri, escape, fill

CROP_WIDTH = 192  # CSS pixels, or the largest multiple of the crop below it: each pixel becomes a square

STEPS_WORDS = (
    "What adaptation to the picture changes: mean PSNR less its value at the fewest steps. Below each panel stands the "
    "mean PSNR that a line starts from and what it gains in the end, or the mean PSNR of a method that has no line."
)
SECONDS_WORDS = (
    "Mean PSNR against mean time from low resolution to result, pictures and models in memory. Left and up is better; "
    "each vertical line is ten times the time of the one before."
)
GAINS_WORDS = "One bar for each picture, best to worst: below zero, the picture came out worse."
COST_WORDS = "From a file to a file twice as large: all stages, for square pictures. Both axes are logarithmic."


@dataclass(frozen=True)
class Comparison:
    """One of the worst pictures: the same detail side by side.

    Attributes:
        title: picture, cell, method and how far off it is.
        panels: caption and crop, (H, W, 3) uint8: truth, low resolution, methods. All are shown as wide as the first.
    """

    title: str
    panels: list[tuple[str, np.ndarray]]


def render(
    rows: list[Row],
    about: About,
    tables: list[tuple[str, str]],
    comparisons: list[Comparison],
    timings: Sequence[Timing] = (),
) -> str:
    """Return the page as HTML text; every text in it is escaped, and the same arguments give the same text.

    Args:
        rows: what the plots are made of, methods in the order of the tables.
        about: how the numbers came about.
        tables: heading and Markdown table.
        comparisons: the worst pictures.
        timings: what speed costs, for a page about that.

    Raises:
        InputError: matplotlib is missing.
    """
    sections = {
        "Tables": "".join(_table_section(heading, table) for heading, table in tables),
        "Plots": _plot_sections(rows, timings),
        "Worst pictures": "".join(map(_comparison, comparisons)),
    }
    shown = [(heading, heading.casefold().replace(" ", "-"), body) for heading, body in sections.items() if body]
    skipped = "".join(f"<li>{escape(sentence)}</li>" for sentence in about.skipped)
    fields = {
        "lead": escape(_lead(rows, timings)),
        "about": _about(about),
        "command": command_html(about.command),
        "skipped": f'<section id="skipped"><h2>Skipped</h2><ul>{skipped}</ul></section>' if skipped else "",
        "links": "".join(f'<li><a href="#{name}">{heading}</a></li>' for heading, name, _ in shown),
        "sections": "".join(f'<section id="{name}"><h2>{head}</h2>{body}</section>' for head, name, body in shown),
    }
    return fill(resources.files("mzsr.benchmark").joinpath("page.html").read_text("utf-8"), fields)


def _lead(rows: list[Row], timings: Sequence[Timing]) -> str:
    """Say how much was measured."""
    if timings:
        return f"{len({t.network for t in timings})} networks at {len({t.size for t in timings})} sizes of output."
    if not rows:
        return "Nothing was measured."
    counts = {
        "measurement": len(rows),
        "method": len({row.method for row in rows}),
        "picture": len({(row.set, row.image) for row in rows}),
        "set": len({row.set for row in rows}),
        "degradation": len({row.cell for row in rows}),
    }
    words = (f"{count:,} {word}{'s' * (count != 1)}" for word, count in counts.items())
    return "{}: {} on {} of {} under {}.".format(*words)


def _about(about: About) -> str:
    gloss = f"<small>{escape(about.protocol_words)}</small>"
    facts = {"Version": f"mzsr {about.version}", "Commit": about.commit, "Machine": about.machine}
    facts |= {f"Data, {name}": words for name, words in about.data.items()}
    protocol = [("Protocol", escape(about.protocol) + gloss)] if about.protocol else []
    lines = [*protocol, *((name, escape(value)) for name, value in facts.items())]
    body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{value}</td></tr>' for name, value in lines)
    return f'<table class="facts">{body}</table>'


def _table_section(heading: str, markdown: str) -> str:
    """Return a heading and what stands under it: tables, and paragraphs for every other line."""
    parts = [f"<h3>{escape(heading)}</h3>"]
    for is_table, group in groupby(markdown.strip().splitlines(), lambda line: line.lstrip().startswith("|")):
        lines = [line.strip() for line in group if line.strip()]
        parts += [_scroller(heading, _table(lines))] if is_table else [f"<p>{_inline(line)}</p>" for line in lines]
    return "".join(parts)


def _scroller(label: str, body: str) -> str:
    """Let what is wider than the window scroll by itself, with the arrow keys too."""
    return f'<div class="scroller" role="region" tabindex="0" aria-label="{escape(label)}">{body}</div>'


def _table(lines: list[str]) -> str:
    """Return a Markdown table as HTML; the columns up to the first one with numbers are the heads of its rows."""
    head, *body = (_cells(line) for line in lines if not re.fullmatch(r"[|:\- ]+", line))
    is_number = re.compile(r"[+\-−]?\d[\d.,/ +\-−%]*").fullmatch
    heads = max(1, min((place for row in body for place, cell in enumerate(row) if is_number(cell)), default=1))
    kinds = [""] * (heads - 1) + [' class="name"'] + [' class="number"'] * max(len(row) for row in (head, *body))
    parts = [f'<th scope="col"{kind}>{_inline(cell)}</th>' for cell, kind in zip(head, kinds, strict=False)]
    for row in body:
        parts.append('</tr><tr class="published">' if any("*published*" in cell for cell in row) else "</tr><tr>")
        for place, (cell, kind) in enumerate(zip(row, kinds, strict=False)):
            tag, scope = ("th", ' scope="row"') if place < heads else ("td", "")
            parts.append(f"<{tag}{scope}{kind}>{_inline(cell)}</{tag}>")
    return f"<table><tr>{''.join(parts)}</tr></table>"


def _cells(line: str) -> list[str]:
    r"""Split a line of a Markdown table.

    >>> _cells(r"| a | b\|c |  |")
    ['a', 'b|c', '']
    """
    inner = re.sub(r"(?<!\\)\|$", "", line.removeprefix("|"))
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def _inline(text: str) -> str:
    """Escape a text of Markdown and set its *emphasis*; a lone mark, or one within a word, stays as it is."""
    return re.sub(r"(?<![\w*])\*(?=\S)([^*]+)(?<=\S)\*(?![\w*])", r"<em>\1</em>", escape(text))


def _plot_sections(rows: list[Row], timings: Sequence[Timing]) -> str:
    """Return the plots that have something to show, each with its heading and how to read it."""
    drawn = {
        ("Quality against steps", STEPS_WORDS): plots.quality_over_steps(rows),
        ("Quality against seconds", SECONDS_WORDS): plots.quality_over_seconds(rows),
        ("Cost against size", COST_WORDS): plots.cost(timings),
    }
    for label, baseline in _pairs(rows) if rows else []:
        drawn[f"{label}, against {baseline}, picture by picture", GAINS_WORDS] = plots.gains(rows, label, baseline)
    parts = []
    for (heading, words), svg in drawn.items():
        more = '<span class="swipe"> Scroll sideways for more of them.</span>' * (f'"{plots.PANEL}pt"' not in svg)
        words = f'<p class="quiet">{words} Each panel has its own scale.{more}</p>'
        parts += [f"<h3>{escape(heading)}</h3>{words}{_scroller(heading, inline_svg(svg, heading))}"] if svg else []
    return "".join(parts)


def _pairs(rows: list[Row]) -> list[tuple[str, str]]:
    """Return whose gains are shown: the last method that adapts, or else the last; over itself at 0, over the first."""
    adapted = [row for row in rows if row.steps]
    last = list(dict.fromkeys(row.method for row in adapted or rows))[-1]
    own = {row.steps or 0: row.label for row in rows if row.method == last}
    ours = own[min(filter(None, own), default=0)]
    return [(ours, other) for other in dict.fromkeys((own.get(0, ours), rows[0].label)) if other != ours]


def inline_svg(svg: str, words: str) -> str:
    """Return a plot in the page's ink and font, with tooltips, and attributes for styles, which the policy forbids."""
    root, words = ElementTree.fromstring(svg), clean(words)
    used = dict.fromkeys(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    plot = hashlib.sha256((svg + words).encode()).hexdigest()[:8]
    names = {name: f"plot-{plot}-{place}" for place, name in enumerate(used)}
    for element in list(root.iter()):
        for child in [child for child in element if child.tag.endswith(("}metadata", "}style"))]:
            element.remove(child)
        element.tag = element.tag.rpartition("}")[2]
        attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        identity, style = attributes.pop("id", ""), attributes.pop("style", "")
        attributes |= dict(re.findall(r"([\w-]+): *([^;]+)", style))
        attributes.pop("font-family", None)
        if identity in names:
            attributes["id"] = names[identity]
        elif identity.startswith("mark:"):
            attributes["data-mark"] = identity.removeprefix("mark:")
            title = ElementTree.Element("title")
            title.text = attributes["data-mark"]
            element.insert(0, title)
        for name in attributes.keys() - {"data-mark", "id"}:
            value = re.sub(r"#([\w.-]+)", lambda found: "#" + names.get(found[1], found[1]), attributes[name])
            value = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", value)
            attributes[name] = "currentColor" if value == "#000000" else value
        element.attrib = attributes
    root.attrib |= {side: root.attrib[side].removesuffix("pt") for side in ("width", "height")}
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-label": words, "fill": "currentColor"}
    return ElementTree.tostring(root, encoding="unicode")


def _comparison(comparison: Comparison) -> str:
    """Return the crops side by side, each pixel a square, all as wide as the first."""
    figures = []
    for caption, crop in comparison.panels:
        height, width = comparison.panels[0][1].shape[:2]
        zoom = max(1, CROP_WIDTH // width)
        size = f'width="{width * zoom}" height="{height * zoom}"'
        image = f'<img src="{data_uri(crop)}" {size} alt="{escape(f"{comparison.title}: {caption}")}">'
        figures.append(f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")
    return f'<h3>{escape(comparison.title)}</h3><div class="crops">{"".join(figures)}</div>'

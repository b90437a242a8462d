"""The benchmark's page: every number and every mark that the rows demand, escaped, self-contained, sound on a phone."""

import base64
import io
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from pages import Page, stands_alone
from PIL import Image

from mzsr.benchmark import plots
from mzsr.benchmark.cells import Cell, read_set
from mzsr.benchmark.crops import busiest
from mzsr.benchmark.crops import comparisons as worst_pictures
from mzsr.benchmark.measure import Unit, run
from mzsr.benchmark.methods import parse
from mzsr.benchmark.page import Comparison, render
from mzsr.benchmark.rows import About, Row
from mzsr.errors import InputError
from mzsr.imaging import files
from mzsr.imaging.picture import Picture

pytest.importorskip("matplotlib", reason="needs the extra bench")

EVIL = "\"'><script>alert(1)</script>&amp;{{lead}}$x^2$_\x01\udcff"
VISIBLE = EVIL.replace("\x01", "\ufffd").replace("\udcff", "\ufffd")
PICTURES = {"Set5": ("baby.png", "bird.png", "head.png"), "Set14": ("comic.png", "zebra.png")}
METHODS = (("bicubic", None), ("mzsr", 0), ("mzsr", 1), ("mzsr", 10), ("mzsr:blind", 0), ("mzsr:blind", 1))
TABLE = """| set | method | x2 g2.0d | x4 bicubic |
|---|---|---|---|
| Set5 | bicubic | 28.54/0.8438 | 27.92/0.8001 |
| Set5 | mzsr, 1 step | 36.51/0.9502 |  |
| Set5, all | MZSR, 1 step, *published* | 35.20 | -1.25 |
"""


def row(name: str, image: str, method: str, steps: int | None, psnr: float, **change) -> Row:
    made = Row(name, image, "0" * 12, 2, "g2.0d", "clean", method, steps, "mzsr", psnr, 0.9, 50.0, 0.5 + (steps or 0))
    return made._replace(**change)


@pytest.fixture
def rows() -> list[Row]:
    """Two sets in two cells, each picture a little different, each step worth a tenth of a decibel."""
    return [
        row(name, image, method, steps, 30 + place + (steps or 0) / 10 + len(method) / 10, scale=scale)
        for name, images in PICTURES.items()
        for scale in (2, 4)
        for place, image in enumerate(images)
        for method, steps in METHODS
    ]


@pytest.fixture
def about() -> About:
    return About(
        command="mzsr bench quality --data 'a <b>' --out out", version="9.8.7", commit="0123abc",
        machine="an engine of brass, 2 workers", protocol="mzsr", protocol_words="PSNR on BT.601 Y & no border.",
        data={"Set5": "3 pictures, sha256 5e75", "Set14": "2 pictures, sha256 5e14"},
    )  # fmt: skip


@pytest.fixture
def comparisons() -> list[Comparison]:
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (side, side, 3), np.uint8) for side in (96, 48, 96)]
    return [Comparison("Set5 bird.png, x2 g2.0d", list(zip(("truth", "low resolution", EVIL), crops, strict=True)))]


def marks(svg: str) -> dict[str, ElementTree.Element]:
    """Return what a plot says of its marks → the mark; as many as there are, since no two say the same."""
    found = [element for element in ElementTree.fromstring(svg).iter() if element.get("id", "").startswith("mark:")]
    named = {element.attrib["id"].removeprefix("mark:"): element for element in found}
    assert len(named) == len(found)
    return named


def test_a_line_for_each_method_with_steps_in_each_panel(rows):
    lines = marks(plots.quality_over_steps(rows))
    assert len(lines) == 2 * 4  # methods x (sets x cells)
    assert "Set5, x2 g2.0d, mzsr: +0.100, +1.000 dB" in lines
    assert "Set14, x4 g2.0d, mzsr:blind: +0.100 dB" in lines
    points = {words: sum(1 for part in line.iter() if part.tag.endswith("}use")) for words, line in lines.items()}
    assert all(count == (2 if "blind" in words else 3) for words, count in points.items())


def test_a_line_is_the_mean_over_pictures_measured_at_all_of_its_steps(rows):
    outlier = row("Set5", "only at 0.png", "mzsr", 0, 99.0)
    svg = plots.quality_over_steps([*rows, outlier])
    assert "Set5, x2 g2.0d, mzsr: +0.100, +1.000 dB" in marks(svg)
    assert "mzsr: 31.40 dB, +1.000 at 10" in svg  # 30 + 0.4 for its name, pictures 0, 1 and 2


def test_a_point_for_each_method_and_steps_that_was_timed(rows):
    foreign = [row("Set5", image, "CARN", None, 33.0, seconds=math.nan) for image in PICTURES["Set5"]]
    svg = plots.quality_over_seconds(rows + foreign)
    points = marks(svg)
    assert len(points) == len(METHODS) * 4
    assert "Set5, x2 g2.0d, mzsr, 1 step: 31.50 dB, 1.5 s" in points
    assert not any("CARN" in words for words in points)
    assert "Not shown where there is no time: CARN." in svg


def test_seconds_are_on_a_scale_of_decades(rows):
    timed = [row("Set5", "a.png", name, None, 30.0, seconds=time) for name, time in (("a", 0.1), ("b", 1), ("c", 100))]
    across = [
        float(next(part for part in mark.iter() if part.tag.endswith("}use")).attrib["x"])
        for mark in marks(plots.quality_over_seconds(timed)).values()
    ]
    assert across[2] - across[1] == pytest.approx(2 * (across[1] - across[0]), abs=0.01)


def test_a_bar_for_each_picture_from_best_to_worst(rows):
    rows = [r._replace(psnr=r.psnr - 0.5) if (r.image, r.label) == ("bird.png", "mzsr, 1 step") else r for r in rows]
    svg = plots.gains(rows, "mzsr, 1 step", "mzsr, 0 steps")
    bars = marks(svg)
    assert len(bars) == 2 * (3 + 2)
    first = [words for words in bars if words.startswith("Set5, x2")]
    assert first[-1] == "Set5, x2 g2.0d, bird.png: −0.400 dB"
    assert [words.rpartition(": ")[2] for words in first] == ["+0.100 dB", "+0.100 dB", "−0.400 dB"]
    assert "mean −0.067 dB; 1 of 3 lose" in svg
    assert "worst −0.400 dB, bird.png" in svg
    colours = [re.findall(r"fill: (#\w+)", ElementTree.tostring(bars[words], "unicode"))[0] for words in first]
    assert colours == [plots.COLOURS[0], plots.COLOURS[0], plots.COLOURS[1]]


def test_where_there_is_nothing_to_show_there_is_no_plot(rows):
    fixed = [r for r in rows if r.steps is None]
    assert plots.quality_over_steps([]) == plots.quality_over_seconds([]) == plots.gains([], "a", "b") == ""
    assert plots.quality_over_steps(fixed) == ""
    assert plots.quality_over_seconds([r._replace(seconds=math.nan) for r in rows]) == ""
    assert plots.gains(rows, "mzsr, 1 step", "no such method") == ""
    assert plots.quality_over_steps([r._replace(psnr=math.inf) for r in rows]) == ""


def test_a_plot_survives_any_name_and_any_number_of_methods(rows):
    odd = [EVIL, "_hidden", "超解像", "a" * 300, *(f"m{number}" for number in range(30))]
    many = [row("Set5", f"{EVIL}.png", name, steps, 30.0, kernel=EVIL) for name in odd for steps in (0, 1)]
    assert len(marks(plots.quality_over_steps(many))) == len(odd)
    assert len(marks(plots.quality_over_seconds(many))) == 2 * len(odd)
    assert len(marks(plots.gains(many, many[1].label, many[0].label))) == 1


def test_matplotlib_is_left_as_it_was_and_does_not_matter(rows):
    import matplotlib

    expected = plots.quality_over_steps(rows)
    with matplotlib.rc_context({"font.size": 40, "svg.fonttype": "path", "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert plots.quality_over_steps(rows) == expected
        assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_it_is_said_what_to_do(rows, monkeypatch, about):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"need matplotlib.* pip install '\.\[bench\]'"):
        render(rows, about, [], [])


def test_colours_stand_out_on_light_and_on_dark():
    def luminance(colour: str) -> float:
        channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    look = (Path(plots.__file__).parent / "page.html").read_text(encoding="utf-8")
    papers = re.findall(r"--paper: (#\w{6})", look)
    assert len(papers) == 2
    for paper in papers:
        for colour in plots.COLOURS:
            dark, light = sorted((luminance(paper), luminance(colour)))
            assert (light + 0.05) / (dark + 0.05) >= 3


def test_the_page_holds_what_is_known_of_the_numbers(rows, about):
    page = Page(render(rows, about, [], []))
    said = page.within("td", "small", "th", "p", "span")
    for fact in (about.protocol_words, about.commit, about.machine, *about.data.values()):
        assert fact in said
    assert "mzsr 9.8.7" in said
    assert " ".join(page.within("span")).startswith(about.command)
    assert "60 measurements: 3 methods on 5 pictures of 2 sets under 2 degradations." in said


def test_a_table_is_the_markdown_it_came_from(about):
    text = render([], about, [("PSNR", TABLE + "\nA word with *stress* & a*b*c.")], [])
    page = Page(text)
    section = text.partition("<h3>PSNR</h3>")[2]
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', section) == ["set", "method", "x2 g2.0d", "x4 bicubic"]
    assert re.findall(r'<th scope="row"[^>]*>(.*?)</th>', section) == [
        "Set5", "bicubic", "Set5", "mzsr, 1 step", "Set5, all", "MZSR, 1 step, <em>published</em>",
    ]  # fmt: skip
    numbers = ["28.54/0.8438", "27.92/0.8001", "36.51/0.9502", "", "35.20", "-1.25"]
    assert re.findall(r"<td[^>]*>(.*?)</td>", section) == numbers
    assert section.count('<tr class="published">') == 1
    assert "<p>A word with <em>stress</em> &amp; a*b*c.</p>" in section
    assert page.within("h2") == ["About the numbers", "Tables"]


def test_what_was_skipped_is_shown_where_something_was(about):
    assert "skipped" not in [attributes.get("id") for attributes in Page(render([], about, [], [])).all("section")]
    page = Page(render([], replace(about, skipped=("Urban100: no <folder>.", "EDSR: no file.")), [], []))
    assert "skipped" in [attributes.get("id") for attributes in page.all("section")]
    assert page.within("li") == ["Urban100: no <folder>.", "EDSR: no file."]


def test_crops_are_embedded_without_loss_and_shown_equally_wide(about, comparisons):
    page = Page(render([], about, [], comparisons))
    shown = page.all("img")
    for image, (caption, crop) in zip(shown, comparisons[0].panels, strict=True):
        data = base64.b64decode(str(image["src"]).partition("base64,")[2])
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), crop)
        assert (image["width"], image["height"]) == ("192", "192")
        assert str(image["alt"]).startswith("Set5 bird.png, x2 g2.0d: ")
        assert caption.replace(EVIL, VISIBLE) in page.within("figcaption")


def test_every_text_is_escaped(rows, about, comparisons):
    evil = [
        r._replace(image=f"{EVIL}{r.image}", set=EVIL + r.set, kernel=EVIL, method=EVIL + r.method) for r in rows[:6]
    ]
    told = About(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, {EVIL: EVIL}, (EVIL,))
    tables = [(EVIL, f"| {EVIL} | {EVIL} |\n|---|---|\n| {EVIL} | 1.0 |\n\n{EVIL}")]
    text = render(evil, told, tables, [replace(comparisons[0], title=EVIL)])
    page = Page(text)
    assert page.all("script") == []
    assert "<script" not in text
    # command, protocol and its words, version, commit, machine, data and its name; skipped; two heads of columns, one
    # of a row, a paragraph; a caption
    outside = [said for tag, said in page.texts if tag not in ("title", "text", "h3") and VISIBLE in said]
    assert len(outside) == 8 + 1 + 4 + 1
    assert page.within("h3").count(VISIBLE) == 2  # a table and the crops
    tagged = [str(attributes["data-mark"]) for _, attributes in page.elements if "data-mark" in attributes]
    assert all(tag.count(VISIBLE) >= 2 for tag in tagged)  # set and cell, at the least


def test_the_page_needs_nothing_from_outside(rows, about, comparisons):
    stands_alone(render(rows, about, [("PSNR", TABLE)], comparisons))


def test_every_plot_has_a_name_and_every_mark_a_tooltip(rows, about):
    page = Page(render(rows, about, [], []))
    assert [drawing["aria-label"] for drawing in page.all("svg")] == [
        "Quality against steps",
        "Quality against seconds",
        "mzsr:blind, 1 step, against mzsr:blind, 0 steps, picture by picture",
        "mzsr:blind, 1 step, against bicubic, picture by picture",
    ]
    assert page.within("h3")[1:] == [drawing["aria-label"] for drawing in page.all("svg")]
    tagged = [attributes["data-mark"] for _, attributes in page.elements if "data-mark" in attributes]
    assert tagged == page.within("title")[1:]
    assert len(tagged) == 2 * 4 + len(METHODS) * 4 + 2 * 5 + 2 * 5


def test_the_same_rows_give_the_same_bytes(rows, about, comparisons):
    rows = rows[:12]
    first, second = (render(rows, about, [("PSNR", TABLE)], comparisons) for _ in range(2))
    assert first == second
    code = (  # another process, which hashes strings differently
        "import sys; from mzsr.benchmark import plots; from mzsr.benchmark.rows import Row\n"
        f"rows = [Row(*values) for values in {[tuple(r) for r in rows]!r}]\n"
        "sys.stdout.buffer.write((plots.quality_over_steps(rows) + plots.quality_over_seconds(rows)).encode())"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": os.pathsep.join([str(Path(plots.__file__).parents[2]), *sys.path]),
    }
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
    assert done.stdout.decode() == plots.quality_over_steps(rows) + plots.quality_over_seconds(rows)


def test_the_page_is_sound_in_a_browser(rows, about, comparisons, tmp_path, browser):
    path = tmp_path / "a & <b>#1.html"
    long = [row(f"{'long' * 30} set", "x" * 200 + ".png", "method" * 20, steps, 30.0) for steps in (0, 1)]
    table = TABLE + f"| {'set' * 40} | {'m' * 200} | 1.0 | 2.0 |\n"
    path.write_text(render(rows + long, about, [("PSNR", table), ("t" * 200, TABLE)], comparisons), "utf-8")
    for width in (320, 390, 1200):
        browser.screen(width, 900, touch=width < 500)
        browser.driver.get(path.as_uri())
        wide, page = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert (wide, page) == (width, width) or wide <= page == width
        small = browser.run(
            "return [...document.querySelectorAll('svg text')].filter(t => t.getBoundingClientRect().height < 9).length"
        )
        assert small == 0, "letters of the plots are too small to read"
    natural = browser.run("return [...document.images].map((i) => [i.complete, i.naturalWidth, i.width])")
    assert natural == [[True, 96, 192], [True, 48, 192], [True, 96, 192]]
    regions = browser.driver.find_elements("css selector", "[role=region]")
    assert all(region.accessible_name and region.get_attribute("tabindex") == "0" for region in regions)
    # The policy let no style by that is not the page's own: lines are drawn in the colours they were given
    line = browser.find("[data-mark] path")
    red, green, blue = (int(plots.COLOURS[1][start : start + 2], 16) for start in (1, 3, 5))
    assert line.value_of_css_property("stroke") == f"rgb({red}, {green}, {blue})"
    inks = []
    for scheme in ("light", "dark"):
        browser.screen(1200, 900, scheme=scheme)
        inks.append(browser.find("svg text").value_of_css_property("fill"))
    assert inks == ["rgb(28, 28, 26)", "rgb(233, 231, 225)"]
    assert browser.complaints() == []


@pytest.mark.parametrize("place", [(0, 0), (3, 40), (44, 60)])
def test_the_busiest_square_is_found(place):
    error, (top, left) = torch.zeros(1, 1, 60, 76), place
    error[..., top : top + 16, left : left + 16] = 1
    assert busiest(error, 16) == place


def test_the_worst_pictures_are_shown_and_no_method_that_cannot(photo, tmp_path):
    """The picture whose result lies furthest below the mean comes first; what refuses a cell is not beside it."""
    (tmp_path / "Some").mkdir()
    for name, picture in (("easy.png", photo.mean((2, 3), keepdim=True).expand_as(photo)), ("hard.png", photo)):
        files.write(tmp_path / "Some" / name, Picture(picture))
    sources, cells = read_set(tmp_path / "Some")[0], [Cell(2, "g1.3b")]
    methods = [parse("bicubic"), parse("mzsr-x2-direct", (0,)), parse("mzsr", (0,))]
    rows = [row for source in sources for cell in cells for method in (methods[0], methods[2])
            for row in run(Unit(source, cell, method, "mzsr"))]  # fmt: skip
    rows = [row._replace(seconds=0.1) for row in rows]  # however busy the machine is: slow methods are not shown
    first, second = worst_pictures(rows, sources, cells, methods)
    assert first.title.startswith("Some hard.png, x2 g1.3b: mzsr, 0 steps reaches ")
    assert second.title.startswith("Some easy.png")
    assert [caption for caption, _ in first.panels] == ["truth", "low resolution", "bicubic", "mzsr, 0 steps"]

"""Tests of the report: told in words, complete or absent."""

import math
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from pages import Page
from reports import example, gaussian

from mzsr.apps import error_map, report
from mzsr.apps.report import ReportData, render, write_report


@pytest.fixture
def data() -> ReportData:
    return example()


def test_a_page_that_carries_the_middle_says_so(data):
    assert "carries only" not in render(data)
    part = replace(data, size=(62, 94), before=data.before[8:23, 12:35], after=data.after[8:23, 12:35])
    assert "23 × 15 of its 94 × 62 pixels" in Page(render(part)).text


def test_the_map_lies_over_the_picture(data):
    error = np.random.default_rng(1).gamma(2.0, 2.0, (31, 47)).astype(np.float32)
    top = 2 * error_map.top(error)  # of a whole of which this is a part: colours mean what they mean there
    page = Page(render(replace(data, error=error, error_top=top, error_words="On average 4.0 <grey> levels.")))
    np.testing.assert_array_equal(page.picture("doubt"), error_map.coloured(error, top))
    assert [box for box in page.all("input") if box["type"] == "checkbox"] == [{"type": "checkbox", "id": "show-doubt"}]
    stops = [stop["stop-color"] for stop in page.all("stop")]
    assert (stops[0], stops[-1]) == ("#440154", "#fde725")
    for words in (error_map.WORDS, "On average 4.0 <grey> levels.", f"{top:g} or more"):
        assert words in page.text


def test_without_a_map_nothing_speaks_of_one(data):
    page = Page(render(data))
    assert not [box for box in page.all("input") if box["type"] == "checkbox"]
    assert [image["id"] for image in page.all("img")] == ["after", "before"]
    assert "unsure" not in page.text


@pytest.mark.parametrize("shape", [(1, 9_000_000), (9_000_000, 1), (2000, 3000)])
def test_no_picture_is_too_long_to_embed(shape):
    top, bottom, left, right = report.middle(*shape)
    assert 0 < (bottom - top) * (right - left) <= report.PICTURE_PIXELS
    assert (top + bottom) // 2 == shape[0] // 2
    assert (left + right) // 2 == shape[1] // 2


SHARPENING = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float64)


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (gaussian(15, 2.0, 1.0, 30), "2.00 pixels along its long axis and 1.00 across"),
        (gaussian(15, 2.0, 1.0, 30), "turned 30° counter-clockwise"),
        (gaussian(21, 1.5, 1.5, 0), "round: its standard deviations are 1.50 and 1.50 pixels"),
        (np.ones((1, 1)), "hardly spreads: its standard deviations are 0.00 and 0.00"),
        (SHARPENING, "sharpens as well as blurs"),
        (SHARPENING, "Red takes light away"),
    ],
)
def test_the_blur_is_told_in_words(data, kernel, words):
    page = Page(render(replace(data, kernel=kernel)))
    assert words in page.text
    assert "Estimated, confidence 0.83. " in page.text


@pytest.mark.parametrize(
    ("losses", "kept", "words"),
    [
        ([0.03, 0.015], 1, "In 1 step the error went from 0.0300 to 0.0150, 50% lower."),
        ([0.02, 0.01999], 1, "less than 1% lower."),
        ([0.02, 0.03, 0.03], 0, "2 steps did not lower the error of 0.0200, so nothing of it was kept"),
        ([0.04, 0.02, 0.03], 1, "from 0.0400 to 0.0200, 50% lower. What came after did not lower it further"),
        ([], 0, "No step was taken"),
        ([0.03, math.nan], 0, "1 step did not lower the error of 0.0300"),
        ([math.inf, math.nan], 0, "do not trust this result"),
    ],
)
def test_adaptation_is_told_in_words(data, losses, kept, words):
    rendered = render(replace(data, losses=losses, kept=kept))
    assert words in Page(rendered).text
    assert ("Error after each step" in rendered) == (len(losses) > 1 and losses[0] < 1)


def test_bars_are_in_proportion_and_the_sum_is_given(data):
    text = render(data)
    assert re.findall(r'<rect width="([\d.]+)%"', text) == ["1.00", "50.00", "100.00"]
    assert "in all4.5 s" in Page(text).text


def test_a_report_replaces_the_old_one_and_leaves_nothing_else(data, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(path, data)
    assert path.read_text(encoding="utf-8") == render(data)
    assert os.listdir(tmp_path) == ["report.html"]
    # as open to others as any file made here
    (tmp_path / "other").write_text("")
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode

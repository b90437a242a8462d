"""Tests of pages that can be mailed, by the report: nothing from outside, texts escaped, pictures without loss."""

import base64
import io
import os
from dataclasses import replace

import numpy as np
import pytest
from pages import Page, stands_alone
from PIL import Image
from reports import example

from mzsr.apps.report import ReportData, render, write_report
from mzsr.imaging.code_points import profile_of


@pytest.fixture
def data() -> ReportData:
    return example()


def test_the_page_needs_nothing_from_outside(data):
    stands_alone(render(data))


def test_every_text_is_escaped(data):
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;{{command}}{{before}}"
    plain = Page(render(data))
    page = Page(
        render(
            replace(
                data,
                name=evil,
                kernel_source=evil,
                note=evil,
                command=evil,
                seconds={evil: 1.0, "b": 1.0, "c": 1.0},
                facts={evil: evil, "Re-projection PSNR": evil},
            )
        )
    )
    for tag in ("script", "img"):
        assert len(page.all(tag)) == len(plain.all(tag))
    # title, heading, source, note, command, stage, label and two values
    assert page.text.count(evil) == 9
    assert page.all("img")[0]["alt"] == f"{evil}, enlarged by mzsr"


def test_a_name_that_is_no_unicode_still_gives_a_page(data, tmp_path):
    write_report(tmp_path / "r.html", replace(data, name=os.fsdecode(b"caf\xe9\x00\x1b.jpg")))
    assert "caf\ufffd\ufffd\ufffd.jpg" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_pictures_are_embedded_without_loss(data):
    page = Page(render(data))
    np.testing.assert_array_equal(page.picture("before"), data.before)
    np.testing.assert_array_equal(page.picture("after"), data.after)


def test_wide_colours_keep_their_profile(data):
    """Display P3 shown as sRGB would be pale; the uncertainty map has colours of its own."""
    icc = profile_of((12, 13))
    page = Page(render(replace(data, icc=icc)))
    for name in ("before", "after"):
        source = next(str(image["src"]) for image in page.all("img") if image["id"] == name)
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
            assert image.info["icc_profile"] == icc

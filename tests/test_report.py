"""The report: escaped, self-contained, complete or absent, and a divider that moves in a real browser."""

import base64
import hashlib
import io
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, chromium
from hypothesis import given
from hypothesis import strategies as st
from pages import Page
from PIL import Image

from mzsr.apps import charts, error_map, report
from mzsr.apps.report import ReportData, render, write_report
from mzsr.errors import InputError
from mzsr.imaging.code_points import profile_of


def gaussian(n: int, long: float, short: float, degrees: float) -> np.ndarray:
    """Taps of a Gaussian with these standard deviations, its long axis turned counter-clockwise from the horizontal."""
    row, column = np.indices((n, n)) - (n - 1) / 2
    angle = math.radians(degrees)
    along, across = column * np.cos(angle) - row * np.sin(angle), column * np.sin(angle) + row * np.cos(angle)
    taps = np.exp(-0.5 * ((along / long) ** 2 + (across / short) ** 2))
    return taps / taps.sum()


def solid(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.fixture
def data() -> ReportData:
    rng = np.random.default_rng(0)
    return ReportData(
        name="holiday.jpg",
        size=(31, 47),
        before=rng.integers(0, 256, (31, 47, 3), np.uint8),
        after=rng.integers(0, 256, (31, 47, 3), np.uint8),
        kernel=gaussian(15, 2.0, 1.0, 30),
        kernel_source="estimated, confidence 0.83",
        note="A little soft.",
        losses=[0.03, 0.02, 0.015],
        kept=2,
        seconds={"read": 0.03, "adapt": 1.5, "enhance": 3.0},
        facts={"model": "mzsr-x2", "re-projection PSNR": "48.3 dB"},
        command="mzsr upscale holiday.jpg -s 2",
    )


def test_the_page_needs_nothing_from_outside(data):
    page = Page(render(data))
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name != "style", f"{tag}: the policy forbids inline styles"
            assert not name.startswith("on"), f"{tag}: the policy forbids inline handlers"
            assert name not in ("href", "src", "srcset", "action") or str(value).startswith("data:")
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))


def test_the_policy_names_the_very_style_and_script_on_the_page(data):
    text = render(data)
    policy = str(Page(text).all("meta")[1]["content"])
    assert policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


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
                facts={evil: evil, "re-projection PSNR": evil},
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


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, 150.0])
def test_moments_recover_the_gaussian_that_was_drawn(degrees):
    centroid, variances, angle = charts.moments(gaussian(31, 3.0, 1.5, degrees))
    np.testing.assert_allclose(centroid, 0, atol=1e-9)
    np.testing.assert_allclose(np.sqrt(variances), [3.0, 1.5], rtol=1e-3)
    assert abs((angle - degrees + 90) % 180 - 90) < 0.1


def test_moments_of_two_points_are_exact():
    kernel = np.zeros((5, 5))
    kernel[0, 4] = kernel[2, 2] = 0.5  # the middle, and two right and two up of it
    centroid, variances, angle = charts.moments(kernel)
    np.testing.assert_allclose(centroid, [-1, 1])
    np.testing.assert_allclose(variances, [2, 0], atol=1e-12)
    assert angle == pytest.approx(45)


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


def test_the_heat_map_shows_each_tap_in_its_place_and_tone(data):
    kernel = np.array([[0, 0, 0], [0, 1.0, 0.25], [0, 0, 0]])
    drawing = charts.kernel_picture(kernel)
    taps = re.findall(r'<path d="M(\d+) (\d+)h80v80h-80z" fill-opacity="([\d.]+)"/>', drawing)
    assert taps == [("80", "80", "1.000"), ("160", "80", "0.250")]


@pytest.mark.parametrize(
    ("losses", "kept", "words"),
    [
        ([0.03, 0.015], 1, "In 1 step the error went from 0.0300 to 0.0150, 50% lower."),
        ([0.02, 0.01999], 1, "less than 1% lower."),
        ([0.02, 0.03, 0.03], 0, "2 steps did not lower the error of 0.0200, so nothing of it was kept"),
        ([0.04, 0.02, 0.03], 1, "from 0.0400 to 0.0200, 50% lower. What came after did not lower it further"),
        ([0.03], 0, "No step was taken"),
        ([], 0, "No step was taken"),
        ([0.03, math.nan], 0, "1 step did not lower the error of 0.0300"),
        ([math.inf, math.nan], 0, "do not trust this result"),
    ],
)
def test_adaptation_is_told_in_words(data, losses, kept, words):
    rendered = render(replace(data, losses=losses, kept=kept))
    assert words in Page(rendered).text
    assert ("Error after each step" in rendered) == (len(losses) > 1 and losses[0] < 1)


@given(st.lists(st.floats(1e-9, 1e6), min_size=2, max_size=200))
def test_the_curve_is_a_straight_scale_of_the_losses(losses):
    chart = charts.loss_chart(losses)
    lines = re.findall(r'class="curve" x1="([\d.]+)%" y1="([\d.]+)" x2="([\d.]+)%" y2="([\d.]+)"', chart)
    across = np.array([float(line[0]) for line in lines] + [float(lines[-1][2])])
    down = np.array([float(line[1]) for line in lines] + [float(lines[-1][3])])
    np.testing.assert_allclose(across, np.linspace(0, 100, len(losses)), atol=0.006)
    assert (down >= 0).all()
    assert (down <= 180).all()
    heights = [float(y) for y in re.findall(r'x2="100%" y1="([\d.]+)"', chart)]
    assert max(heights) == 180
    assert min(heights) == 0
    slope = (down[np.argmin(losses)] - down[np.argmax(losses)]) / (max(losses) - min(losses) or 1)
    np.testing.assert_allclose(down, down[np.argmax(losses)] + slope * (max(losses) - np.array(losses)), atol=0.2)


def test_bars_are_in_proportion_and_the_sum_is_given(data):
    text = render(data)
    assert re.findall(r'<rect width="([\d.]+)%"', text) == ["1.00", "50.00", "100.00"]
    assert "in all4.5 s" in Page(text).text


def test_nothing_recorded_is_said(data):
    page = Page(render(replace(data, seconds={}, facts={}, note="")))
    assert "No times were recorded." in page.text
    assert "No details were recorded." in page.text


def test_a_report_replaces_the_old_one_and_leaves_nothing_else(data, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(path, data)
    assert path.read_text(encoding="utf-8") == render(data)
    assert os.listdir(tmp_path) == ["report.html"]
    # as open to others as any file made here
    (tmp_path / "other").write_text("")
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_failed_write_keeps_the_old_report(data, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"report.html cannot be written \(No space left on device\).* choose"):
        write_report(path, data)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize(
    ("name", "message"), [("", "is a folder"), ("no/r.html", "No such file"), ("file/r.html", "Not a directory")]
)
def test_a_bad_place_is_one_line(data, tmp_path, name, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=message) as error:
        write_report(tmp_path / name, data)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"before": solid(4, 5, (0, 0, 0))}, r"before is \(4, 5, 3\) and after is \(31, 47, 3\)"),
        ({"after": np.zeros((31, 47, 3))}, r"after is float64 \(31, 47, 3\); it must be uint8"),
        ({"after": np.zeros((31, 47), np.uint8)}, r"after is uint8 \(31, 47\)"),
        ({"after": np.zeros((0, 47, 3), np.uint8)}, r"after is uint8 \(0, 47, 3\)"),
        ({"error": np.ones((31, 46))}, r"error is \(31, 46\) and after is \(31, 47, 3\); both must have one size"),
        ({"kernel": np.ones((3, 4))}, r"kernel is \(3, 4\); it must be square"),
        ({"kernel": np.full((3, 3), np.nan)}, "kernel sums to nan"),
        ({"kernel": -np.ones((3, 3))}, "kernel sums to -9"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(data, change, message):
    with pytest.raises(InputError, match=message):
        render(replace(data, **change))


def test_torch_is_not_imported():
    code = "import sys, mzsr.apps.report; sys.exit('torch' in sys.modules)"
    source = str(Path(report.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": source})


def near(pixels: float):
    """The divider hides two pixels of red and its edge shades a third; the frame may begin at half a pixel."""
    return pytest.approx(pixels, abs=4)


def red(browser: Browser) -> int:
    """Return how many pixels of the picture's visible width are red (before); the others are blue (after)."""
    return int((browser.picture_of("#scroller")[5] == (255, 0, 0)).all(axis=1).sum())


@pytest.fixture
def browser(tmp_path_factory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def soon(browser: Browser, wanted: float) -> bool:
    """Wait until the divider stands where it should, five seconds at most."""
    end = time.monotonic() + 5
    while red(browser) != near(wanted) and time.monotonic() < end:
        time.sleep(0.05)
    return red(browser) == near(wanted)


def test_the_divider_moves_in_a_browser(data, tmp_path, browser):
    from selenium.webdriver import ActionChains, Keys

    path = tmp_path / "a & <b>#1.html"
    write_report(path, replace(data, before=solid(400, 600, (255, 0, 0)), after=solid(400, 600, (0, 0, 255))))
    browser.screen(1280, 900)
    browser.driver.get(path.as_uri())
    slider, frame = browser.find("#slider"), browser.find("#frame")
    assert slider.aria_role == "slider"
    assert slider.accessible_name.startswith("Divider")
    assert browser.find("#after").size == {"width": 600, "height": 400}  # 1x
    assert red(browser) == near(300)

    # Keyboard: reached by Tab, one hundredth per arrow, Home and End.
    browser.find("body").send_keys(Keys.TAB)
    assert browser.driver.switch_to.active_element == slider
    slider.send_keys(Keys.ARROW_RIGHT * 5)
    assert red(browser) == near(330)
    assert slider.get_attribute("aria-valuetext") == "55% plain enlargement, 45% mzsr"
    slider.send_keys(Keys.HOME)
    assert red(browser) == 0
    slider.send_keys(Keys.END)
    assert red(browser) == near(600)

    # Mouse: press anywhere and drag, also past the edge.
    def mouse() -> ActionChains:
        return ActionChains(browser.driver, duration=50)

    mouse().move_to_element_with_offset(frame, 0, 0).click_and_hold().move_by_offset(-150, 40).perform()
    assert red(browser) == near(150)
    mouse().move_by_offset(-400, 0).perform()
    assert red(browser) == 0
    mouse().move_by_offset(520, 0).release().move_by_offset(-50, 0).perform()
    assert red(browser) == near(270)

    # Zoomed, the divider stays where it is while the picture is scrolled under it.
    browser.find("input[value='4']").find_element("xpath", "..").click()
    assert browser.find("#after").size == {"width": 2400, "height": 1600}
    wide = browser.run("return scroller.clientWidth")
    assert red(browser) == near(0.45 * wide)
    browser.run("scroller.scrollLeft = 0")
    assert red(browser) == near(0.45 * wide)

    # Finger, on a phone: across the picture it drags; zoomed it pans, and only the knob drags.
    browser.screen(390, 844, touch=True)
    browser.find("input[value='fit']").find_element("xpath", "..").click()
    box = frame.rect
    assert box["width"] == 350
    browser.swipe(((box["x"] + 300, box["y"] + 60), (box["x"] + 100, box["y"] + 60)))
    assert red(browser) == near(100)
    browser.find("input[value='4']").find_element("xpath", "..").click()
    at, left = red(browser), browser.run("return scroller.scrollLeft")
    browser.swipe(((box["x"] + 300, box["y"] + 60), (box["x"] + 200, box["y"] + 60)))
    assert browser.run("return scroller.scrollLeft") > left + 50
    assert soon(browser, at)  # the divider follows the scrolling a frame later, and a finger that was fast a few more
    knob = browser.find("#knob").rect
    x, y = knob["x"] + knob["width"] / 2, knob["y"] + knob["height"] / 2
    browser.swipe(((x, y), (x + 150, y)))
    assert red(browser) == near(at + 150)
    assert browser.run("return document.documentElement.scrollWidth") == 390

    assert browser.complaints() == []
    assert {url for url in browser.requests() if not url.startswith("data:")} == {path.as_uri()}


def test_the_map_is_shown_and_hidden_by_the_keyboard(data, tmp_path, browser):
    from selenium.webdriver import Keys

    def colour(x: int) -> list[int]:
        return browser.picture_of("#scroller")[200, x].tolist()

    path = tmp_path / "r.html"
    red, blue = solid(400, 600, (255, 0, 0)), solid(400, 600, (0, 0, 255))
    error = np.full((400, 600), 3.0, np.float32)
    shown = replace(data, size=(400, 600), before=red, after=blue, error=error, error_top=4.0)
    write_report(path, replace(shown, error_words="On average 3.0 levels."))
    browser.screen(1280, 900)
    browser.driver.get(path.as_uri())
    box, key = browser.find("#show-doubt"), browser.find("#doubt-key")
    assert (box.aria_role, box.accessible_name) == ("checkbox", "Show where it is unsure")
    assert (colour(50), colour(550), key.is_displayed()) == ([255, 0, 0], [0, 0, 255], False)
    browser.find("body").send_keys(Keys.TAB)
    browser.driver.switch_to.active_element.send_keys(Keys.TAB)  # from the divider
    assert browser.driver.switch_to.active_element == box
    box.send_keys(Keys.SPACE)
    expected = 0.8 * error_map.coloured(error, 4.0)[0, 0] + 0.2 * np.array([0, 0, 255])
    assert colour(550) == pytest.approx(expected.tolist(), abs=2)
    assert (colour(50), key.is_displayed()) == ([255, 0, 0], True)  # the map is about the result alone
    box.send_keys(Keys.SPACE)
    assert (colour(550), key.is_displayed()) == ([0, 0, 255], False)
    assert browser.complaints() == []

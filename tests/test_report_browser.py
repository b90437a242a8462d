"""Tests of the report in a real browser: its divider moves, its map is shown and hidden."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from browser import Browser, chromium
from reports import example, solid

from mzsr.apps import error_map
from mzsr.apps.report import ReportData, write_report


@pytest.fixture
def data() -> ReportData:
    return example()


def near(pixels: float):
    """The divider hides two pixels of red and its edge shades a third; the frame may begin at half a pixel."""
    return pytest.approx(pixels, abs=4)


def red(browser: Browser) -> int:
    """Return how many pixels of the picture's visible width are red (before); the others are blue (after)."""
    return int((browser.picture_of("#scroller")[5] == (255, 0, 0)).all(axis=1).sum())


@pytest.fixture
def browser(tmp_path_factory) -> Iterator[Browser]:
    """Return one for each test: what the other test asked for is not among its requests."""
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def soon(browser: Browser, wanted: float) -> bool:
    """Wait until the divider stands where it should; what never comes is given up after minutes."""
    end = time.monotonic() + 300
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

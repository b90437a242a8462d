"""Tests of a result on the page: it is explained, and compared by the divider, the zoom, the loupe and the map."""

import numpy as np
import pytest
from visitor import PHONE

pytest.importorskip("fastapi", reason="needs the extra serve")


def test_a_result_is_explained_in_plain_words(done):
    page = done
    page.shot("done")
    assert page.text("#findings h2") == "What your picture went through"
    words = page.text("#findings")
    for part in ("Blur", "A point of light was spread over about", "Grain", "of 255 grey levels. It was taken away."):
        assert part in words
    assert "expected PSNR" in words
    losses = page.browser.run(
        "return [...document.querySelectorAll('.curve circle')].map((c) => Number(c.getAttribute('cy')))"
    )
    assert len(losses) == 2, "the error before and after one step"
    assert page.browser.find(".curve").accessible_name.startswith("Error after each round: from ")
    assert page.browser.run("return document.querySelector('.beside img').naturalWidth") > 100
    report = page.browser.find("#report")
    assert (report.get_attribute("target"), report.get_attribute("rel")) == ("_blank", "noopener")


@pytest.mark.parametrize(
    ("agreement", "degradation", "words"),
    [
        (40, {"jpeg": {"quality": 40, "error": 0.03}}, "Nobody could tell them apart."),
        (31, {"noise": 5 / 255}, "What differs is mostly the grain that was taken away."),
        (30, {"jpeg": {"quality": 40, "error": 0.03}}, "What differs is mostly what JPEG had left."),
        (20, {"noise": 5 / 255}, "They do not agree: the blur that was found is probably wrong."),
        (25, {}, "They differ a little: not all of it could be explained."),
        (18, {}, "They do not agree: the blur that was found is probably wrong. Under “What happened to it”, try "
         "“Nothing: it was only made smaller” or “A blur that I draw”."),
        (18, {"kernel": "given"}, "the blur that you gave is probably wrong. Under “What happened to it”, try “Find"),
    ],
)  # fmt: skip
def test_an_agreement_is_explained(done, agreement, degradation, words):
    done.browser.driver.execute_async_script(
        """
        const [agreement, degradation, told] = arguments;
        Promise.all([import("/static/findings.js"), fetch("/api/jobs/" + location.hash.slice(1)).then((r) => r.json())])
          .then(([findings, job]) => {
            job.record.reprojection_psnr_db = agreement;
            Object.assign(job.record.degradation, {noise: 0, jpeg: null, kernel: "auto"}, degradation);
            findings.show(job);
            told();
          });
        """,
        agreement,
        degradation,
    )
    assert f"agrees with your picture to {agreement}.0 dB. " in done.text("#findings")
    assert words in done.text("#findings")
    for setting in ("What happened to it", "Nothing: it was only made smaller", "A blur that I draw", "Find out"):
        assert setting in done.browser.find("#settings").get_attribute("textContent")


def test_the_divider_follows_keys_mouse_and_finger(done):
    from selenium.webdriver import ActionChains, Keys

    page, browser = done, done.browser
    page.paint()
    slider, frame = browser.find("#slider"), browser.find("#frame")
    assert (slider.aria_role, slider.accessible_name.split(":")[0]) == ("slider", "Divider")
    near = pytest.approx(225, abs=4)
    assert page.red() == near, "450 pixels of picture at 100 %, half of them plain"
    slider.send_keys(Keys.ARROW_RIGHT * 20)
    assert page.red() == pytest.approx(315, abs=4)
    assert slider.get_attribute("aria-valuetext") == "70 % plain enlargement"
    slider.send_keys(Keys.HOME)
    assert page.red() == 0
    slider.send_keys(Keys.END)
    assert page.red() == pytest.approx(450, abs=2)
    mouse = ActionChains(browser.driver, duration=50)
    mouse.move_to_element_with_offset(frame, 0, 0).click_and_hold().move_by_offset(-100, 40).release().perform()
    assert page.red() == pytest.approx(125, abs=4)
    browser.screen(*PHONE, touch=True)
    page.until("document.querySelector('#frame').clientWidth < 340")
    box = frame.rect
    browser.run("document.querySelector('#frame').scrollIntoView({block: 'start'})")
    top = browser.run("return document.querySelector('#frame').getBoundingClientRect().top") + 150
    browser.swipe(((box["x"] + 50, top), (box["x"] + 250, top)))
    assert page.red() == pytest.approx(250, abs=6)


def test_the_picture_is_zoomed_and_moved(done):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    page, browser = done, done.browser
    frame, slider = browser.find("#frame"), browser.find("#slider")

    def lies() -> list[float]:
        """Return left, top and width of the picture within the frame."""
        return browser.run(
            """
            const [frame, plane] = ["frame", "plane"].map((id) => document.getElementById(id).getBoundingClientRect());
            return [plane.left - frame.left, plane.top - frame.top, plane.width];
            """
        )

    def wheel(notches: int, x: int = 0, y: int = 0) -> None:
        origin = ScrollOrigin.from_element(frame, x, y)
        ActionChains(browser.driver, duration=0).scroll_from_origin(origin, 0, 100 * notches).perform()

    assert lies()[2] == 450
    wheel(-1)
    assert lies()[2] == 450, "an untouched picture lets the page scroll"
    browser.run("window.scrollTo(0, 0)")
    slider.send_keys("2")
    assert (lies()[2], page.text("#zoom")) == (900, "200 %")
    browser.run("arguments[0].focus()", slider)
    left, top, width = lies()
    wheel(-1, 100, 50)
    after = lies()
    centre = frame.size["width"] / 2 + 100, frame.size["height"] / 2 + 50
    assert after[2] == pytest.approx(1.25 * width, rel=1e-3)
    for axis in (0, 1):  # what lay under the pointer lies there still
        assert (centre[axis] - after[axis]) / after[2] == pytest.approx(
            (centre[axis] - (left, top)[axis]) / width, abs=0.003
        )
    ActionChains(browser.driver, duration=50).move_to_element_with_offset(
        frame, -60, 60
    ).click_and_hold().move_by_offset(-40, -30).release().perform()
    assert lies()[:2] == pytest.approx([after[0] - 40, after[1] - 30], abs=1.5)
    slider.send_keys(Keys.SHIFT + Keys.ARROW_LEFT)
    assert lies()[0] == pytest.approx(after[0] + 20, abs=1.5)
    slider.send_keys("0")
    assert lies()[2] == 450
    page.click("#larger")
    assert page.text("#zoom") == "125 %"
    page.click("[data-zoom='1']")
    assert browser.find("[data-zoom='1']").get_attribute("aria-pressed") == "true"
    browser.screen(*PHONE, touch=True)
    browser.run("scrollTo(0, 0); document.querySelector('[data-zoom=\"1\"]').click()")
    box = browser.run("const b = document.querySelector('#frame').getBoundingClientRect(); return [b.left, b.top]")
    x, y = box[0] + 160, box[1] + 150
    browser.swipe(((x - 20, y), (x - 60, y)), ((x + 20, y), (x + 60, y)))
    assert lies()[2] == pytest.approx(3 * 450, rel=0.1), "two fingers, three times as far apart"


def test_the_loupe_shows_one_spot_of_both(done):
    from selenium.webdriver import ActionChains, Keys

    page, browser = done, done.browser
    page.paint()

    def colours() -> list[list[int]]:
        return browser.run(
            """
            return ["loupe-before", "loupe-after"].map((id) =>
              [...document.getElementById(id).getContext("2d").getImageData(40, 40, 1, 1).data]);
            """
        )

    def spot() -> tuple[float, float]:
        rect = browser.run("return document.querySelector('#spot').getBoundingClientRect().toJSON()")
        return rect["left"] + rect["width"] / 2, rect["top"] + rect["height"] / 2

    browser.find("#slider").send_keys("l")
    assert browser.find("#toggle-loupe").get_attribute("aria-pressed") == "true"
    assert colours() == [[255, 0, 0, 255], [0, 0, 255, 255]]
    before = spot()
    browser.find("#slider").send_keys(Keys.SHIFT + Keys.ARROW_RIGHT * 3)
    assert spot() == pytest.approx((before[0] + 48, before[1]), abs=2)
    frame = browser.find("#frame")
    ActionChains(browser.driver, duration=50).move_to_element_with_offset(frame, 30, 40).perform()
    box = browser.run("return document.querySelector('#frame').getBoundingClientRect().toJSON()")
    assert spot() == pytest.approx((box["left"] + box["width"] / 2 + 30, box["top"] + box["height"] / 2 + 40), abs=2)
    page.shot("loupe")


def test_what_is_transparent_shows_nothing_of_the_other_side(done):
    """Where the plain picture is transparent, nothing of the result behind it is seen: that is cut off as well."""
    done.paint()
    done.browser.run("document.getElementById('before').src = document.createElement('canvas').toDataURL()")
    done.until("document.querySelector('#before').complete")
    row = done.browser.picture_of("#frame")[-20]
    blue = (row == (0, 0, 255)).all(axis=1)
    middle = len(row) // 2
    assert not blue[: middle - 25].any()
    assert blue[middle + 25 :].any()


def test_the_map_of_doubt_lies_over_the_result_alone(done):
    page, browser = done, done.browser
    assert not browser.find("#doubt").is_displayed()
    page.click("#toggle-doubt")
    page.until("document.querySelector('#doubt').naturalWidth === 450")
    page.shot("doubt")
    doubted = browser.picture_of("#frame").astype(int)
    page.click("#toggle-doubt")
    changed = np.abs(doubted - browser.picture_of("#frame")).max(axis=2) > 20
    width = changed.shape[1]
    assert changed[60:, width // 2 + 20 : width // 2 + 200].mean() > 0.5
    assert not changed[:, : width // 2 - 25].any()
    page.click("#toggle-doubt")
    ticks = [tick.text for tick in browser.driver.find_elements("css selector", "#ticks span")]
    assert ticks[0] == "0"
    assert ticks[-1].endswith(" or more")

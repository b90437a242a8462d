"""Tests that nobody is kept from the page: by colours, by small screens, by having no mouse."""

import pytest
from visitor import DESK, PHONE, SMALL_PHONE

pytest.importorskip("fastapi", reason="needs the extra serve")


@pytest.mark.parametrize("state", ["empty", "done"])
def test_the_page_is_for_everybody(page, finished, state):
    """No serious finding of axe, one first heading, nothing to scroll sideways, in light, in dark and on phones."""
    axe = pytest.importorskip("axe_core_python.selenium", reason="needs axe-core-python").Axe()
    page.open(finished if state == "done" else "")
    page.until_state(state)
    if state == "done":
        page.click("#toggle-loupe")
        page.click("#toggle-doubt")
        page.browser.run("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        page.browser.run("document.querySelector('[name=kernel][value=drawn]').click()")
    papers = []
    for name, size, options in (
        ("light", DESK, {}), ("dark", DESK, {"scheme": "dark"}),
        ("phone", PHONE, {"touch": True, "scheme": "dark"}), ("small", SMALL_PHONE, {"touch": True}),
    ):  # fmt: skip
        page.browser.screen(*size, **options)
        wide = page.browser.run("return document.documentElement.scrollWidth")
        assert wide <= size[0], f"{name}: {wide} pixels"
        papers.append(page.browser.find("body").value_of_css_property("background-color"))
        if name != "small":
            found = axe.run(page.browser.driver)["violations"]
            grave = [
                (each["id"], [node["html"] for node in each["nodes"]])
                for each in found
                if each["impact"] in ("serious", "critical") or each["id"] == "page-has-heading-one"
            ]
            assert grave == []
        seen = page.browser.find("h1").size["height"] > 1
        assert seen == (state == "empty"), "later it is there for screen readers alone"
        page.shot(f"{state}-{name}")
    assert papers[0] == papers[3] != papers[1] == papers[2]


def test_everything_can_be_reached_by_the_keyboard(done):
    from selenium.webdriver import Keys

    reached = []
    done.browser.run("document.activeElement.blur()")
    for _ in range(40):
        done.browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        element = done.browser.driver.switch_to.active_element
        reached.append(element.get_attribute("id") or element.get_attribute("name") or element.text)
        outline = done.browser.run(
            "const e = document.activeElement; return [e, e.nextElementSibling, document.querySelector('#knob svg')]"
            ".some((part) => part && getComputedStyle(part).outlineStyle !== 'none')"
        )
        assert outline or element.tag_name == "body", f"no focus is seen at {reached[-1]}"
        if element.tag_name == "body":
            break
    for name in (
        "slider",
        "smaller",
        "larger",
        "toggle-loupe",
        "toggle-doubt",
        "download",
        "report",
        "another",
        "scale",
        "mode",
        "start",
    ):
        assert name in reached


def test_what_is_on_can_be_told_in_forced_colours(done):
    """High contrast takes backgrounds and shadows away: toggles, the chosen scale, the bar and the line keep theirs."""
    page, browser = done, done.browser

    def colour(selector: str, part: str = "background-color") -> str:
        return browser.find(selector).value_of_css_property(part)

    for scheme in ("light", "dark"):
        browser.screen(*DESK, scheme=scheme, forced="active")
        assert browser.run("return matchMedia('(forced-colors: active)').matches")
        assert colour("[data-zoom][aria-pressed=true]") != colour("[data-zoom][aria-pressed=false]")
        assert colour(".segments input:checked + span") != colour(".segments input:not(:checked) + span")
        assert colour("#divider") == colour("body", "color") != colour("body")
        browser.run("document.querySelector('#progress').hidden = false; document.querySelector('#bar').value = .5")
        bar = browser.picture_of("#bar").astype(int)
        middle, (full, empty) = bar.shape[0] // 2, (bar.shape[1] // 4, 3 * bar.shape[1] // 4)
        assert abs(bar[middle, full] - bar[middle, empty]).max() > 60, "how far it is can be seen"
        assert abs(bar[0, empty] - bar[middle, empty]).max() > 60, "and how far it has to go"
        page.shot(f"done-forced-{scheme}")
        browser.run("document.querySelector('#progress').hidden = true")

"""Tests that take the tour of docs/page.md with the shipped weights, and measure what people wait for.

Pictures and numbers go where MZSR_SHOTS says: `MZSR_SHOTS=docs/page pytest tests/test_page_tour.py -m slow`.
"""

import base64
import io
import json
import os

import pytest
from PIL import Image
from visitor import DESK, PHONE, Page

pytest.importorskip("fastapi", reason="needs the extra serve")

from servers import running

from mzsr.service.api import WEB
from mzsr.service.pool import Slot


@pytest.mark.slow
def test_the_tour_is_taken_with_the_shipped_weights(browser, shots, tmp_path, photograph):
    """Takes the pictures of docs/page.md; see the top of this file."""
    from selenium.webdriver import ActionChains, Keys

    with running(tmp_path, "mzsr", slot=Slot) as client:
        page = Page(browser, f"{client.base_url}/", tmp_path)
        sizes = {}

        def take(name: str, selector: str = "html") -> None:
            """Keep what is on the screen, or an element of it with a margin, in 256 colours."""
            browser.run("arguments[0].scrollIntoView({block: 'start'})", browser.find(selector))
            box = browser.run("return arguments[0].getBoundingClientRect().toJSON()", browser.find(selector))
            screen = Image.open(io.BytesIO(base64.b64decode(browser.tell("Page.captureScreenshot")["data"])))
            edges = [max(0, box["left"] - 16), max(0, box["top"] - 16), box["right"] + 16, box["bottom"] + 16]
            part = screen.crop((*edges[:2], min(screen.width, edges[2]), min(screen.height, edges[3]))).convert("RGB")
            part.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(shots / f"{name}.png", optimize=True)
            sizes[name] = (shots / f"{name}.png").stat().st_size

        browser.screen(1200, 930)
        page.open()
        page.until("[...document.images].every((image) => image.complete)")
        take("start")
        browser.screen(1200, 840)
        page.choose(WEB / "examples" / "astronaut.jpg")
        page.until("document.querySelector('#becomes').textContent")
        page.click("[name=mode][value=best]")
        take("chosen")
        page.click("#start")
        page.until("document.querySelector('#told').textContent.startsWith('Enlarging')")
        take("working")
        page.click("#cancel")
        page.until_state("chosen")
        browser.screen(1200, 1240)
        page.click("#past summary")
        page.click("[name=kernel][value=drawn]")
        for name, keys in (("along", Keys.ARROW_RIGHT * 20), ("angle", Keys.ARROW_RIGHT * 30)):
            browser.find(f"#{name}").send_keys(keys)
        browser.run("document.activeElement.blur()")
        take("blur", "#past")
        browser.screen(1200, 840)
        page.open()
        page.click("#examples li:nth-child(1) button")
        page.until_state("done")
        page.until("document.querySelector('#before').complete && document.querySelector('#after').complete")
        browser.find("#slider").send_keys(Keys.ARROW_LEFT * 5)
        browser.run("document.activeElement.blur()")
        take("done")
        assert page.red() == 0, "a photograph, not the colours of a test"
        take("explained", "#findings")
        browser.find("#slider").send_keys("l")
        browser.run("document.activeElement.blur(); scrollTo(0, 0)")
        ActionChains(browser.driver).move_to_element_with_offset(browser.find("#frame"), 85, 65).perform()
        take("loupe", "#viewer")
        browser.screen(*PHONE, touch=True, scheme="dark")
        browser.run("scrollTo(0, 0); document.querySelector('#toggle-loupe').click()")
        take("phone")
        if client.get(f"/api/jobs/{browser.run('return location.hash.slice(1)')}").json()["links"]["uncertainty"]:
            browser.screen(1200, 840)
            page.click("#toggle-doubt")
            take("doubt", "#viewer")
        assert max(sizes.values()) < 400_000, sizes


@pytest.mark.slow
def test_what_people_wait_for_is_measured(browser, shots, tmp_path):
    """Writes seconds.json: the page's first byte, a thumbnail, and 256 x 256 → 512 x 512 once the server is warm."""
    with running(tmp_path, "mzsr", slot=Slot, threads=int(os.environ.get("OMP_NUM_THREADS", "2"))) as client:
        page = Page(browser, f"{client.base_url}/", tmp_path)
        browser.screen(*DESK)
        told = []
        for _ in range(4):
            page.open()
            first = browser.run("return performance.getEntriesByType('navigation')[0].responseStart")
            page.choose(WEB / "examples" / "astronaut.jpg")
            page.until("performance.getEntriesByName('choice to thumbnail').length")
            page.click("#start")
            page.until("performance.getEntriesByName('start to result').length")
            names = "choice to thumbnail", "start to result"
            spans = browser.run("return arguments[0].map((n) => performance.getEntriesByName(n)[0].duration)", names)
            told.append(dict(zip(("first byte", *names), (first, *spans), strict=True)))
            assert page.text("#outcome-title") == "512 × 512 pixels"
        (shots / "seconds.json").write_text(json.dumps(told, indent=1))

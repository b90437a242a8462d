"""The page of `mzsr serve` in a real browser, and what people do there; MZSR_SHOTS names a folder for its pictures."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from browser import Browser

SHOTS = os.environ.get("MZSR_SHOTS")
PHONE, SMALL_PHONE, DESK = (360, 740), (320, 640), (1280, 900)


@dataclass
class Page:
    """The page in a browser, and what people do on it."""

    browser: Browser
    address: str
    shots: Path

    def open(self, anchor: str = "") -> None:
        """Come for the first time: nothing is remembered."""
        if self.browser.driver.current_url.startswith(self.address):
            self.browser.run("sessionStorage.clear()")
        self.browser.driver.get("about:blank")
        self.browser.driver.get(self.address + anchor)
        self.until("document.querySelectorAll('#examples li').length > 0")

    def until(self, script: str) -> None:
        """Wait until an expression of JavaScript is true; five minutes are enough for any machine."""
        end = time.monotonic() + 300
        while not self.browser.run(f"return Boolean({script})"):
            if time.monotonic() > end:
                self.shot("stuck")
                raise AssertionError(f"never came true: {script}; the page says: {self.text('main')}")
            time.sleep(0.02)

    def until_state(self, state: str) -> None:
        self.until(f"document.querySelector('#main').dataset.state === '{state}'")

    def text(self, selector: str) -> str:
        return self.browser.find(selector).text

    def click(self, selector: str) -> None:
        self.browser.run("arguments[0].scrollIntoView({block: 'center'})", self.browser.find(selector))
        self.browser.find(selector).click()

    def choose(self, path: Path) -> None:
        self.browser.run("document.getElementById('file').value = ''")  # as the page does before its dialog opens
        self.browser.find("#file").send_keys(str(path))

    def shot(self, name: str) -> None:
        """Keep what the whole page looks like, for those who want to see it and when a test is stuck."""
        if SHOTS or name == "stuck":
            (self.shots / f"{name}.png").write_bytes(self.browser.picture())

    def red(self) -> int:
        """Return how many pixels of the frame's width are red, the colour that `paint` gave to the plain picture."""
        return int((self.browser.picture_of("#frame")[-20] == (255, 0, 0)).all(axis=1).sum())

    def paint(self) -> None:
        """Make the plain picture red and the result blue, so that it can be told which is seen where."""
        self.browser.run(
            """
            for (const [id, colour] of [["before", "#f00"], ["after", "#00f"]]) {
              const canvas = Object.assign(document.createElement("canvas"), {width: 450, height: 300});
              const context = canvas.getContext("2d");
              context.fillStyle = colour;
              context.fillRect(0, 0, 450, 300);
              document.getElementById(id).src = canvas.toDataURL();
            }
            """
        )
        self.until("[...document.querySelectorAll('#before, #after')].every((image) => image.complete)")

"""Chromium for tests, without a window: the one place that knows its flags, its screens and how a finger moves."""

import base64
import importlib.util
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

FLAGS = (
    "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    "disable-component-update disable-sync force-device-scale-factor=1 "
    "blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"  # a mouse
).split()


class Browser:
    """A window of Chromium. `driver` is selenium's."""

    def __init__(self, folder: Path):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for flag in (*FLAGS, f"user-data-dir={folder}"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def tell(self, command: str, **values: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, values)

    def run(self, script: str, *values: Any) -> Any:
        """Run JavaScript on the page and return what it returns."""
        return self.driver.execute_script(script, *values)

    def find(self, selector: str) -> Any:
        """Return the first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def screen(
        self, width: int, height: int, *, touch: bool = False, scheme: str = "light", forced: str = "none"
    ) -> None:
        """Become a screen of this size, one with fingers instead of a mouse, light or dark, with colours of its own."""
        self._screen = (width, height), {"touch": touch, "scheme": scheme, "forced": forced}
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.tell("Emulation.setTouchEmulationEnabled", enabled=touch)
        features = {"prefers-color-scheme": scheme, "forced-colors": forced}
        self.tell("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features.items()])

    def picture(self) -> bytes:
        """Return what the whole page looks like, below the edge of the screen too, as a PNG."""
        made = self.tell("Page.captureScreenshot", captureBeyondViewport=True)
        self.screen(*self._screen[0], **self._screen[1])  # which that has put off
        return base64.b64decode(made["data"])

    def picture_of(self, selector: str) -> np.ndarray:
        """Return what an element looks like, (H, W, 3)."""
        return np.asarray(Image.open(io.BytesIO(self.find(selector).screenshot_as_png)).convert("RGB"))

    def swipe(self, *fingers: tuple[tuple[float, float], tuple[float, float]]) -> None:
        """Move each finger from its first point to its second in ten steps."""
        for step in range(11):
            points = [
                {"x": x1 + (x2 - x1) * step / 10, "y": y1 + (y2 - y1) * step / 10, "id": finger}
                for finger, ((x1, y1), (x2, y2)) in enumerate(fingers)
            ]
            self.tell("Input.dispatchTouchEvent", type="touchMove" if step else "touchStart", touchPoints=points)
        self.tell("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def requests(self) -> list[str]:
        """Return every address asked for, by any page but the browser's own start page."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [event["request"]["url"] for event in sent if not event["documentURL"].startswith("chrome://")]

    def complaints(self) -> list[dict[str, Any]]:
        """Return what the console said since the last call: errors, warnings, breaches of a policy."""
        return self.driver.get_log("browser")


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Yield a browser with an empty profile in `folder`; skip the test where there is none."""
    missing = [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]
    missing += ["selenium"] if importlib.util.find_spec("selenium") is None else []
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    browser = Browser(folder)
    try:
        yield browser
    finally:
        browser.driver.quit()

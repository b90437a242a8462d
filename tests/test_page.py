"""The page in a real browser, before a real server with a real worker: all that a person does there, in their order.

MZSR_SHOTS names a folder for what the page looked like. With `-m slow`, the tour of docs/page.md is taken with the
shipped weights, and its pictures are written there: `MZSR_SHOTS=docs/page pytest tests/test_page.py -m slow`.
"""

import base64
import io
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, chromium
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")

from servers import Asleep, running

from mzsr.service.api import WEB
from mzsr.service.pool import ProcessSlot
from mzsr.service.store import Store

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
        """Wait until an expression of JavaScript is true; half a minute is enough for any machine."""
        end = time.monotonic() + 30
        while not self.browser.run(f"return Boolean({script})"):
            if time.monotonic() > end:
                self.shot("stuck")
                raise AssertionError(f"never came true: {script}; the page says: {self.text('main')}")
            time.sleep(0.1)

    def until_state(self, state: str) -> None:
        self.until(f"document.querySelector('#main').dataset.state === '{state}'")

    def text(self, selector: str) -> str:
        return self.browser.find(selector).text

    def click(self, selector: str) -> None:
        self.browser.run("arguments[0].scrollIntoView({block: 'center'})", self.browser.find(selector))
        self.browser.find(selector).click()

    def choose(self, path: Path) -> None:
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


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    folder = Path(SHOTS) if SHOTS else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(tmp_path_factory, browser, doubting_weights) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("served"), doubting_weights, max_pixels=50_000) as client:
        yield f"{client.base_url}/"
        browser.driver.get("about:blank")  # or it would still be asking while the server stops


@pytest.fixture
def page(browser, address, shots) -> Iterator[Page]:
    browser.screen(*DESK)
    browser.tell("Network.enable")
    browser.complaints()
    yield Page(browser, address, shots)
    said = [entry["message"] for entry in browser.complaints() if entry["source"] != "network"]
    assert said == [], "the console must stay empty"


@pytest.fixture(scope="module")
def finished(browser, address, shots) -> str:
    """Return the anchor of a job that is done: the noisy cat, 225 x 150 → 450 x 300."""
    page = Page(browser, address, shots)
    browser.screen(*DESK)
    page.open()
    page.click("#examples li:nth-child(3) button")
    page.until_state("done")
    return browser.run("return location.hash")


@pytest.fixture
def done(page, finished) -> Page:
    """Return the page with that job on it, as if just opened."""
    if page.browser.driver.current_url.startswith(page.address):
        page.browser.run("document.activeElement.blur(); history.replaceState(null, '', '/')")
        page.browser.run(f"location.hash = '{finished}'")
        page.until("document.activeElement.id === 'outcome-title'")
    else:
        page.open(finished)
    page.until_state("done")
    page.until("document.querySelector('#before').complete && document.querySelector('#after').naturalWidth > 0")
    return page


@pytest.fixture(scope="module")
def photograph(tmp_path_factory) -> Path:
    """Return a small JPEG, 90 x 60, that names its photographer."""
    path = tmp_path_factory.mktemp("mine") / "holiday & <b>.jpg"
    exif = Image.Exif()
    exif[0x013B] = "Ansel"
    with Image.open(WEB / "examples" / "coffee.png") as picture:
        picture.convert("RGB").crop((90, 60, 180, 120)).save(path, exif=exif, quality=90)
    return path


def test_a_picture_is_chosen_seen_sent_watched_and_downloaded(page, photograph):
    from selenium.webdriver import Keys

    page.open()
    page.shot("empty")
    assert page.text("h1") == "Make a small picture larger"
    page.choose(photograph)
    page.until("performance.getEntriesByName('choice to thumbnail').length")
    page.until_state("chosen")
    assert page.browser.run("return document.querySelector('#preview-picture').naturalWidth") == 90
    assert page.text("#preview-name") == photograph.name
    assert page.text("#becomes") == "90 × 60 pixels become 180 × 120."
    page.click("[name=scale][value='3']")
    assert page.text("#becomes") == "90 × 60 pixels become 270 × 180."
    page.shot("chosen")
    page.browser.run(
        """
        window.heard = [];
        const told = document.querySelector("#told");
        new MutationObserver(() => heard.push(told.textContent)).observe(told, {childList: true});
        """
    )
    page.click("[name=scale][value='2']")
    page.browser.find("#start").send_keys(Keys.ENTER)
    page.until_state("done")
    heard = page.browser.run("return heard")
    assert heard[0] == "Sending your picture …"
    assert len(heard) == len(set(heard)), "screen readers are told every stage once"
    assert page.text("#outcome-title") == "180 × 120 pixels"
    assert page.browser.run("return document.activeElement.id") == "outcome-title"
    encoded = page.browser.driver.execute_async_script(
        """
        const done = arguments[0];
        fetch(document.querySelector("#download").href).then(async (response) => {
          const bytes = new Uint8Array(await response.arrayBuffer());
          done([response.headers.get("Content-Disposition"), btoa(String.fromCharCode(...bytes))]);
        });
        """
    )
    assert encoded[0].startswith("attachment")
    assert "_x2.jpg" in encoded[0]
    result = Image.open(io.BytesIO(base64.b64decode(encoded[1])))
    assert (result.size, result.format, result.getexif()[0x013B]) == ((180, 120), "JPEG", "Ansel")
    assert page.text("#visit li strong") == photograph.name
    assert {re.sub(r"^(\w+:).*", r"\1", url) for url in page.browser.requests()} <= {"http:", "blob:", "data:"}


def test_nothing_is_asked_of_anybody_else(done):
    urls = [url for url in done.browser.requests() if not url.startswith(("blob:", "data:"))]
    assert urls
    assert all(url.startswith(done.address) for url in urls)


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


def test_a_blur_that_is_drawn_is_the_one_that_is_used(page, photograph):
    from selenium.webdriver import Keys

    page.open()
    page.choose(photograph)
    page.until_state("chosen")
    page.click("#past summary")
    page.click("[name=kernel][value=drawn]")
    for name, keys in (
        ("along", Keys.ARROW_RIGHT * 12),
        ("across", Keys.ARROW_LEFT * 10),
        ("angle", Keys.ARROW_RIGHT * 30),
    ):
        page.browser.find(f"#{name}").send_keys(keys)
    shown = [page.text(f"#{name}-value") for name in ("along", "across", "angle")]
    assert shown == ["2.00 px", "0.90 px", "30°"]
    assert "turned 30 degrees" in page.browser.find("#kernel").accessible_name
    page.shot("kernel")
    drawn = page.browser.run(
        """
        const canvas = document.querySelector("#kernel"), cell = canvas.width / 21;
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.width);
        const middle = (index) => Math.floor((index + .5) * cell);
        const tap = (i) => data[4 * (middle(Math.floor(i / 21)) * canvas.width + middle(i % 21))];
        return Array.from({length: 441}, (_, i) => tap(i));
        """
    )
    drawn = np.reshape(drawn, (21, 21)).astype(float)
    row, column = np.indices((21, 21)) - 10
    covariance = [float((drawn * a * b).sum() / drawn.sum()) for a, b in ((row, row), (row, column), (column, column))]
    page.click("[name=grain][value=known]")
    page.browser.find("#noise").send_keys(Keys.ARROW_LEFT * 2)
    page.click("#jpeg")
    page.click("[name=mode][value=fast]")
    page.click("#start")
    page.until_state("done")
    job = page.browser.driver.execute_async_script(
        "fetch('/api/jobs/' + location.hash.slice(1)).then((r) => r.json()).then(arguments[0])"
    )
    used = job["record"]["degradation"]
    flat = [value for line in used["covariance_px2"] for value in line]
    np.testing.assert_allclose([flat[0], flat[1], flat[3]], covariance, atol=0.06)
    assert (used["kernel"], used["noise"], used["jpeg"]) == ("given", pytest.approx(4 / 255, abs=1e-6), None)
    assert job["record"]["steps"] == 0
    assert "as it had been trained" in page.text("#findings")


def test_what_is_refused_is_said_and_another_picture_may_come(page, photograph, tmp_path):
    page.open()
    coffee = (WEB / "examples" / "coffee.png").read_bytes()
    for name, content, sent, words in (
        ("notes.txt", b"hello", False, "notes.txt is no kind of picture that can be read."),
        ("empty.png", b"", False, "empty.png is empty."),
        ("broken.png", b"no picture at all", True, "The picture is no image that can be read; "),
        ("large.png", coffee, True, "has 300 x 200 pixels, 0.1 million; the limit here is 0.05 million"),
    ):
        (tmp_path / name).write_bytes(content)
        page.choose(tmp_path / name)
        if sent:
            page.until(f"document.querySelector('#preview-name').textContent === '{name}'")
            seen = "#preview-missing" if name == "broken.png" else "#preview-picture"
            page.until(f"!document.querySelector('{seen}').hidden")
            page.click("#start")
        page.until("!document.querySelector('#refusal').hidden")
        assert words in page.text("#refusal-words")
        assert page.browser.find("#refusal-words").aria_role == "alert"
        page.shot(f"refused-{name.partition('.')[0]}")
        page.choose(photograph)
        page.until("document.querySelector('#refusal').hidden")
        assert page.text("#preview-name") == photograph.name


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_may_be_dropped_or_pasted(page, photograph, way):
    page.open()
    page.browser.run(
        """
        const [way, name, content] = arguments, carried = new DataTransfer();
        carried.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
        const drag = (kind) => new DragEvent(kind, {dataTransfer: carried, cancelable: true, bubbles: true});
        if (way === "paste") document.dispatchEvent(new ClipboardEvent(way, {clipboardData: carried}));
        else {
          document.body.dispatchEvent(drag("dragenter"));
          window.welcomed = getComputedStyle(document.querySelector("#dropping")).display;
          document.body.dispatchEvent(drag("drop"));
        }
        """,
        way, photograph.name, base64.b64encode(photograph.read_bytes()).decode(),
    )  # fmt: skip
    page.until_state("chosen")
    page.until("document.querySelector('#preview-picture').naturalWidth === 90")
    assert page.text("#preview-name") == photograph.name
    if way == "drop":
        assert page.browser.run("return welcomed") == "grid"
        assert not page.browser.find("#dropping").is_displayed()


def test_a_server_that_is_gone_is_tried_again_with_a_picture_that_no_browser_shows(page, photograph):
    path = photograph.with_suffix(".tif")
    with Image.open(photograph) as picture:
        picture.save(path)
    page.open()
    page.choose(path)
    page.until("!document.querySelector('#preview-missing').hidden")
    page.browser.tell("Network.setBlockedURLs", urls=["*/api/jobs*"])
    page.click("#start")
    page.until("!document.querySelector('#refusal').hidden")
    assert page.text("#refusal-words").startswith("The server does not answer.")
    page.browser.tell("Network.setBlockedURLs", urls=[])
    page.click("#refusal-retry")
    page.until_state("done")
    assert page.browser.run("return document.querySelector('#preview-picture').src").endswith("/views/thumbnail.jpg")


def test_this_visit_is_remembered_until_it_is_deleted(page, finished, tmp_path):
    page.open(finished)
    page.until_state("done")
    page.browser.driver.refresh()
    page.until_state("done")
    assert page.text("#outcome-title") == "450 × 300 pixels", "the address leads back to it"
    page.browser.driver.get("about:blank")
    page.browser.driver.get(page.address)
    page.until("document.querySelectorAll('#visit li').length === 1")
    page.click("#visit .card")
    page.until_state("done")
    # One that can be spared: the same once more, from the server's copy, with a kernel from a file
    np.save(tmp_path / "k.npy", np.full((5, 5), 0.04))
    page.click("#past summary")
    page.click("[name=kernel][value=file]")
    page.browser.find("#kernel-file").send_keys(str(tmp_path / "k.npy"))
    page.click("[name=mode][value=fast]")
    page.click("#start")
    page.until("document.querySelectorAll('#visit li').length === 2")
    page.until_state("done")
    assert page.text(".plainly li").startswith("Blur, as you gave it")
    spared = page.browser.run("return location.hash.slice(1)")
    page.click("#visit li:first-child .plain")
    page.until_state("empty")
    page.until("document.querySelectorAll('#visit li').length === 1")
    page.browser.run(f"location.hash = '{spared}'")
    page.until("!document.querySelector('#refusal').hidden")
    assert "is no longer here" in page.text("#refusal-words")


def test_a_queue_a_full_one_and_a_change_of_mind(browser, shots, tmp_path, photograph, doubting_weights, monkeypatch):
    monkeypatch.setattr(Store, "usual_seconds", lambda _: 2.0)  # so much for Retry-After
    with running(tmp_path, doubting_weights, slot=Asleep, queue=1) as client:
        page = Page(browser, f"{client.base_url}/", shots)
        browser.screen(*DESK)

        def ask(words: str) -> str:
            page.open()
            page.choose(photograph)
            page.until_state("chosen")
            page.click("#start")
            page.until(f"document.querySelector('#told').textContent.startsWith('{words}')")
            return browser.run("return location.hash.slice(1)")

        ask("Opening")
        second = ask("Waiting for a free place; yours is next.")
        assert page.browser.run("return document.activeElement.id") == "cancel"
        page.shot("waiting")
        page.open()
        page.choose(photograph)
        page.until_state("chosen")
        page.click("#start")
        page.until("!document.querySelector('#refusal').hidden")
        assert "1 pictures are waiting, which is the limit" in page.text("#refusal-words")
        assert "Try again now (or in " in page.text("#refusal-retry")
        page.shot("full")
        assert client.post(f"/api/jobs/{second}/cancel").json()["state"] == "cancelled"
        page.until("location.hash")  # by itself, when the time is over
        third = browser.run("return location.hash.slice(1)")
        page.until("document.querySelector('#told').textContent.startsWith('Waiting')")
        page.click("#cancel")
        page.until_state("chosen")
        end = time.monotonic() + 20
        while (state := client.get(f"/api/jobs/{third}").json()["state"]) != "cancelled" and time.monotonic() < end:
            time.sleep(0.02)
        assert state == "cancelled"
        assert page.text("#preview-name") == photograph.name
        browser.driver.get("about:blank")


def test_another_picture_may_be_opened_while_one_is_at_work(browser, shots, tmp_path, photograph, doubting_weights):
    """It stays when the first one ends, and when it has ended itself pictures may be dropped again."""
    large = tmp_path / "large.jpg"
    Image.new("RGB", (900, 600), (90, 120, 60)).save(large)
    with running(tmp_path / "served", doubting_weights, slot=Asleep) as client:
        page, jobs = Page(browser, f"{client.base_url}/", shots), []
        browser.screen(*DESK)
        for path in (large, photograph):
            page.open()
            page.choose(path)
            page.until_state("chosen")
            page.click("#start")
            page.until("location.hash")
            jobs.append(browser.run("return location.hash.slice(1)"))
        browser.run(f"location.hash = '{jobs[0]}'")
        page.until("document.querySelector('#preview-name').textContent === 'large.jpg'")
        page.until("document.querySelector('#preview-picture').naturalWidth === 480")  # a thumbnail
        assert page.text("#preview-size").startswith("900 × 600 pixels, ")
        assert client.post(f"/api/jobs/{jobs[1]}/cancel").json()["state"] == "cancelled"
        welcome = """
            const files = new DataTransfer();
            files.items.add(new File(["x"], "x.png"));
            const over = (kind) => new DragEvent(kind, {dataTransfer: files, cancelable: true});
            window.dispatchEvent(over("dragenter"));
            const shown = document.body.classList.contains("dragging");
            window.dispatchEvent(over("dragleave"));
            return [shown, window.dispatchEvent(over("dragover"))];
        """  # whether it is invited, and whether the browser would open it in place of the page
        time.sleep(0.5)  # nothing is to happen
        page.until_state("working")
        assert browser.run(welcome) == [False, False]
        assert page.text("#preview-name") == "large.jpg"
        assert client.post(f"/api/jobs/{jobs[0]}/cancel").json()["state"] == "cancelled"
        page.until_state("chosen")
        assert page.text("#preview-size").startswith("900 × 600 pixels, ")
        assert browser.run(welcome) == [True, False]
        browser.driver.get("about:blank")


def test_what_is_missing_in_a_folded_part_is_shown(done):
    done.browser.run("document.querySelector('#output').open = false; document.querySelector('#quality').value = ''")
    done.click("#start")
    done.until("document.querySelector('#output').open && document.activeElement.id === 'quality'")
    done.browser.run("document.querySelector('#quality').value = 95")
    assert done.browser.run("return document.querySelector('#main').dataset.state") == "done"


def test_a_token_is_asked_for_once(browser, shots, tmp_path, photograph, doubting_weights):
    with running(tmp_path, doubting_weights, slot=Asleep, token="open sesame, sixteen") as client:
        page = Page(browser, f"{client.base_url}/", shots)
        browser.screen(*DESK)
        page.open()
        page.choose(photograph)
        page.until_state("chosen")
        page.click("#start")
        page.until("document.querySelector('#login').open")
        page.browser.find("#token").send_keys("another one\n")
        page.until("!document.querySelector('#login-words').hidden")
        assert "token is another one" in page.text("#login-words")
        page.shot("token")
        page.browser.find("#token").clear()
        page.browser.find("#token").send_keys("open sesame, sixteen\n")
        page.until("document.querySelector('#told').textContent.startsWith('Opening')")
        page.click("#cancel")
        page.until_state("chosen")
        browser.driver.delete_all_cookies()
        browser.driver.get("about:blank")


@pytest.mark.parametrize("state", ["empty", "done"])
def test_the_page_is_for_everybody(page, finished, state):
    """No serious finding of axe, and nothing to scroll sideways, in light, in dark and on phones."""
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
                if each["impact"] in ("serious", "critical")
            ]
            assert grave == []
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


@pytest.mark.slow
def test_the_tour_is_taken_with_the_shipped_weights(browser, shots, tmp_path, photograph):
    """Takes the pictures of docs/page.md; see the top of this file."""
    from selenium.webdriver import ActionChains, Keys

    with running(tmp_path, "mzsr", slot=ProcessSlot) as client:
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
    with running(tmp_path, "mzsr", slot=ProcessSlot, threads=int(os.environ.get("OMP_NUM_THREADS", "2"))) as client:
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

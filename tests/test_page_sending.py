"""Tests of what is sent on the page: pictures chosen, dropped or pasted, blurs that are drawn, and what is refused."""

import base64
import io
import os
import re

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")

from mzsr.service.api import WEB


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
    Image.new("RGB", (9, 7)).save(tmp_path / "small.png")
    small = (tmp_path / "small.png").read_bytes()
    for name, content, sent, words in (
        ("notes.txt", b"hello", False, "notes.txt is no kind of picture that can be read."),
        ("empty.png", b"", False, "empty.png is empty."),
        ("broken.png", b"no picture at all", True, "The picture is no image that can be read; "),
        ("small.png", small, False, "Picture is 9x7; at least 8x8 pixels are required — choose a larger one."),
        ("large.png", coffee, False, "The picture has 300 x 200 pixels, 0.1 million; the limit here is 0.05 million"),
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


def test_a_refusal_that_is_closed_hands_the_keyboard_on(page, photograph, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    page.open()
    for state, place in (("empty", "choose"), ("chosen", "start")):
        if state == "chosen":
            page.choose(photograph)
            page.until_state(state)
        page.choose(tmp_path / "notes.txt")
        page.until("!document.querySelector('#refusal').hidden")
        page.click("#refusal-close")
        assert page.browser.run("return document.activeElement.id") == place


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


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_of_several_pictures_one_is_taken_and_named(page, way):
    page.open()
    page.browser.run(
        """
        const [way] = arguments, carried = new DataTransfer();
        for (const name of ["first.png", "second.png"]) carried.items.add(new File(["x"], name));
        if (way === "paste") document.dispatchEvent(new ClipboardEvent(way, {clipboardData: carried}));
        else window.dispatchEvent(new DragEvent(way, {dataTransfer: carried, cancelable: true}));
        """,
        way,
    )
    page.until_state("chosen")
    assert page.text("#preview-name") == "first.png"
    assert page.text("#refusal-words") == "One picture at a time: first.png was taken."


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


@pytest.mark.parametrize("change", ["written", "deleted"])
def test_a_picture_that_changed_since_it_was_chosen_is_to_be_chosen_again(page, photograph, tmp_path, change):
    """The browser refuses to send it, which is no fault of the server, and to try again would not help."""
    path = tmp_path / "mine.jpg"
    path.write_bytes(photograph.read_bytes())
    page.open()
    page.choose(path)
    page.until_state("chosen")
    page.until("document.querySelector('#preview-picture').naturalWidth === 90")
    if change == "written":
        path.write_bytes(photograph.read_bytes() + b"more")
        os.utime(path, (0, 0))  # browsers look at whole seconds
    else:
        path.unlink()
    page.click("#start")
    page.until("!document.querySelector('#refusal').hidden")
    assert page.text("#refusal-words").startswith("mine.jpg cannot be read any more: ")
    assert not page.browser.find("#refusal-retry").is_displayed()
    path.write_bytes(photograph.read_bytes())
    page.choose(path)
    page.click("#start")
    page.until_state("done")


def test_too_many_pixels_are_found_before_anything_is_sent(page, photograph, tmp_path):
    """In the words that the server has for them."""
    large = tmp_path / "large.png"
    large.write_bytes((WEB / "examples" / "coffee.png").read_bytes())
    address = f"{page.address}api/jobs"
    page.open()
    page.browser.requests()
    page.choose(large)
    page.until("!document.querySelector('#refusal').hidden")
    page.click("#refusal-close")
    page.click("#start")
    said = page.text("#refusal-words")
    refused = httpx.post(address, files={"file": ("large.png", large.read_bytes())}, data={"scale": "2"})
    assert refused.status_code == 413
    assert said.casefold() == f"{refused.json()['detail']}.".casefold()
    page.choose(photograph)
    page.until("document.querySelector('#becomes').textContent.startsWith('90 × 60 pixels become')")
    page.click("[name=scale][value=other]")
    page.browser.run("document.querySelector('#times').value = 8")
    page.browser.find("#times").send_keys(".0")
    page.until("document.querySelector('#becomes').textContent.startsWith('The result would have 720 x 480')")
    page.click("#start")
    said = page.text("#refusal-words")
    assert page.text("#becomes") == said
    refused = httpx.post(address, files={"file": ("small.jpg", photograph.read_bytes())}, data={"scale": "8"})
    assert refused.status_code == 422
    assert said.casefold() == f"{refused.json()['detail']}.".casefold()
    assert address not in page.browser.requests()
    page.click("[name=scale][value='2']")
    assert page.text("#becomes") == "90 × 60 pixels become 180 × 120."
    page.click("#start")
    page.until_state("done")


def test_an_example_is_not_sent_with_what_is_no_setting(page):
    page.open()
    page.browser.run("document.querySelector('#quality').value = ''")
    page.click("#examples li:nth-child(3) button")
    page.until("document.activeElement.id === 'quality'")
    page.until_state("chosen")
    page.browser.run("document.querySelector('#quality').value = 95")
    page.click("#start")
    page.until_state("done")


def test_what_is_missing_in_a_folded_part_is_shown(done):
    done.browser.run("document.querySelector('#output').open = false; document.querySelector('#quality').value = ''")
    done.click("#start")
    done.until("document.querySelector('#output').open && document.activeElement.id === 'quality'")
    done.browser.run("document.querySelector('#quality').value = 95")
    assert done.browser.run("return document.querySelector('#main').dataset.state") == "done"

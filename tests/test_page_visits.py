"""Tests of what the page remembers of a visit, of several jobs at once, and of the token that it asks for."""

import time

import numpy as np
import pytest
from PIL import Image
from visitor import DESK, Page

pytest.importorskip("fastapi", reason="needs the extra serve")

from servers import Asleep, running

from mzsr.service.store import Store


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


def test_a_browser_that_keeps_nothing_shows_all_the_same(page, finished):
    """As one does that blocks all cookies: the visit is remembered until the page is left."""
    denied = "Object.defineProperty(window, 'sessionStorage', {get() { throw new DOMException('', 'SecurityError'); }})"
    page.open()
    script = page.browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": denied})
    try:
        page.browser.driver.get("about:blank")
        page.browser.driver.get(page.address + finished)
        page.until_state("done")
        assert page.text("#outcome-title") == "450 × 300 pixels"
        page.until("document.querySelectorAll('#visit li').length === 1")
    finally:
        page.browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        page.browser.driver.get("about:blank")


def test_the_focus_stays_near_what_was_deleted(page, photograph):
    """On the next one, else on the one before, and after the last on the page's heading, while another is chosen."""
    from selenium.webdriver import Keys

    page.open()
    entries = [{"id": 32 * name, "name": name, "words": "", "thumbnail": None} for name in "abc"]  # gone meanwhile
    page.browser.run("sessionStorage.setItem('mzsr-visit', JSON.stringify(arguments[0]))", entries)
    page.browser.driver.refresh()
    page.until("document.querySelectorAll('#visit li').length === 3")
    page.choose(photograph)
    page.until_state("chosen")
    for name, left, focused in (("b", 2, "Delete c"), ("c", 1, "Delete a"), ("a", 0, "Make a small picture larger")):
        page.browser.find(f"[aria-label='Delete {name}']").send_keys(Keys.ENTER)
        page.until(f"document.querySelectorAll('#visit li').length === {left}")
        at = page.browser.driver.switch_to.active_element
        assert (at.get_attribute("aria-label") or at.get_attribute("textContent")) == focused


def test_why_a_job_failed_is_said_again_where_its_address_is_opened(page, photograph, tmp_path):
    """Not that it was deleted; the picture is there, for other settings."""
    path = tmp_path / "torn.png"
    with Image.open(photograph) as picture:
        picture.save(path)
    path.write_bytes(path.read_bytes()[:3000])
    page.open()
    page.choose(path)
    page.until_state("chosen")
    page.click("#start")
    page.until("!document.querySelector('#refusal').hidden")
    words = page.text("#refusal-words")
    assert words.startswith("The picture is damaged or cut short")
    page.browser.driver.refresh()
    page.until("!document.querySelector('#refusal').hidden")
    assert page.text("#refusal-words") == words
    page.until_state("chosen")
    assert page.text("#preview-name") == "torn.png"
    page.browser.run("location.hash = '#no-name-of-a-job'")
    page.until("document.querySelector('#refusal-words').textContent.includes('is no longer here')")
    page.until_state("chosen")


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
        end = time.monotonic() + 300
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

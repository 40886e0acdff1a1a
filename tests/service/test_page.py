"""The page in a real browser: upload, dub, cancel, a bad file, a restart of the server in the middle, and no mouse."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import tiny
from helpers.service import Client, running
from PIL import Image as PillowImage

from personatalk.pipeline.weights import Models
from personatalk.service import progress

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
]

# Milliseconds that the browser waits for anything.
PATIENCE = 300_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        # A microphone that beeps; and Chromium's own sandbox does not start as root, as in many containers.
        words = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        words += ["--no-sandbox"] if os.geteuid() == 0 else []
        found = driver.chromium.launch(executable_path=CHROMIUM, args=words)
        yield found
        found.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "data"


@pytest.fixture(scope="module")
def client(data: Path, tiny_models: Models) -> Iterator[Client]:
    with tiny.in_place(tiny_models), running(data) as found:
        yield found


@pytest.fixture
def page(browser: Any, client: Client) -> Iterator[Any]:
    """The page on a phone, in the dark; nothing may go wrong in its scripts."""
    tab = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme="dark")
    tab.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.goto(f"http://127.0.0.1:{client.port}/")
    tab.wait_for_selector("#video-drop .drop")
    yield tab
    tab.close()
    assert wrong == []


def choose(page: Any, clip: Path, speech: Path) -> None:
    page.set_input_files("#video-drop input", clip)
    page.set_input_files("#speech-drop input", speech)


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true; the page's own policy forbids the driver's way, which evaluates text in it."""
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def consent(page: Any) -> None:
    page.check("#consent-given")
    page.click("#consent-yes")


def tab_to(page: Any, selector: str) -> None:
    """Press Tab until an element has the focus, which must show."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            break
    shown = page.evaluate(
        "[document.activeElement, document.activeElement.closest('label')]"
        ".some((e) => e && getComputedStyle(e).outlineStyle === 'solid')"
    )
    assert page.evaluate(f"document.activeElement.matches({json.dumps(selector)})") and shown, selector


def slow_down(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let every step of the work take so long at least."""
    told = progress.ProgressFile.__call__

    def slowly(self: progress.ProgressFile, *step: Any) -> None:
        time.sleep(seconds)
        told(self, *step)

    monkeypatch.setattr(progress.ProgressFile, "__call__", slowly)


def test_a_video_is_dubbed_and_its_result_verified(page: Any, clip: Path, speech: Path, client: Client) -> None:
    choose(page, clip, speech)
    page.wait_for_selector("#faces-list img")
    page.check("input[name=face][value='1']", force=True)
    page.click("#start")
    assert "invisible watermark" in page.inner_text("#consent")
    consent(page)
    page.wait_for_selector(".job .pair")
    assert re.search("10 of 10 frames have a new mouth", page.inner_text(".job"))
    assert page.locator(".job svg.plot").count() == 2 and "says that it was generated" in page.inner_text(".job")
    until(page, "[...document.querySelectorAll('video')].every((v) => v.readyState >= 2)")
    page.click("text=Play both")
    until(page, "[...document.querySelectorAll('video')].every((v) => v.currentTime > 0)")
    page.check("text=Loop over the mouth")
    until(page, "document.querySelector('video').style.transform.startsWith('scale(')")
    page.evaluate("document.querySelectorAll('video').forEach((v) => v.pause())")
    with page.expect_download() as download:
        page.click("text=Download")
    assert download.value.suggested_filename == "clip-dubbed.mp4"
    page.set_input_files("#verify-drop input", download.value.path())
    page.wait_for_selector("text=Yes: this video says that it was generated.")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360, "nothing is wider than a phone"


def test_a_still_stands_beside_its_dub(page: Any, speech: Path, tmp_path: Path) -> None:
    tiny_portrait = tiny.draw_faces([tiny.Face(48)], 96, 240)
    PillowImage.fromarray(tiny_portrait).save(tmp_path / "still.png")
    choose(page, tmp_path / "still.png", speech)
    page.wait_for_selector("#faces-list img")
    page.click("#start")
    consent(page)
    page.wait_for_selector(".job .pair img")
    until(page, "document.querySelector('.pair video').readyState >= 2")
    page.check("text=Loop over the mouth")
    until(page, "document.querySelector('.pair img').style.transform.startsWith('scale(')")
    # Both show the same, which is never outside of them, and the shape of a portrait is kept.
    box = "(e) => [e.clientWidth / e.clientHeight, e.style.transform]"
    image, video = (page.eval_on_selector(f".pair {kind}", box) for kind in ("img", "video"))
    assert image == video and image[0] == pytest.approx(96 / 240, abs=0.02)
    factor, x, y = map(float, re.findall(r"-?[\d.]+", image[1]))
    assert factor > 1 and all(-100 * (1 - 1 / factor) <= place <= 0 for place in (x, y))


def test_a_speech_is_recorded_and_dubbed(page: Any, clip: Path) -> None:
    page.set_input_files("#video-drop input", clip)
    page.click("#record")
    page.wait_for_selector("#record-time:has-text('0:01')")
    page.click("text=Stop recording")
    page.wait_for_selector("#speech-drop .chosen:has-text('recording.webm')")
    until(page, "document.getElementById('speech-player').readyState >= 1")
    page.click("#start")
    consent(page)
    page.wait_for_selector(".job:has-text('clip.mp4 + recording.webm') .pair")


def test_bad_files_are_explained(page: Any, clip: Path, speech: Path, tmp_path: Path) -> None:
    page.click("#start")
    page.wait_for_selector("#problem:has-text('Choose a video and a speech first')")
    (tmp_path / "words.mp4").write_text("no video")
    choose(page, tmp_path / "words.mp4", speech)
    page.wait_for_selector("#faces-state .problem:has-text('words.mp4 is not a media file')")
    choose(page, clip, tmp_path / "words.mp4")
    page.wait_for_selector("#faces-list img")
    page.click("#start")
    consent(page)
    page.wait_for_selector(".job .problem:has-text('words.mp4')")


def test_the_keyboard_is_enough_and_a_job_is_cancelled(
    page: Any, clip: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab_to(page, "#video-drop input")
    choose(page, clip, speech)
    page.wait_for_selector("#faces-list img")
    slow_down(monkeypatch, 0.5)
    tab_to(page, "input[name=face]")
    page.keyboard.press("ArrowRight")
    assert page.is_checked("input[name=face][value='1']")
    tab_to(page, "#options summary")
    page.keyboard.press("Enter")
    page.wait_for_selector("#option-crf", state="visible")
    tab_to(page, "#option-crf")
    page.keyboard.press("Control+A")
    page.keyboard.type("30")
    tab_to(page, "#start")
    page.keyboard.press("Enter")
    page.wait_for_selector("#consent[open]")
    tab_to(page, "#consent-given")
    page.keyboard.press("Space")
    tab_to(page, "#consent-yes")
    page.keyboard.press("Enter")
    page.wait_for_selector(".job .stages progress")
    tab_to(page, ".job:first-child .actions button")
    page.keyboard.press("Enter")
    page.wait_for_selector(".job:first-child .state.cancelled")
    tab_to(page, ".job:first-child .actions button")
    before = page.locator(".job").count()
    page.keyboard.press("Enter")
    until(page, f"document.querySelectorAll('.job').length === {before - 1}")


def test_the_page_goes_on_after_a_restart_of_the_server(
    browser: Any, clip: Path, speech: Path, tmp_path: Path, tiny_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = browser.new_page()
    tab.set_default_timeout(PATIENCE)
    with tiny.in_place(tiny_models):
        with running(tmp_path / "data") as client:
            tab.goto(f"http://127.0.0.1:{client.port}/")
            tab.wait_for_selector("#video-drop .drop")
            choose(tab, clip, speech)
            tab.wait_for_selector("#faces-list img")
            slow_down(monkeypatch, 0.2)
            tab.click("#start")
            consent(tab)
            tab.wait_for_selector(".job .stages progress")
            port = client.port
        tab.wait_for_selector("#problem:has-text('cannot be reached')")
        monkeypatch.undo()
        with running(tmp_path / "data", port=port):
            tab.wait_for_selector(".job .pair")
            assert tab.is_hidden("#problem") and tab.locator(".job").count() == 1
    tab.close()


def test_a_token_is_asked_for_once(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a-token-of-some-length\n")
    with running(tmp_path / "data", tokens=tmp_path / "tokens") as client:
        tab = browser.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.goto(f"http://127.0.0.1:{client.port}/")
        tab.fill("#token", "wrong")
        tab.click("#login-yes")
        tab.wait_for_selector("#login-problem:has-text('not known')")
        tab.fill("#token", "a-token-of-some-length")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#video-drop .drop")
        tab.reload()
        tab.wait_for_selector("#video-drop .drop")
        assert json.dumps(tab.evaluate("document.cookie")) == '""'
        tab.close()

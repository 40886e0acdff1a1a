"""Make images of the service's page in each state with Playwright and a Chromium; docs/images holds some of them.

    python scripts/make_page_images.py FOLDER [--chromium /usr/bin/chromium]

Dubs the embedded sample, and a clip of two people made of it: at a desk in the light and in the dark, and on a phone in
the dark. Prints the seconds from opening the page to the first dubbed sample.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from playwright.sync_api import sync_playwright

from personatalk.sample import sample_files

DESK, PHONE = {"width": 900, "height": 900}, {"width": 390, "height": 844}
# Milliseconds that the browser waits for anything.
PATIENCE = 120_000
# Bytes per second of an upload that is to be seen.
SLOW = 20_000
# Frames of the clip of two people in which nobody is seen.
EMPTY = range(40, 60)


def show(page: Any, folder: Path, name: str, part: str = "") -> None:
    """Write images of the page, or of a part of it, at a desk in the light and on a phone in the dark."""
    for scheme, size, suffix in (("light", DESK, ""), ("dark", DESK, "-dark"), ("dark", PHONE, "-phone")):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        page.wait_for_timeout(400)
        settings = {"path": folder / f"page-{name}{suffix}.jpg", "type": "jpeg", "quality": 82}
        if part:
            page.locator(part).first.screenshot(**settings)
        else:
            page.screenshot(full_page=True, **settings)
    page.set_viewport_size(DESK)


def two_people(path: Path) -> Path:
    """Write a clip of the sample's person twice, side by side; for a while nobody is seen."""
    with av.open(str(sample_files()[0])) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, pix_fmt="yuv420p")
        stream.width, stream.height = 2 * source.streams.video[0].width, source.streams.video[0].height
        for number, frame in enumerate(source.decode(video=0)):
            image = frame.to_ndarray(format="rgb24")
            pair = np.concatenate([image, image[:, ::-1] // 4 * 3], axis=1)
            if number in EMPTY:
                pair[:] = 128
            target.mux(stream.encode(av.VideoFrame.from_ndarray(pair, format="rgb24")))
        target.mux(stream.encode())
    return path


def first_dub(page: Any, folder: Path) -> None:
    """Show the page from its opening to the first dubbed sample, as somebody sees it who is new to it."""
    page.wait_for_selector("#video-drop .drop")
    show(page, folder, "empty")
    began = time.monotonic()
    page.reload()
    page.wait_for_selector("#video-drop .drop")
    page.click("#sample")
    page.wait_for_selector("#speech-drop .chosen")
    page.click("#start")
    page.wait_for_selector("#consent[open]")
    show(page, folder, "consent", "#consent")
    page.check("#consent-given")
    page.click("#consent-yes")
    page.wait_for_selector(".job .stages li:nth-child(5) .left:has-text('left')")
    show(page, folder, "running", ".job")
    page.wait_for_selector(".job .pair")
    print(f"from opening the page to the first dubbed sample: {time.monotonic() - began:.0f} s, the images included")
    show(page, folder, "chosen", "#dub")
    page.click("#options summary")
    show(page, folder, "options", "#options")
    page.click("#options summary")
    page.wait_for_timeout(2000)
    page.evaluate("document.querySelectorAll('.pair video').forEach((v) => (v.currentTime = 1.6))")
    show(page, folder, "done", ".job")
    page.check("text=Loop over the mouth")
    page.wait_for_timeout(1500)
    page.evaluate("document.querySelectorAll('.pair video').forEach((v) => v.pause())")
    show(page, folder, "loop", ".job")


@contextmanager
def slow_upload(page: Any) -> Iterator[None]:
    """Let uploads take long."""
    session = page.context.new_cdp_session(page)
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": SLOW}
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", limits)
    yield
    session.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": -1})
    session.detach()


def several_people(page: Any, folder: Path, clip: Path) -> None:
    """Show an upload, the people of a video, and a dub with frames that pass through."""
    with slow_upload(page):
        page.set_input_files("#video-drop input", clip)
        page.wait_for_selector("#faces-state progress[value]")
        show(page, folder, "uploading", "#dub")
    page.wait_for_selector("#faces-list img")
    page.check("input[name=face][value='2']", force=True)
    show(page, folder, "faces", "#dub")
    page.click("#start")
    page.click("#start")
    page.wait_for_selector(".job:nth-child(2) .state:has-text('running')")
    show(page, folder, "waiting", "#jobs")
    page.click(".job:first-child >> text=Cancel")
    page.wait_for_selector(".job .state.cancelled")
    show(page, folder, "cancelled", ".job")
    page.wait_for_selector(".job:nth-child(2) .passed img")
    show(page, folder, "passed", ".job:nth-child(2)")


def bad_files(page: Any, folder: Path) -> None:
    """Show what is said of files that are no media."""
    page.set_input_files("#speech-drop input", Path(__file__))
    page.click("#start")
    page.wait_for_selector(".job .state.failed")
    show(page, folder, "failed", ".job")
    page.set_input_files("#video-drop input", Path(__file__))
    page.wait_for_selector("#faces-state .problem")
    show(page, folder, "bad-video", "#dub")


def verified(page: Any, folder: Path, dubbed: Path) -> None:
    """Show what is found in a dubbed video, and the personas."""
    with page.expect_download() as download:
        page.click(".job:last-child >> text=Download")
    download.value.save_as(dubbed)
    page.set_input_files("#verify-drop input", dubbed)
    page.wait_for_selector("#verify-state strong")
    show(page, folder, "verified", "#verify")
    show(page, folder, "personas", "#personas")
    page.focus("#options summary")
    page.keyboard.press("Enter")
    page.focus("#option-persona")
    show(page, folder, "option-persona", "#options")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "personatalk"]
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        made = Path(name)
        persona = [*command, "persona", "make", str(sample_files()[0]), "-o", str(made / "anna.persona"), "--quiet"]
        subprocess.run(persona, check=True)
        words = [*command, "serve", "--port", "0", "--data", str(made / "data"), "--personas", str(made)]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        address = server.stdout.readline().split()[3]
        browser = driver.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport=DESK)
            page.set_default_timeout(PATIENCE)
            page.goto(address)
            first_dub(page, given.folder)
            several_people(page, given.folder, two_people(made / "two.mp4"))
            verified(page, given.folder, made / "face-dubbed.mp4")
            bad_files(page, given.folder)
        finally:
            browser.close()
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()

"""Makes images of the service's page in each state with Playwright and a Chromium; docs/images holds some of them.

    python scripts/make_page_images.py FOLDER [--chromium /usr/bin/chromium]

Dubs the embedded sample, and shows the page empty, with files chosen, while a job runs, when it is done, failed and
cancelled: at a desk, on a phone, and in the dark.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

DESK, PHONE = {"width": 900, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 280_000


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


def states(page: Any, folder: Path) -> None:
    """Go through the states of the page."""
    began = time.monotonic()
    page.wait_for_selector("#video-drop .drop")
    show(page, folder, "empty")
    page.click("#sample")
    page.wait_for_selector("#faces-list img")
    show(page, folder, "chosen", "#dub")
    page.click("#options summary")
    show(page, folder, "options", "#options")
    page.click("#start")
    page.wait_for_selector("#consent[open]")
    show(page, folder, "consent", "#consent")
    page.check("#consent-given")
    page.click("#consent-yes")
    page.wait_for_selector(".job .stages li:nth-child(5) .left:has-text('left')")
    show(page, folder, "running", ".job")
    page.wait_for_selector(".job .pair")
    print(f"from opening the page to the first dubbed sample: {time.monotonic() - began:.0f} s, the images included")
    page.wait_for_timeout(3000)
    page.evaluate("document.querySelectorAll('.pair video').forEach((v) => (v.currentTime = 1.6))")
    show(page, folder, "done", ".job")
    page.check("text=Loop over the mouth")
    page.wait_for_timeout(1500)
    page.evaluate("document.querySelectorAll('.pair video').forEach((v) => v.pause())")
    show(page, folder, "loop", ".job")
    page.click("#start")
    page.wait_for_selector(".job .stages")
    page.click(".job >> text=Cancel")
    page.wait_for_selector(".job .state.cancelled")
    show(page, folder, "cancelled", ".job")
    page.set_input_files("#speech-drop input", Path(__file__))
    page.click("#start")
    page.wait_for_selector(".job .state.failed")
    show(page, folder, "failed", ".job")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, sync_playwright() as driver:
        words = [sys.executable, "-m", "personatalk", "serve", "--port", "0", "--data", data]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        address = server.stdout.readline().split()[3]
        browser = driver.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport=DESK)
            page.set_default_timeout(PATIENCE)
            page.goto(address)
            states(page, given.folder)
        finally:
            browser.close()
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()

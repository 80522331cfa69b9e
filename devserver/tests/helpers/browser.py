"""A browser of this machine, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

_COMMANDS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
MISSING = (
    "no browser: install Chromium or Google Chrome, such as Debian's package chromium"
)


def find_browser() -> str | None:
    """Return the path of Chromium or Google Chrome; None: neither is installed."""
    places = (*_COMMANDS, *(f"{Path.home()}{path}" for path in _COMMANDS[-2:]))
    return next(filter(None, map(shutil.which, places)), None)


@contextmanager
def launched(path: str) -> Iterator[Browser]:
    """Start a browser without a window."""
    # root has no sandbox, and a container little shared memory
    options = ["--disable-dev-shm-usage"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()

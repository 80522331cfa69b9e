"""Fixtures: a browser, and its page of the console of a server with tests/apps/console.

A page that reports an error of a script, or breaks its own security policy, fails the
test.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from gae_devserver.testing import DevServer
from tests.helpers import console_app
from tests.helpers.app_folder import copy_app
from tests.helpers.browser import MISSING, find_browser, launched
from tests.helpers.command import OWN_PYTHON

PATIENCE_MS = 20_000


@dataclasses.dataclass(frozen=True)
class Console:
    """A page of a server's console that has the token."""

    server: DevServer
    page: Page

    def open(self, path: str = "/") -> Page:
        """Go to a page of the console."""
        self.page.goto(self.server.state_url + path)
        return self.page

    def call(self, function: str, *args: object, **kwargs: object) -> Any:
        """Call a function of the app tests/apps/console; return its result."""
        return console_app.call(self.server, function, *args, **kwargs)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of all tests."""
    path = find_browser()
    if path is None:
        pytest.skip(MISSING)
    expect.set_options(timeout=PATIENCE_MS)
    with launched(path) as browser:
        yield browser


@pytest.fixture(scope="session")
def devserver_app(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app of the fixture `devserver`."""
    return copy_app("console", tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="session")
def devserver_options() -> list[str]:
    """The options of the server of the fixture `devserver`."""
    return [OWN_PYTHON]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without a past."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def open_console(context: BrowserContext) -> Iterator[Callable[[DevServer], Console]]:
    """Open the console of any server, as the link that it printed does."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # the browser reports every answer such as 403 there too
        if message.type == "error" and "Failed to load" not in message.text:
            errors.append(message.text)

    def open_console(server: DevServer) -> Console:
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", note)
        page.goto(f"{server.state_url}/#{server.token}")
        return Console(server, page)

    yield open_console
    assert not errors


@pytest.fixture
def console(
    open_console: Callable[[DevServer], Console], devserver: DevServer
) -> Console:
    """The console of a server on which nothing has happened."""
    return open_console(devserver)


def check_axe(page: Page) -> None:
    """Fail if axe-core finds a fault of the page, or if it is too wide for a phone."""
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
    size = page.viewport_size
    assert size is not None
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.set_viewport_size(size)

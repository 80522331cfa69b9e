"""What all pages have in common: the token, actions, live updates, their security."""

import functools
import http.server
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from gae_devserver.testing import DevServer
from tests.browser.conftest import Console, check_axe


def test_token_leaves_the_address(console: Console) -> None:
    """The token of the printed link stays for other pages, and no cookie has it."""
    page = console.page
    expect(page).to_have_url(f"{console.server.state_url}/")
    expect(page.get_by_label("paste the token")).to_be_hidden()
    console.open("/nowhere")
    expect(page.get_by_label("paste the token")).to_be_hidden()
    assert page.context.cookies() == []
    page.go_back()
    assert console.server.token not in page.url


def test_a_new_tab(console: Console) -> None:
    """It gets the token from a tab that is open."""
    page = console.page.context.new_page()
    page.goto(console.server.state_url)
    page.wait_for_function("sessionStorage.length")
    page.get_by_role("button", name="+1 min").click()
    expect(page.get_by_role("status")).to_contain_text("run: 0")
    expect(page.get_by_label("paste the token")).to_be_hidden()


def test_a_page_without_the_token(
    context: BrowserContext, devserver: DevServer
) -> None:
    """It shows everything, says where the token is, and takes it in a field."""
    page = context.new_page()
    page.goto(devserver.state_url)
    expect(page.get_by_label("paste the token")).to_be_visible()
    check_axe(page)
    page.get_by_role("button", name="+1 min").click()
    expect(page.get_by_text("This needs the token.")).to_be_visible()
    field = page.get_by_label("paste the token")
    for token, answer in (("wrong", "X-Devserver-Token"), (devserver.token, "run: 0")):
        expect(field).to_be_focused()
        field.fill(token)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="+1 min").click()
        expect(page.get_by_role("status")).to_contain_text(answer)
    assert devserver.state("GET", "/clock")["offset"] > 50


def test_a_page_that_does_not_exist(console: Console) -> None:
    """Its name is text, even if it is a script."""
    page = console.open("/<script>alert(1)</script>\"'><b>")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    expect(page.locator("main")).to_contain_text("<script>alert(1)</script>")
    assert page.locator("main script, main b").count() == 0
    check_axe(page)


def test_live_updates(console: Console) -> None:
    """A change appears without a reload; focus stays on the same task's button."""
    page = console.open()
    page.evaluate("document.body.dataset.same = 'yes'")
    console.call("defer", "work", _name="b", _countdown=600)
    button = page.get_by_role("button", name="Run now b")
    button.focus()
    console.call("defer", "work", _name="a", _countdown=60)
    expect(page.get_by_role("link", name="a", exact=True)).to_be_visible()
    expect(button).to_be_focused()
    assert page.evaluate("document.body.dataset.same") == "yes"


def test_no_update_while_somebody_writes(console: Console) -> None:
    """The page waits until the field loses the focus, and keeps what is in it."""
    page = console.open()
    row = page.get_by_role("link", name="a", exact=True)
    field = page.get_by_label("To a time")
    field.fill("2040-01-02T03:04:05")
    with page.expect_response("**/events"):
        page.evaluate("new EventSource('/events').onmessage = () => { seen = true }")
    console.call("defer", "work", _name="a", _countdown=600)
    page.wait_for_function("window.seen")
    assert not row.is_visible()
    page.keyboard.press("Escape")
    field.blur()
    expect(row).to_be_visible()
    expect(field).to_have_value("2040-01-02T03:04:05")


def test_an_open_page_does_not_hold_up_the_end(
    open_console: Callable[[DevServer], Console], devserver_app: Path
) -> None:
    """The server stops at once, and the page says that it is gone."""
    with DevServer(devserver_app, python=sys.executable) as server:
        page = open_console(server).page
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 3
        expect(page.locator("body")).to_have_class("offline")


@pytest.fixture
def other_origin(tmp_path: Path) -> Iterator[str]:
    """A page of another server on this machine."""
    (tmp_path / "index.html").write_text("<!doctype html><title>other</title>")
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


ATTACKS = {
    "fetch": "fetch(url + '/queues').then(r => r.text())",
    "fetch blind": "fetch(url + '/clock/advance', {method: 'POST', mode: 'no-cors', "
    "body: '{\"seconds\": 60}'}).then(() => null)",
    "fetch with a header": "fetch(url + '/clock/advance', {method: 'POST', "
    "headers: {'Content-Type': 'application/json', 'X-Devserver-Token': token}, "
    "body: '{\"seconds\": 60}'}).then(r => r.text())",
    "events": "new Promise((ok, no) => { const e = new EventSource(url + '/events'); "
    "e.onmessage = () => ok('read'); e.onerror = no; })",
    "script": "new Promise((ok, no) => { const s = document.createElement('script'); "
    "s.src = url + '/static/console.js'; s.onload = () => ok('read'); s.onerror = no; "
    "document.head.append(s); })",
    "frame": "new Promise((ok) => { const f = document.createElement('iframe'); "
    "f.src = url; f.onload = () => ok(null); document.body.append(f); })",
    "form": "new Promise((ok) => { document.body.insertAdjacentHTML('beforeend', "
    "`<iframe name=f></iframe><form target=f method=post enctype=text/plain "
    "action='${url}/clock/advance'><input name='{\"seconds\": 60, \"a' "
    "value='\": 1}'></form>`); "
    "document.forms[0].submit(); setTimeout(() => ok(null), 500); })",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_another_origin(
    devserver: DevServer, context: BrowserContext, other_origin: str, attack: str
) -> None:
    """Its page reads nothing, changes nothing, and cannot show the console in a frame.

    Not even with the token, which it does not have.
    """
    page = context.new_page()
    page.goto(other_origin)
    script = f"([url, token]) => {ATTACKS[attack]}.catch(() => null)"
    found = page.evaluate(script, [devserver.state_url, devserver.token])
    assert found is None
    for frame in page.frames[1:]:
        assert frame.get_by_role("heading", name="Tasks").count() == 0
    assert devserver.state("GET", "/clock")["offset"] == 0

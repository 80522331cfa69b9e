"""The pages on queues and tasks."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console, check_axe

SCRIPT = '<script>document.title="taken over"</script>'


def accept(page: Page) -> None:
    """Answer the next question of the page with yes."""
    page.once("dialog", lambda dialog: dialog.accept())


def test_queues(console: Console) -> None:
    """They are paused, resumed and purged; what the app adds is seen at once."""
    page = console.open("/queues")
    row = page.get_by_role("row", name="default")
    expect(row).to_contain_text("500/s")
    console.call("defer", "work", 1, _countdown=600)
    console.call("defer", "work", 2, _countdown=600)
    expect(row.get_by_role("cell").nth(3)).to_have_text("2")
    row.get_by_role("button", name="Pause").press("Enter")
    expect(row.get_by_text("paused")).to_be_visible()
    check_axe(page)
    # the keyboard goes on where it was
    expect(row.get_by_role("button", name="Resume")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row.get_by_text("paused")).to_be_hidden()
    accept(page)
    row.get_by_role("button", name="Purge").press("Enter")
    expect(page.get_by_role("status")).to_have_text("Tasks deleted: 2.")
    expect(row.get_by_role("cell").nth(3)).to_have_text("0")


def test_tasks_of_a_queue(console: Console) -> None:
    """A hundred on a page, the next one first; each can run now, or be deleted."""
    console.call("defer_many", 101, 600, 1)
    page = console.open("/queues/default")
    page.get_by_role("link", name="Next page").click()
    rows = page.get_by_role("row", name="main.work")
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="First page").click()
    expect(rows).to_have_count(100)
    expect(rows.first).to_contain_text("main.work(0)")
    check_axe(page)
    rows.first.get_by_role("button", name="Run now").press("Enter")
    expect(rows.first).to_contain_text("main.work(1)")
    accept(page)
    rows.first.get_by_role("button", name="Delete").press("Enter")
    expect(rows.first).to_contain_text("main.work(2)")
    expect(page.get_by_role("heading", name="99 waiting")).to_be_visible()
    run = console.server.run_next_task()
    assert run is not None
    assert run.function == "main.work"


def test_a_task(console: Console) -> None:
    """It shows its call, payload and attempts, also when it has gone."""
    name = console.call("defer", "work", SCRIPT, _countdown=600)
    page = console.open("/queues/default")
    page.get_by_role("link", name="main.work").click()
    expect(page.get_by_text(f"main.work({SCRIPT!r})")).to_be_visible()
    page.get_by_text("Show the pickle").click()
    expect(page.locator("pre")).to_contain_text("0000  80")
    check_axe(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the payload").click()
    assert SCRIPT.encode() in download.value.path().read_bytes()
    page.get_by_role("button", name="Run now").press("Enter")
    expect(page.get_by_text("no longer has this task: it ran")).to_be_visible()
    expect(page.get_by_role("row", name="done")).to_contain_text("200")
    check_axe(page)
    expect(page).to_have_title(f"Task {name} · gae-devserver")


def test_a_task_is_deleted(console: Console) -> None:
    """Its page says so, and one that never was is 404."""
    console.call("defer", "work", _countdown=600)
    page = console.open("/queues/default")
    page.get_by_role("link", name="main.work").click()
    accept(page)
    page.get_by_role("button", name="Delete").press("Enter")
    expect(page.get_by_text("no longer has this task")).to_be_visible()


@pytest.mark.parametrize("name", ["queues", "queues/default", "attempts", "cron"])
def test_pages_fit_a_small_screen(console: Console, name: str) -> None:
    """A page is as wide as the screen; a wide table scrolls."""
    console.call("defer", "work", "x" * 500, _countdown=600)
    console.call("defer", "work", "x" * 500)
    console.page.set_viewport_size({"width": 360, "height": 640})
    page = console.open(f"/{name}")
    assert page.evaluate("document.documentElement.scrollWidth") == 360

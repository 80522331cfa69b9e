"""The pages on attempts."""

from playwright.sync_api import expect

from tests.browser.conftest import Console, check_axe

SCRIPT = '<script>document.title="taken over"</script>'


def test_attempts(console: Console) -> None:
    """They come without a reload, and are filtered by queue, outcome and text."""
    page = console.open("/attempts")
    expect(page.get_by_text("No task has run")).to_be_visible()
    console.call("defer", "work", "one", _queue="reports")
    console.call("defer", "explode", SCRIPT)
    row = page.get_by_role("row", name="main.explode").last
    expect(row).to_contain_text("failed")
    expect(page.get_by_role("row", name="main.work")).to_contain_text("done")
    check_axe(page)
    page.get_by_label("Queue").select_option("reports")
    page.get_by_label("Outcome").select_option("done")
    page.get_by_label("Text").fill("WORK")
    page.get_by_role("button", name="Filter").press("Enter")
    expect(page.get_by_role("row", name="main.work")).to_be_visible()
    expect(page.get_by_role("row", name="main.explode")).to_have_count(0)
    expect(page.get_by_label("Text")).to_have_value("WORK")


def test_a_task_is_enqueued_again(console: Console) -> None:
    """The button of an attempt leads to the new task."""
    console.call("defer", "work", SCRIPT)
    page = console.open("/attempts")
    page.get_by_role("link", name="main.work").click()
    expect(page.get_by_text(f"main.work({SCRIPT!r})")).to_be_visible()
    check_axe(page)
    page.get_by_role("button", name="Enqueue again").press("Enter")
    expect(page.get_by_text("no longer has this task: it ran")).to_be_visible()
    console.open("/attempts")
    expect(page.get_by_role("row", name="main.work")).to_have_count(2)

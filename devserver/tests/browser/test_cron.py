"""The pages on cron jobs, and on queues as Cloud Tasks sees them."""

from playwright.sync_api import expect

from tests.browser.conftest import Console, check_axe


def test_cron(console: Console) -> None:
    """A job shows its next runs in its time zone and in UTC, and runs now."""
    page = console.open("/cron")
    row = page.get_by_role("row", name="/call/work")
    expect(row.get_by_role("listitem")).to_have_count(3)
    expect(row.get_by_role("listitem").first).to_contain_text("09:00:00")
    expect(row).to_contain_text("UTC")
    row.get_by_role("button", name="Run now").press("Enter")
    expect(page.get_by_role("status")).to_have_text("The job ran: status 200.")
    row.get_by_role("link", name="200").click()
    expect(page.get_by_role("row", name="/call/work")).to_contain_text("done")
    page.go_back()
    missing = page.get_by_role("row", name="/missing")
    missing.get_by_role("button", name="Run now").press("Enter")
    expect(missing.get_by_role("link", name="404")).to_be_visible()
    check_axe(page)
    expect(page).to_have_title("Cron · gae-devserver")


def test_cloud_tasks(console: Console) -> None:
    """A queue shows its settings, and is paused and resumed."""
    page = console.open("/cloud_tasks")
    row = page.get_by_role("row", name="reports")
    expect(row).to_contain_text("500/s")
    row.get_by_role("button", name="Pause").press("Enter")
    expect(row).to_contain_text("PAUSED")
    check_axe(page)
    row.get_by_role("button", name="Resume").press("Enter")
    expect(row).to_contain_text("RUNNING")

"""The page of services and of the server."""

from playwright.sync_api import expect

from tests.browser.conftest import Console, check_axe


def test_services(console: Console) -> None:
    """A service is restarted, the server reset; the page follows both."""
    page = console.open("/services")
    row = page.get_by_role("row", name="default")
    expect(row).to_contain_text("ready")
    expect(page.locator("#about")).to_contain_text("gae-devserver: ")
    check_axe(page)
    process = row.get_by_role("cell").nth(5).inner_text()
    page.get_by_role("button", name="Restart default").click()
    expect(row.get_by_role("cell").nth(5)).not_to_have_text(process)
    expect(row).to_contain_text("ready")
    console.call("remember", "a", 1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Reset everything").click()
    expect(page.get_by_role("status")).to_contain_text("after its start")
    assert console.call("recall", "a") is None

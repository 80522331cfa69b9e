"""The pages of memcache."""

from playwright.sync_api import expect

from tests.browser.conftest import Console, check_axe

SCRIPT = "<script>document.title = 'hacked'</script>"


def test_items(console: Console) -> None:
    """An item is found, opened, changed and deleted; what it says is only text."""
    page = console.open("/memcache")
    expect(page.get_by_text("Memcache is empty.")).to_be_visible()
    console.call("remember", SCRIPT, SCRIPT, seconds=3600)
    expect(page.get_by_role("row").filter(has_text=SCRIPT)).to_contain_text("in 59 min")
    check_axe(page)
    page.get_by_label("Key", exact=True).fill("n")
    page.get_by_label("Type").select_option("integer")
    page.get_by_label("Value", exact=True).fill("41")
    page.get_by_role("button", name="Set").click()
    expect(page.get_by_role("status")).to_contain_text("item n")
    assert console.call("recall", "n") == 41
    page.get_by_label("Key, value or namespace").fill("script")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name=SCRIPT).click()
    page.get_by_label("Value").fill("new\ntext")
    check_axe(page)
    page.get_by_role("button", name="Set").click()
    expect(page.get_by_role("status")).to_be_visible()
    assert console.call("recall", SCRIPT) == "new\ntext"
    page.get_by_role("button", name="Delete").press("Enter")
    expect(page.get_by_role("heading", name="Memcache")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Flush all").click()
    expect(page.get_by_role("status")).to_contain_text("deleted: 1")
    expect(page.get_by_text("Memcache is empty.")).to_be_visible()

"""The pages of search."""

from playwright.sync_api import expect

from tests.browser.conftest import Console, check_axe

SCRIPT = "<script>document.title = 'hacked'</script>"


def test_documents(console: Console) -> None:
    """Documents are found by a query, whose mistake is shown, and can be deleted."""
    page = console.open("/search")
    expect(page.get_by_text("The app has no index")).to_be_visible()
    console.call("add_documents", "a/b?c", SCRIPT, 101)
    page.get_by_role("link", name="a/b?c").click()
    expect(page.locator("tbody tr")).to_have_count(100)
    check_axe(page)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Query").fill("title:(")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("alert")).to_contain_text("title:(")
    check_axe(page)
    page.get_by_label("Query").fill("price = 7")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="doc007").click()
    expect(page.locator("tbody tr").nth(0)).to_contain_text(SCRIPT)
    check_axe(page)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("100 documents.")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="Search").click()
    check_axe(page)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete a/b?c").click()
    expect(page.get_by_text("The app has no index")).to_be_visible()

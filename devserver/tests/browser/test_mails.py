"""The pages of mail."""

from playwright.sync_api import expect

from tests.browser.conftest import Console, check_axe

SCRIPT = "<script>document.title = 'hacked'</script>"


def test_mails(console: Console) -> None:
    """The HTML of a mail is shown as source; its files are saved; all can be deleted.

    A mail to the app shows the status of its answer.
    """
    page = console.open("/mails")
    expect(page.get_by_text("The app has sent no mail.")).to_be_visible()
    console.call("send_mail", "First", "<p>", "a.txt")
    console.call("send_mail", SCRIPT, SCRIPT, "report.pdf")
    expect(page.locator("tbody tr").nth(0)).to_contain_text(SCRIPT)
    check_axe(page)
    page.get_by_role("link", name=SCRIPT).click()
    expect(page.locator("pre").filter(has_text=SCRIPT)).to_be_visible()
    check_axe(page)
    with page.expect_download() as downloading:
        page.get_by_role("link", name="report.pdf").click()
    assert downloading.value.suggested_filename == "report.pdf"
    page.get_by_role("main").get_by_role("link", name="Mails").click()
    page.get_by_label("To", exact=True).fill("in@example.com")
    page.get_by_label("From").fill("ann@example.com")
    page.get_by_role("button", name="Send to the app").click()
    expect(page.get_by_role("status")).to_contain_text("the status 404")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete all").click()
    expect(page.get_by_role("status")).to_contain_text("deleted: 2")

"""The page of blobs."""

import base64

from playwright.sync_api import expect

from tests.browser.conftest import Console, check_axe
from tests.helpers.console_app import upload

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJ"
    "RU5ErkJggg=="
)
HTML = b"<script>document.title = 'hacked'</script>"


def test_blobs(console: Console) -> None:
    """A picture is shown; any file is saved, never opened; a blob can be deleted."""
    page = console.open("/blobs")
    expect(page.get_by_text("There is no blob.")).to_be_visible()
    upload(console.server, PNG, "pie.png", "image/png")
    upload(console.server, HTML, "<b>.html", "text/html")
    expect(page.locator("tbody tr")).to_have_count(2)
    assert page.locator("tbody img").evaluate("image => image.decode()") is None
    assert page.locator("tbody img").evaluate("image => image.naturalWidth") == 1
    check_axe(page)
    with page.expect_download() as downloading:
        page.get_by_role("link", name="<b>.html").click()
    assert downloading.value.path().read_bytes() == HTML
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete pie.png").click()
    expect(page.get_by_role("status")).to_contain_text("deleted")
    expect(page.locator("tbody tr")).to_have_count(1)

"""The page that signs in to the app."""

from playwright.sync_api import expect

from tests.browser.conftest import Console, check_axe


def test_sign_in_and_out(console: Console) -> None:
    """The same browser is signed in on the app's port, until it signs out."""
    page = console.open("/users")
    page.get_by_label("E-mail").fill("ann@example.com")
    page.get_by_label("Administrator").check()
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text("is signed in to the app as ann")).to_be_visible()
    check_axe(page)
    app = page.context.new_page()
    app.goto(f"{console.server.url}/call/who")
    assert app.text_content("body") == '["ann@example.com", true]'
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("This browser is not signed in")).to_be_visible()
    app.reload()
    assert app.text_content("body") == "null"
    page.get_by_role("button", name="Sign in as ann@example.com").click()
    expect(page.get_by_text("is signed in to the app as ann")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Sign everyone out").click()
    expect(page.get_by_text("This browser is not signed in")).to_be_visible()

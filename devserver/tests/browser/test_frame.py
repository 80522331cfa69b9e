"""What all pages have in common: the token, actions, live updates, their security."""

from playwright.sync_api import expect

from tests.browser.conftest import Console, check_axe


def test_token_leaves_address(console: Console) -> None:
    """The token of the printed link leaves the address, and stays for other pages."""
    page = console.open("/")
    expect(page).to_have_url(f"{console.server.state_url}/")
    expect(page.get_by_label("paste the token")).to_be_hidden()
    check_axe(page)

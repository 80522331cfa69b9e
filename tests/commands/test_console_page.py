"""docs/console.md: its table lists the pages of the navigation."""

from gae_devserver.console.frame.pages import PAGES

from tests.commands.pages import first_cells, page, section


def test_pages() -> None:
    """The table has each page of the navigation, in the same order."""
    listed = first_cells(section(page("docs/console.md"), "The pages")).splitlines()

    assert listed == [page.title for page in PAGES]

"""Each row of docs/differences.md on the two dev servers is tested."""

import pathlib
import re

from tests.servers.differences import DIFFERENCES
from tests.servers.staging import REPOSITORY

TESTS = REPOSITORY / "tests"


def marked(marker: str, *files: pathlib.Path) -> set[str]:
    """Return the keys that a marker names in some files."""
    pattern = rf'mark\.{marker}\("([^"]*)"\)'
    return {key for file in files for key in re.findall(pattern, file.read_text())}


def test_contract_uses_every_difference() -> None:
    """A test needs each entry, and each marker names an entry."""
    files = [TESTS / "routes.py", *(TESTS / "contract").glob("*.py")]

    assert marked("differs", *files) == set(DIFFERENCES)


def test_what_is_skipped_is_shown() -> None:
    """If an entry's tests are skipped, another test shows it on dev_appserver.py."""
    shown = marked("shows", TESTS / "servers" / "test_dev_appserver.py")

    assert shown == {key for key, entry in DIFFERENCES.items() if entry.skipped}


def test_page_has_every_difference() -> None:
    """The table in docs/differences.md has these rows, and no others."""
    page = (REPOSITORY / "docs" / "differences.md").read_text()
    section = page.partition("\n### Differences\n")[2].partition("\n## ")[0]
    _, _, *rows = [line for line in section.splitlines() if line.startswith("|")]

    for row, difference in zip(rows, DIFFERENCES.values(), strict=True):
        assert row.startswith(f"| {difference.case}")

"""Each row of the tables of differences is tested."""

import pathlib
import re
from collections.abc import Mapping

import pytest

from tests.servers.differences import (
    CLOUD_TASKS,
    DEV_APPSERVER,
    Change,
    Difference,
)
from tests.servers.staging import REPOSITORY

TESTS = REPOSITORY / "tests"


def marked(marker: str, *files: pathlib.Path) -> set[str]:
    """Return the keys that a marker names in some files."""
    pattern = rf'mark\.{marker}\("([^"]*)"\)'
    return {key for file in files for key in re.findall(pattern, file.read_text())}


@pytest.mark.parametrize(
    ("marker", "entries"), [("differs", DEV_APPSERVER), ("changes", CLOUD_TASKS)]
)
def test_contract_uses_every_entry(
    marker: str, entries: Mapping[str, Difference | Change]
) -> None:
    """A test needs each entry, and each marker names an entry."""
    files = [TESTS / "routes.py", *(TESTS / "contract").glob("*.py")]
    probed = {key for key, entry in DEV_APPSERVER.items() if entry.probe}

    assert marked(marker, *files) == entries.keys() - probed


def test_what_is_skipped_is_shown() -> None:
    """If an entry's tests are skipped, another test shows it on dev_appserver.py."""
    shown = marked("shows", TESTS / "servers" / "test_dev_appserver.py")

    assert shown == {key for key, entry in DEV_APPSERVER.items() if entry.skipped}


@pytest.mark.parametrize(
    ("page", "title", "entries"),
    [
        ("docs/differences.md", "### Differences", DEV_APPSERVER),
        ("docs/cloud-tasks.md", "## What changes", CLOUD_TASKS),
    ],
)
def test_page_has_every_entry(
    page: str, title: str, entries: Mapping[str, Difference | Change]
) -> None:
    """The table on the page has these rows, and no others."""
    section = (REPOSITORY / page).read_text().partition(f"\n{title}\n")[2]
    lines = section.partition("\n## ")[0].splitlines()
    _, _, *rows = [line for line in lines if line.startswith("|")]

    for row, entry in zip(rows, entries.values(), strict=True):
        assert row.startswith(f"| {entry.case}")

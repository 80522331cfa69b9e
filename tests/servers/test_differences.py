"""The table of differences is what the contract goes by."""

import pathlib
import re

import pytest

from tests.servers.differences import DIFFERENCES

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CONTRACT = REPOSITORY / "tests" / "contract"


def test_contract_uses_every_difference() -> None:
    """Each line is there because a test needs it, and each marker names a line."""
    used = {
        key
        for file in CONTRACT.glob("*.py")
        for key in re.findall(r'mark\.differs\("([^"]*)"\)', file.read_text())
    }

    assert used == set(DIFFERENCES)


@pytest.mark.parametrize("key", DIFFERENCES)
def test_difference_is_a_sentence_for_the_readme(key: str) -> None:
    """Each line fits a row of a table, and its reason is a sentence."""
    difference = DIFFERENCES[key]

    for text in (difference.case, difference.dev_appserver, difference.embedded):
        assert text
        assert "|" not in text
        assert not text.endswith(".")
    assert difference.dev_appserver != difference.embedded
    assert difference.reason.endswith(".")


def test_readme_has_every_difference() -> None:
    """The README's table is this one, line by line."""
    readme = (REPOSITORY / "README.md").read_text()
    section = readme.partition("\n### Differences\n")[2].partition("\n## ")[0]
    _, _, *rows = [line for line in section.splitlines() if line.startswith("|")]

    assert rows == [
        f"| {x.case} | {x.dev_appserver} | {x.embedded} | {x.reason} |"
        for x in DIFFERENCES.values()
    ]

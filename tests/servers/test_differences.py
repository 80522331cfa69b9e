"""The table of differences is what the contract goes by."""

import pathlib
import re

import pytest

from tests.servers.differences import DIFFERENCES

CONTRACT = pathlib.Path(__file__).resolve().parents[1] / "contract"


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

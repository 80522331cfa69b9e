"""The table of differences is what the contract goes by."""

import pathlib
import re
import subprocess
import sys

import pytest

from tests.servers.differences import DIFFERENCES
from tools import cloud_sdk

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CONTRACT = REPOSITORY / "tests" / "contract"


def marked(marker: str, *files: pathlib.Path) -> set[str]:
    """Return the keys that a marker names in some files."""
    pattern = rf'mark\.{marker}\("([^"]*)"\)'
    return {key for file in files for key in re.findall(pattern, file.read_text())}


def test_contract_uses_every_difference() -> None:
    """Each line is there because a test needs it, and each marker names a line."""
    assert marked("differs", *CONTRACT.glob("*.py")) == set(DIFFERENCES)


def test_what_is_skipped_is_shown() -> None:
    """A line whose tests do not run on dev_appserver.py has one there that does."""
    shown = marked("shows", pathlib.Path(__file__).with_name("test_dev_appserver.py"))

    assert shown == {key for key, line in DIFFERENCES.items() if line.skipped}


DIFFERS = """
import pytest

@pytest.mark.differs("dots")
def test_that_differs():
    assert False

@pytest.mark.differs("dots")
def test_that_passes():
    pass

@pytest.mark.differs("dots")
def test_that_breaks():
    raise RuntimeError("the server ended")

@pytest.mark.differs("pause")
def test_that_is_skipped():
    raise RuntimeError("the server ended")

@pytest.mark.differs("two stores")
def test_that_passes_with_bundled_ndb():
    pass
"""


def test_line_that_is_not_true_is_found(
    tmp_path: pathlib.Path,
) -> None:
    """On dev_appserver.py a marked test that passes is a failure of the contract."""
    try:
        cloud_sdk.find_dev_appserver()
    except cloud_sdk.NotInstalledError as error:
        pytest.skip(str(error))
    test = tmp_path / "test_differs.py"
    test.write_text(DIFFERS)

    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
            *("-p", "tests.conftest", "-c", REPOSITORY / "pyproject.toml"),
            *("--server=dev_appserver", "--ndb=bundled", test),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed, 1 passed, 1 skipped, 1 xfailed" in done.stdout
    assert re.findall(r"(?m)^FAILED .*::test_that_(\w+)", done.stdout) == [
        "passes",
        "breaks",
    ]


@pytest.mark.parametrize("key", DIFFERENCES)
def test_difference_fits_a_row(key: str) -> None:
    """Each entry fits a row of a table, and its reason is a sentence."""
    difference = DIFFERENCES[key]

    for text in (difference.case, difference.dev_appserver, difference.embedded):
        assert text
        assert "|" not in text
        assert not text.endswith(".")
    assert difference.dev_appserver != difference.embedded
    assert difference.reason.endswith(".")


def test_page_has_every_difference() -> None:
    """The table of docs/differences.md is this one, line by line."""
    page = (REPOSITORY / "docs" / "differences.md").read_text()
    section = page.partition("\n### Differences\n")[2].partition("\n## ")[0]
    _, _, *rows = [line for line in section.splitlines() if line.startswith("|")]

    assert rows == [
        f"| {x.case} | {x.dev_appserver} | {x.embedded} | {x.reason} |"
        for x in DIFFERENCES.values()
    ]

"""Every link and every file that a page names is there."""

import pathlib
import re

import pytest

from tests.servers.staging import REPOSITORY

PAGES = sorted(
    page.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.md", "docs/*.md", "devserver/*.md", ".github/*.md")
    for page in REPOSITORY.glob(pattern)
)

# what a page shows of a user's own app, or of another project
ELSEWHERE = {
    "appengine_config.py",
    "cron.yaml",
    "DIR/devserver.sqlite3",
    "dispatch.yaml",
    "dos.yaml",
    "index.yaml",
    "lib/httplib2/httplib2/cacerts.txt",
    "my_app/requirements.txt",
    "tasks.py",
    "test_tasks.py",
    "test_counter.py",
}
FOLDERS = ("", "shared", "flask_app", "tests/staged", "tests/servers", "devserver")


def prose(page: str) -> str:
    """Return a page without its blocks of code."""
    text = (REPOSITORY / page).read_text()
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: pathlib.Path) -> set[str]:
    """Return the anchors that GitHub gives to the headlines of a page."""
    titles = re.findall(
        r"^#+ (.*)$", prose(str(page.relative_to(REPOSITORY))), re.MULTILINE
    )
    return {
        re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-")
        for title in titles
    }


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """A relative link leads to a file, and its anchor to a headline."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.resolve()), target


@pytest.mark.parametrize("page", PAGES)
def test_named_files(page: str) -> None:
    """A file that a page names between backticks is in the repository."""
    named = re.findall(
        r"`([\w./-]+\.(?:py|md|yaml|toml|txt|yml|sqlite3)|\.ci/\w+)`", prose(page)
    )
    for name in set(named) - ELSEWHERE:
        if name.startswith("google/"):  # of the SDK
            continue
        assert any((REPOSITORY / folder / name).exists() for folder in FOLDERS), name


def test_pages_are_found() -> None:
    """The pages are those that the README lists, and itself."""
    readme = (REPOSITORY / "README.md").read_text()

    assert "README.md" in PAGES
    for page in PAGES:
        if page != "README.md" and not page.startswith(".github"):
            assert f"]({page}" in readme, f"{page} is not in README.md"

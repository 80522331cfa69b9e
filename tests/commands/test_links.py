"""Every link and every file that a page names exists."""

import pathlib
import re

import pytest

from tests.servers.staging import REPOSITORY

PAGES = sorted(
    page.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.md", "docs/*.md", "devserver/*.md", ".github/*.md")
    for page in REPOSITORY.glob(pattern)
)

# files of a user's own app, or of another project
ELSEWHERE = {
    "appengine_config.py",
    "conftest.py",
    "cron.yaml",
    "debugger.py",
    "DIR/devserver.sqlite3",
    "dispatch.yaml",
    "dos.yaml",
    "include.yaml",
    "index.yaml",
    "lib/httplib2/httplib2/cacerts.txt",
    "manage.py",
    "my_app/requirements.txt",
    "mysite/settings.py",
    "mysite/wsgi.py",
    "sitecustomize.py",
    "tasks.py",
    "test_tasks.py",
    "test_counter.py",
    "test_stored.py",
    "worker.yaml",
}
FOLDERS = ("", "shared", "flask_app", "tests/staged", "tests/servers", "devserver")


def prose(page: pathlib.Path | str) -> str:
    """Return a page without its blocks of code."""
    text = (REPOSITORY / page).read_text()
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: pathlib.Path) -> set[str]:
    """Return the anchors that GitHub gives to the headlines of a page."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    words = [re.sub(r"[^\w -]", "", title.lower()).split() for title in titles]
    return {"-".join(x) for x in words}


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """A relative link leads to a file, and its anchor to a headline."""
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        file = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES)
def test_named_files(page: str) -> None:
    """A file between backticks, and a path of tests, is in the repository."""
    text = prose(page)
    named = re.findall(r"`([\w./-]+\.(?:py|md|ya?ml|toml|txt|sqlite3)|\.ci/\w+)`", text)
    named += re.findall(r"\btests/[\w/.]*\w", text)
    for name in set(named) - ELSEWHERE:
        exists = any((REPOSITORY / folder / name).exists() for folder in FOLDERS)
        assert exists or name.startswith("google/"), name  # google/: in the SDK


def test_readme_lists_every_page() -> None:
    """README.md has a link to each page that is not for GitHub alone."""
    readme = (REPOSITORY / "README.md").read_text()
    pages = [x for x in PAGES if x != "README.md" and not x.startswith(".github")]

    assert len(pages) > 5
    assert [x for x in pages if f"]({x}" not in readme] == []

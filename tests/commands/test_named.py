"""Each name, header, option and folder that a page has is one that there is."""

import functools
import importlib.util
import pathlib
import re
from collections.abc import Iterator

import pytest

from tests.commands.running import run
from tests.commands.test_links import PAGES, prose
from tests.servers.staging import REPOSITORY

LIBRARIES = ("google.appengine", "google.cloud.ndb", "flask", "django.http")
"""Packages with names that pages explain."""

ELSEWHERE = {
    "PurePosixPath",  # Python's own
    "get_data",  # werkzeug's
}
"""Names that stand in none of these packages."""

# with an underscore, or a capital inside, as no word of English; not that of a file
NAME = re.compile(
    r"(?<![\w\\-])_?[A-Za-z]+(?:_\w+|[a-z]+[A-Z]\w+)(?![\w-]|\.(?:py|txt))"
)


def own_sources() -> Iterator[pathlib.Path]:
    """Yield the files of this repository that hold code, but for these tests."""
    listed = run("git", "ls-files", "-co", "--exclude-standard").stdout.splitlines()
    for name in listed:
        code = name.endswith((".py", ".yaml", ".toml", ".txt"))
        if code and not name.startswith("tests/commands/test_"):
            yield REPOSITORY / name


def sources() -> Iterator[pathlib.Path]:
    """Yield the same and the files of the packages."""
    yield from own_sources()
    for package in LIBRARIES:
        spec = importlib.util.find_spec(package)
        assert spec
        for folder in spec.submodule_search_locations or ():
            yield from pathlib.Path(folder).rglob("*.py")


@functools.cache
def words() -> set[str]:
    """Return all words of code; those of headers have hyphens."""
    found: set[str] = set()
    for file in filter(pathlib.Path.is_file, sources()):
        text = file.read_text(errors="replace")
        found.update(re.findall(r"\w+", text), re.findall(r"[Xx]-[\w-]*\w", text))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_names(page: str) -> None:
    """A name is one of the code, or of a library that the page speaks of."""
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    named = {name for span in spans for name in NAME.findall(span)}

    assert named - ELSEWHERE - words() == set()
    assert named or page.startswith(".github") or page == "CHANGELOG.md"


@pytest.mark.parametrize("page", PAGES)
def test_headers(page: str) -> None:
    """A header of App Engine's, or of the dev server's, is one that code has."""
    code = {word.lower() for word in words()}
    for header in re.findall(r"`(X-(?:AppEngine|Devserver)-[\w-]*\w)`", prose(page)):
        name = header.lower()
        assert code & {name, "http_" + name.replace("-", "_")}, header


@functools.cache
def options() -> set[str]:
    """Return all options of commands that the code names."""
    files = filter(pathlib.Path.is_file, own_sources())
    texts = [file.read_text() for file in files]
    return {x for text in texts for x in re.findall(r"--[a-z][\w-]+", text)}


@pytest.mark.parametrize("page", PAGES)
def test_options(page: str) -> None:
    """An option is one that code takes, or gives to another command."""
    text = (REPOSITORY / page).read_text()
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", text))

    assert named - options() == set()


@pytest.mark.parametrize("page", PAGES)
def test_folders(page: str) -> None:
    """A folder of the tests that a page names is there."""
    for folder in re.findall(r"`(tests(?:/\w+)*)`", prose(page)):
        assert (REPOSITORY / folder).is_dir(), folder

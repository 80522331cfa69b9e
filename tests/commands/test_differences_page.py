"""docs/differences.md: the apps answer as the page says."""

import collections
import itertools
import pathlib
import re
import sys
from collections.abc import Iterator

import pytest

from tests.commands.pages import code, page, rows, section
from tests.commands.running import run
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY

TABLE = rows(section(page("docs/differences.md"), "What the apps answer"))

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OWN_PATHS = ("/counter/get", "/counter/increment", "/custom/path")
PATHS = (*OWN_PATHS, "/_ah/queue/deferred")
NUMBERS = ("no", "one", "two", "three")

ROUTES = {
    "flask": "(rule.rule for rule in main.app.url_map.iter_rules())",
    "django": "('/' + str(path.pattern) for path in main.urlpatterns)",
    "plain_wsgi": "main.routes",
}
"""How to ask an app's main.py for its paths."""


@pytest.mark.parametrize("app", APPS)
def test_paths(app: str) -> None:
    """The paths that the table is checked for are those of the apps."""
    program = f"import main; print(*{ROUTES[app]})"
    asked = run(sys.executable, "-B", "-c", program, folder=REPOSITORY / APPS[app])

    flasks_own = {"/static/<path:filename>"}
    assert set(asked.stdout.split()) - flasks_own == set(OWN_PATHS), asked.stderr


def answers() -> Iterator[tuple[str, str, str]]:
    """Yield method, path and the promised answer, for each that the table names."""
    for request, answer in TABLE:
        methods = re.findall("|".join(METHODS), request) or ["GET"]
        paths = [x for x in code(request) for x in re.findall(r"(/[\w/]*)$", x)]
        for method in dict.fromkeys(methods):
            for path in paths or PATHS:
                yield method, path, answer


def test_each_answer_is_promised_once() -> None:
    """The table gives the answer of each method at each path, in one row."""
    promised = collections.Counter((method, path) for method, path, _ in answers())
    wanted = set(itertools.product(METHODS, PATHS))

    assert {request for request in promised if request[1] in PATHS} == wanted
    assert set(promised.values()) == {1}


@pytest.mark.parametrize("app", APPS)
def test_answers(app: str, tmp_path: pathlib.Path) -> None:
    """Each request of the table gets the status and the text beside it."""
    server = Embedded(REPOSITORY / APPS[app], tmp_path)
    try:
        server.pause("default")
        for method, path, answer in answers():
            what = f"{method} {path}"
            here, with_django, there = answer.partition("with Django")
            promised = there if with_django and app == "django" else here
            found = server.request(method, path)

            assert str(found.status) in re.findall(r"\b\d{3}\b", promised), what
            if "`Allow`" in promised:
                assert found.allow, what
                # Flask names HEAD for each view of GET
                assert method not in found.allow or found.status == 200, what
            queued = re.findall(r"(\w+) tasks are queued", promised) or ["no"]
            assert NUMBERS[len(server.tasks())] == queued[0], what
            server.purge("default")
            if promised.startswith("200 and "):
                text = code(promised) or re.findall(r"no text|\d+(?= before)", promised)
                assert [found.text or "no text"] == text, what
    finally:
        server.stop()

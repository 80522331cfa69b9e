"""docs/differences.md: what it says of the apps' answers is what they answer."""

import collections
import itertools
import pathlib
import re
import sys
from collections.abc import Iterator

import pytest
from google.appengine.ext.deferred import deferred

from tests.commands.pages import code, page, rows, section
from tests.commands.running import run
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY

TABLE = rows(section(page("docs/differences.md"), "What the apps answer"))

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PATHS = ("/counter/get", "/counter/increment", "/custom/path", "/_ah/queue/deferred")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")

ROUTES = {
    "flask": "(rule.rule for rule in main.app.url_map.iter_rules())",
    "django": "('/' + str(path.pattern) for path in main.urlpatterns)",
    "plain_wsgi": "main.routes",
}
"""How to ask an app's main.py for its paths."""


@pytest.mark.parametrize("app", APPS)
def test_paths(app: str) -> None:
    """The paths of the table are those of the apps, and the SDK's own."""
    asked = run(
        *(sys.executable, "-c", f"import main; print(*{ROUTES[app]})"),
        folder=REPOSITORY / APPS[app],
        PYTHONDONTWRITEBYTECODE="1",
    )

    own = set(asked.stdout.split()) - {"/static/<path:filename>"}  # Flask's own
    assert own | {deferred._DEFAULT_URL} == set(PATHS), asked.stderr


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
    promised = collections.Counter((x, path) for x, path, _ in answers())
    wanted = set(itertools.product(METHODS, PATHS))

    assert {request for request in promised if request[1] in PATHS} == wanted
    assert set(promised.values()) == {1}


@pytest.mark.parametrize("app", APPS)
def test_answers(app: str, tmp_path: pathlib.Path) -> None:
    """Each request of the table gets the status and the text beside it."""
    wanted = list(answers())
    server = Embedded(REPOSITORY / APPS[app], tmp_path)
    try:
        server.pause("default")
        for method, path, answer in wanted:
            here, with_django, there = answer.partition("with Django")
            promised = there if with_django and app == "django" else here
            found = server.request(method, path)

            assert str(found.status) in re.findall(r"\b\d{3}\b", promised), (
                method,
                path,
                found,
            )
            if "`Allow`" in promised:
                assert found.allow, (method, path)
                # Flask names HEAD for each view of GET
                assert method not in found.allow or found.status == 200
            queued = re.findall(r"(\w+) tasks are queued", promised) or ["no"]
            assert NUMBERS[len(server.tasks())] == queued[0], (method, path)
            server.purge("default")
            if promised.startswith("200 and "):
                text = code(promised) or re.findall(r"no text|\d+(?= before)", promised)
                assert [found.text or "no text"] == text, (method, path)
    finally:
        server.stop()
    assert len(wanted) > 20

"""The README's tables say what the apps are and do."""

import ast
import collections
import itertools
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterator
from types import ModuleType

import pytest
from django.middleware import csrf
from gae_devserver.http import sockets
from gae_devserver.services import api_server
from google.appengine.api import apiproxy_stub_map
from google.appengine.ext.deferred import deferred
from google.appengine.runtime import default_api_stub
from packaging.requirements import Requirement

from tests.commands.running import run
from tests.commands.test_readme import README, section
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PATHS = ("/counter/get", "/counter/increment", "/custom/path", "/_ah/queue/deferred")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def rows(title: str, page: str = README) -> list[list[str]]:
    """Return the cells of the last table below a headline, without its head."""
    lines = [x for x in section(page, title).splitlines() if x.startswith("|")]
    dashes = max(i for i, line in enumerate(lines) if set(line) <= set("|-"))
    return [line.strip("| ").split(" | ") for line in lines[dashes + 1 :]]


def code(cell: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`(.+?)`", cell)


def normal(text: str) -> str:
    """Return code as it would be in one line."""
    return re.sub(r"\s+", " ", text)


# --- the schedule ---


def deferred_calls(app: str) -> list[tuple[int, str, int, str]]:
    """Return each call of defer in an app: countdown, URL, amount and the call."""
    tree = ast.parse((REPOSITORY / APPS[app] / "main.py").read_text())
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "deferred.defer":
            options = {x.arg: ast.literal_eval(x.value) for x in node.keywords}
            url = options.get("_url", deferred._DEFAULT_URL)
            amount = ast.literal_eval(node.args[2])
            call = f"defer({', '.join(map(ast.unparse, node.args))})"
            found.append((options.get("_countdown", 0), url, amount, call))
    return found


@pytest.mark.parametrize("app", APPS)
def test_schedule(app: str) -> None:
    """Each call of defer is a row, with its delay, its URL and the count after it."""
    count = 0
    expected = []
    calls = set()
    for countdown, url, amount, call in deferred_calls(app):
        calls.add(f"`{call}`")
        count += amount
        expected.append([str(countdown), f"`{url}`", str(count)])

    found = rows("What you see")
    assert calls == {found[0][1]}  # the others are "the same with"
    assert [[delay, url, count] for delay, _, url, count in found] == expected
    for delay, what, url, _ in found:
        assert (f"_countdown={delay}" in what) is (delay != "0")
        other = url.strip("`") != deferred._DEFAULT_URL
        assert (f'_url="{url.strip("`")}"' in what) is other


# --- the apps ---


def test_apps_beside_each_other() -> None:
    """What a cell shows of an app is in its main.py, and in the last row in no other.

    An address, with a status behind it, is asked for below.
    """
    titles = re.findall(r"\[(\w+)\]\(\1/main\.py\)", section(README, "The three apps"))
    sources = {
        folder: normal((REPOSITORY / folder / "main.py").read_text())
        for folder in APPS.values()
    }

    assert titles == list(sources)
    for what, *cells in rows("The three apps"):
        for folder, cell in zip(titles, cells, strict=True):
            for shown in map(normal, code(cell)):
                if not shown.startswith("//"):
                    assert shown in sources[folder], (folder, what)
                if what == "its own":
                    others = [text for x, text in sources.items() if x != folder]
                    assert not [text for text in others if shown in text], shown


ROUTES = {
    "flask": "(rule.rule for rule in main.app.url_map.iter_rules())",
    "django": "('/' + str(path.pattern) for path in main.urlpatterns)",
    "plain_wsgi": "main.routes",
}
"""How to ask an app's main.py for its paths."""


@pytest.mark.parametrize("app", APPS)
def test_paths(app: str) -> None:
    """The paths of the tables are those of the apps, and the SDK's own."""
    asked = run(
        *(sys.executable, "-c", f"import main; print(*{ROUTES[app]})"),
        folder=REPOSITORY / APPS[app],
        PYTHONDONTWRITEBYTECODE="1",
    )

    assert {*asked.stdout.split(), deferred._DEFAULT_URL} == set(PATHS), asked.stderr


def answers() -> Iterator[tuple[str, str, str]]:
    """Yield method, path and the promised answer, for each that the table names."""
    for request, answer in rows("What the apps answer"):
        methods = re.findall("|".join(METHODS), request) or ["GET"]
        paths = re.findall(r"(/[\w/]+)", request) or PATHS
        for method in dict.fromkeys(methods):
            for path in paths:
                yield method, path, answer


def test_each_answer_is_promised_once() -> None:
    """The table says what becomes of each method at each path, in one row."""
    promised = collections.Counter((x, path) for x, path, _ in answers())
    wanted = set(itertools.product(METHODS, PATHS))

    assert {request for request in promised if request[1] in PATHS} == wanted
    assert set(promised.values()) == {1}


@pytest.mark.parametrize("app", APPS)
def test_answers(app: str, tmp_path: pathlib.Path) -> None:
    """Each request of the table gets the status and the text that stand beside it."""
    wanted = list(answers())
    column = 1 + list(APPS).index(app)
    own = re.findall(r"`(//\S+)` is a (\d+)", rows("The three apps")[-1][column])
    wanted += [("GET", path, status) for path, status in own]
    wanted += [("GET", path, "404") for path in re.findall("no page at `(/)`", README)]
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


# --- versions ---


def test_versions() -> None:
    """The lowest versions are those of `minimums`, and the pins those of the lock."""
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    devserver = tomllib.loads((REPOSITORY / "devserver/pyproject.toml").read_text())
    minimums = groups["dependency-groups"]["minimums"]
    lowest = [Requirement(x) for x in minimums + devserver["project"]["dependencies"]]
    lock = (REPOSITORY / "requirements-lock.txt").read_text()
    locked = dict(re.findall(r"(?m)^([\w-]+)==(\S+)", lock))

    assert rows("Versions tested") == [
        [wanted.name, bound.version, locked[wanted.name]]
        for wanted in sorted(lowest, key=lambda x: x.name)
        for bound in wanted.specifier
        if bound.operator != "<"
    ]


# --- Google's page, and what goes wrong ---


def test_lines_that_mend_the_page() -> None:
    """Each row of the comparison cites lines of the file that it names."""
    found = rows("Where this differs from Google's page, and why")

    assert [row[0] for row in found] == [str(number) for number in range(1, 12)]
    for number, _, _, where in found:
        text = ""
        lines = 0
        for shown in code(where):
            if (REPOSITORY / shown).is_file():
                text = (REPOSITORY / shown).read_text()
                continue
            lines += 1
            assert text.count(shown), f"{number}: {shown} is not in the file"
        assert lines, number


ERRORS = [
    ("Detected an attempted XSRF attack. The header", deferred),
    ("'X-AppEngine-Taskname' was not set.", deferred),
    ("This request did not originate from Task Queue.", deferred),
    ("Attempted RPC call without active security ticket", default_api_stub),
    ("No api proxy found for service", apiproxy_stub_map),
    ("was made outside of a request, or after its end", api_server),
    ("app.yaml lacks the setting 'app_engine_apis: true'", api_server),
    ("CSRF cookie not set.", csrf),
    ("is in use by another program.", sockets),
]
"""An error text, or the part of it that is always the same, and who says so."""


@pytest.mark.parametrize(("text", "module"), ERRORS)
def test_error_texts(text: str, module: ModuleType) -> None:
    """What the troubleshooting quotes is what the SDK, Django and the server say."""
    quoted = [cell for cell, _ in rows("Troubleshooting") if text in cell]
    source = pathlib.Path(module.__file__ or "").read_text()

    assert len(quoted) == 1
    # the texts go on over the ends of lines
    assert text in re.sub(r'"\s*f?"', "", source)


def test_function_of_main(tmp_path: pathlib.Path) -> None:
    """A task that names __main__ fails as the troubleshooting says."""
    ((quoted, *_),) = (code(x) for x, _ in rows("Troubleshooting") if "__main__'" in x)
    before, after = quoted.split("...")
    (tmp_path / "main.py").write_text(
        "import pickle\ndef later(): pass\nprint(pickle.dumps(later, 0).decode())"
    )
    payload = run(sys.executable, "main.py", folder=tmp_path).stdout
    load = "import pickle, sys; pickle.loads(sys.argv[1].encode())"
    loaded = run(sys.executable, "-c", load, payload)

    assert before in loaded.stderr
    assert after.strip() in loaded.stderr

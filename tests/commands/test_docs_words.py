"""What SECURITY.md and the other pages below docs say is what code and libraries do."""

import inspect
import io
import os
import pathlib
import re
import shlex
from http import HTTPStatus
from types import ModuleType

import pytest
from aiohttp import web
from gae_devserver import __main__, faults, server
from gae_devserver.http import forwarding, front, running_requests
from gae_devserver.http import server as http_server
from google.api_core.exceptions import RetryError
from google.appengine.api.datastore_errors import TransactionFailedError
from google.appengine.api.taskqueue import MAX_PUSH_TASK_SIZE_BYTES
from google.appengine.ext import ndb as bundled
from google.appengine.ext.ndb import context
from google.cloud import ndb as cloud
from google.cloud.ndb import _retry
from ruamel.yaml import YAML

from shared import cloud_ndb
from tests.commands import cloud_sdk
from tests.commands.test_links import PAGES
from tests.commands.test_readme import README, section, served
from tests.commands.test_readme_commands import TESTING, blocks
from tests.commands.test_readme_tables import NUMBERS, code, rows
from tests.commands.test_readme_words import COMMAND, PYTHON2, answer_to, source_of
from tests.servers.datastore_emulator import gcloud_line
from tests.servers.staging import APPS, REPOSITORY

SECURITY = (REPOSITORY / "SECURITY.md").read_text()
CLOUD_NDB = (REPOSITORY / "docs" / "cloud-ndb.md").read_text()
ALL = {page: (REPOSITORY / page).read_text() for page in PAGES}

# --- SECURITY.md ---


def defence(attack: str) -> str:
    """Return what stands beside an attack."""
    (found,) = (x for what, x in rows("What is defended", SECURITY) if attack in what)
    return found


def test_limits() -> None:
    """Each limit has its number, and the status that the HTTP server answers."""
    source = inspect.getsource(http_server)
    (long_line,) = re.findall(r"LineTooLong\):\s+status = (\d+)", source)
    numbers = [
        *(http_server.MAX_BODY // 2**20, web.HTTPRequestEntityTooLarge.status_code),
        *(http_server.MAX_HEADER, int(long_line)),
        *(http_server.MAX_HEADERS, web.HTTPBadRequest.status_code),
        *(http_server.HEAD_SECONDS, http_server.BODY_SECONDS),
        *(int(http_server._SLOW[0][:3]), http_server.MAX_CONNECTIONS),
        *(int(http_server._FULL[0][:3]), http_server._IDLE_SECONDS),
        http_server.STALLED_SECONDS,
    ]

    assert web.HTTPRequestTimeout.status_code == int(http_server._SLOW[0][:3])
    named = re.findall(r"\d[\d,]*\b", defence("too much, or too slowly"))
    assert [int(x.replace(",", "")) for x in named] == numbers


def test_hosts() -> None:
    """The names that each port has, and the status for another."""
    text = defence("DNS rebinding")
    reached = "192.0.2.1"  # the page: the address that was reached
    names = {x for x in http_server._own_names(reached, 80) if not x.endswith(":80")}

    assert {*code(text)} - {"Host"} == names - {reached}
    assert f"answers {web.HTTPMisdirectedRequest.status_code} unless" in text


def test_random_bits() -> None:
    """A ticket and the token have as many as the page says."""
    sources = inspect.getsource(server) + inspect.getsource(running_requests)
    sizes = re.findall(r"(?:_token|ticket) = secrets\.token_hex\((\d+)\)", sources)

    assert len(sizes) == 2
    for size in sizes:
        assert f"Both are {8 * int(size)} random bits" in defence("/rpc_http")


def test_how_the_sdk_knows_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the two that the page names: without one of them it refuses."""
    monkeypatch.setattr("google.appengine.ext.deferred.deferred.run", io.BytesIO)
    (line,) = re.findall(r"^The SDK's handler knows .*", SECURITY, re.MULTILINE)
    header, sender = code(line)
    named = {"HTTP_" + header.upper().replace("-", "_"): "task1"}

    assert sender == front.TASK_IP
    assert answer_to(named, sender)[1] == HTTPStatus.OK
    assert answer_to({}, sender)[1] == HTTPStatus.FORBIDDEN
    assert answer_to(named, "192.0.2.1")[1] == HTTPStatus.FORBIDDEN


def test_headers_that_are_dropped() -> None:
    """The table has how they begin, in the words of docs/devserver.md."""
    (attack,) = (x for x, _ in rows("What is defended", SECURITY) if "forges" in x)

    assert [f"{x.lower().rstrip('*')}" for x in code(attack)] == [
        *forwarding._APP_ENGINES_OWN
    ]


def test_status_of_the_guard() -> None:
    """The one for a request that claims to come from App Engine."""
    (status,) = re.findall(
        r'is_forged\(environ\):\s+start_response\("(\d+)',
        source_of("guard", "shared/guard.py"),
    )

    assert defence("claims to be App Engine") == f"`shared/guard.py`: {status}."


# --- all pages ---


def test_large_tasks() -> None:
    """From the size on that pages name, the SDK stores a payload as an entity."""
    named = set(re.findall(r"(\d+) KB", "".join(ALL.values())))

    assert named == {str(MAX_PUSH_TASK_SIZE_BYTES // 2**10)}
    for page in ("SECURITY.md", "docs/cloud-ndb.md", "docs/python2-to-python3.md"):
        assert " KB" in ALL[page]


@pytest.mark.parametrize("page", PAGES)
def test_requests_to_the_state_api(page: str) -> None:
    """A request to the State API that a page names has a route."""
    routes = [(x, re.sub(r"\{\w+\}", "[^/]+", path)) for x, path in served()]
    first = "|".join(sorted({path.split("/")[1] for _, path in served()}))
    found = re.findall(rf"`([A-Z]+) (/(?:{first})[\w/]*)", ALL[page])

    for method, path in found:
        assert any(x == method and re.fullmatch(y, path) for x, y in routes), path
    assert found or page not in ("README.md", "docs/testing.md", "docs/devserver.md")


def test_values_of_counter_ndb() -> None:
    """Pages name the libraries that there are, and the one that app.yaml names."""
    named = set(re.findall(r"COUNTER_NDB: (\w+)", "".join(ALL.values())))
    (first, other) = re.findall(r"COUNTER_NDB: (\w+)  # or (\w+)", CLOUD_NDB)[0]

    assert named == {first, other} == set(cloud_ndb.libraries)
    for folder in APPS.values():
        settings = (REPOSITORY / folder / "app.yaml").read_text()
        assert f"  COUNTER_NDB: {first}\n" in settings


# --- docs/cloud-ndb.md ---


def test_transactions() -> None:
    """How often each library tries, how long it waits, and what it raises then."""
    tries, errors = (
        {what: cells for what, *cells in rows("What is different", CLOUD_NDB)}[what]
        for what in ("a transaction that lost a conflict", "when it lost each time")
    )
    source = inspect.getsource(context)
    (retries,) = re.findall(r"retries is None:\s+retries = (\d+)", source)

    assert tries[0] == f"tried again at once, up to {retries} times"
    assert f"up to {_retry._DEFAULT_RETRIES} times, after a second and more" in tries[1]
    assert _retry._DEFAULT_INITIAL_DELAY == 1.0
    assert code(errors[0]) == [TransactionFailedError.__name__]
    assert f"raise datastore_errors.{TransactionFailedError.__name__}(" in source
    assert code(errors[1]) == [f"{RetryError.__module__}.{RetryError.__name__}"]
    assert f"raise core_exceptions.{RetryError.__name__}(" in inspect.getsource(_retry)


def later() -> None:
    """Be decorated."""


@pytest.mark.parametrize(("column", "library"), [(0, bundled), (1, cloud)])
def test_with_or_without_brackets(column: int, library: ModuleType) -> None:
    """The table says how a library's decorator can be written."""
    (cells,) = (x for x in rows("What is different", CLOUD_NDB) if "`@ndb" in x[0])
    without = library.transactional(later)
    decorated = library.transactional()(later)

    assert decorated.__name__ == later.__name__
    # or it is what makes a decorator, with a function where a number is meant
    does = getattr(without, "__name__", "") == later.__name__
    assert cells[1 + column] == ("with or without `()`" if does else "with `()` only")


def test_project() -> None:
    """The project that other clients have to name is the server's own."""
    named = re.findall(r"and the project `([\w-]+)`", CLOUD_NDB)

    assert named == [__main__._parser().get_default("project")]


def test_names_that_the_counter_needs() -> None:
    """There are as many as the page says."""
    counter = (REPOSITORY / "shared" / "counter.py").read_text()
    names = set(re.findall(r"\bndb\.(\w+)", counter))

    assert f"the {NUMBERS[len(names)]} names that the counter needs" in CLOUD_NDB


def test_version_of_cloud_ndb() -> None:
    """What it cannot do was tried with the release that is pinned."""
    (pinned,) = (x[2] for x in rows("Versions tested") if x[0] == "google-cloud-ndb")

    assert re.findall(r"Cloud NDB ([\d.]+\d)", CLOUD_NDB) == [pinned]


def test_emulator_beside_dev_appserver() -> None:
    """The command is the one that the tests start it with, for the same project."""
    (line,) = re.findall(r"^\$ (gcloud .*)", CLOUD_NDB, re.MULTILINE)
    shown = "".join(blocks(CLOUD_NDB, "console"))
    (address,) = re.findall(r"DATASTORE_EMULATOR_HOST=(\S+)", shown)
    tried = gcloud_line(address, pathlib.Path(os.devnull))
    (project,) = re.findall(r'"--application=(\w+)"', source_of("command", COMMAND))

    words = shlex.split(line)
    assert set(words) - set(tried) == {f"--project={project}"}
    assert words[:5] == tried[:5]


# --- docs/testing.md ---


def test_faults() -> None:
    """The example of --faults is one that the server takes."""
    (example,) = re.findall(r"--faults (\S+)", TESTING)

    assert str(faults.Faults.parse(example)) == example


# --- docs/python2-to-python3.md ---


def test_what_gcloud_refuses(tmp_path: pathlib.Path) -> None:
    """Of the app.yaml for Python 2, gcloud refuses what the table says, and no more."""
    old = YAML(typ="safe", pure=True).load(blocks(PYTHON2, "yaml")[0])
    table = rows("2. app.yaml", PYTHON2)
    refused = {x for left, text in table if "refuses" in text for x in code(left)}
    found = set()
    for name in old.keys() - {"runtime"}:
        settings = {"runtime": code(table[0][1])[0].split()[1], name: old[name]}
        with (tmp_path / "app.yaml").open("w") as file:
            YAML(typ="safe", pure=True).dump(settings, file)
        try:
            cloud_sdk.parse(tmp_path / "app.yaml")
        except ValueError:
            found.add(name)

    assert found == refused
    assert "`api_version`" in section(PYTHON2, "2. app.yaml")


def test_pythons() -> None:
    """The versions whose newest protocol the page names are those of the README."""
    tested = section(README, "Versions tested").strip().partition(", on Linux")[0]

    assert f" in {tested} |" in section(PYTHON2, "7. The pickle protocol")

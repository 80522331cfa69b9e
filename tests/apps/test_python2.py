"""What docs/python2-to-python3.md says: payloads between Python 2 and 3, and code."""

import ast
import base64
import datetime
import decimal
import importlib.util
import io
import json
import pathlib
import pickle
import pickletools
import re
import subprocess
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from wsgiref.types import WSGIEnvironment

import pytest
from gae_devserver.config import app_yaml as config
from google.appengine.api import memcache
from google.appengine.ext import deferred, ndb, testbed
from google.appengine.ext.deferred import deferred as sdk_deferred
from ruamel.yaml import YAML

from shared.counter import Counter, do_something_later
from shared.deferred_handler import CustomDeferredHandler
from tests.apps.plain_gunicorn import HOST, REPOSITORY, environment, stage
from tests.apps.python2 import NotThereError, Python2

VARIABLE = "DEFERRED_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL"
PAGE = REPOSITORY / "docs" / "python2-to-python3.md"
TEXT = PAGE.read_text()

# In a process of its own, as on App Engine: the app is imported when the variable is
# set, and its view defers the three tasks into the SDK's stub of the task queue.
INCREMENT = """\
import base64, json, sys
sys.path.insert(0, ".")
from wsgiref.util import setup_testing_defaults
from google.appengine.ext import testbed
import main

services = testbed.Testbed()
services.activate()
services.init_taskqueue_stub()
request = {"PATH_INFO": "/counter/increment", "HTTP_HOST": sys.argv[1]}
setup_testing_defaults(request)
b"".join(main.app(request, lambda status, headers, exc_info=None: None))
stub = services.get_stub(testbed.TASKQUEUE_SERVICE_NAME)
for task in stub.get_filtered_tasks():
    payload = base64.b64encode(task.payload).decode()
    print(json.dumps([task.url, task.headers["Host"], payload]))
"""

# The variable as a request sees it, when the app has set it before and after.
LATE = f"""\
import os
from wsgiref.util import setup_testing_defaults
from google.appengine.api import wrap_wsgi_app

def app(environ, start_response):
    print(os.environ["{VARIABLE}"])
    return []

os.environ["{VARIABLE}"] = "early"
wrapped = wrap_wsgi_app(app)
os.environ["{VARIABLE}"] = "late"
request = {{}}
setup_testing_defaults(request)
wrapped(request, None)
"""

Increment = Callable[..., list[bytes]]


@pytest.fixture(scope="module")
def python2(tmp_path_factory: pytest.TempPathFactory) -> Python2:
    """A Python 2.7 with a counter of its own."""
    try:
        return Python2(tmp_path_factory.mktemp("python2"))
    except NotThereError as error:
        pytest.skip(f"needs Python 2.7: {error}")


@pytest.fixture
def increment(tmp_path: pathlib.Path) -> Increment:
    """Return the payloads of the tasks that an app defers in a fresh Python 3."""

    def increment(name: str, **variables: str | None) -> list[bytes]:
        app = stage(name, tmp_path)
        own = {**config.load_app_yaml(app).env_variables, **variables}
        given = {key: value for key, value in own.items() if value is not None}
        ended = subprocess.run(
            [sys.executable, "-c", INCREMENT, HOST["standard"]],
            cwd=app,
            env=environment("standard", **given),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        tasks = [json.loads(line) for line in ended.stdout.splitlines()]
        assert [url for url, _, _ in tasks] == [
            *("/_ah/queue/deferred", "/_ah/queue/deferred", "/custom/path")
        ]
        # the page: a task goes to the host at which it was queued
        assert {host for _, host, _ in tasks} == {HOST["standard"]}
        return [base64.b64decode(payload) for _, _, payload in tasks]

    return increment


@pytest.fixture
def compatible(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process pickles for Python 2 too."""
    monkeypatch.setenv(VARIABLE, "True")


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments that tasks call do_something_later with, in place of counting."""
    received: list[tuple[Any, ...]] = []

    def do_something_later(*arguments: Any) -> None:
        received.append(arguments)

    do_something_later.__module__ = "shared.counter"
    do_something_later.__qualname__ = "do_something_later"
    monkeypatch.setattr("shared.counter.do_something_later", do_something_later)
    # pickle compares what it is given with what the module has
    monkeypatch.setattr(f"{__name__}.do_something_later", do_something_later)
    return received


def protocol(payload: bytes) -> int:
    """Return the protocol that a pickle says it has; 0 and 1 say nothing."""
    opcode, number, _ = next(iter(pickletools.genops(payload)))
    return int(number or 0) if opcode.name == "PROTO" else 0


def request_of(payload: bytes) -> WSGIEnvironment:
    """Return the request by which the queue delivers a payload."""
    return {
        "SERVER_SOFTWARE": "gunicorn",
        "REMOTE_ADDR": "0.1.0.2",
        "HTTP_X_APPENGINE_TASKNAME": "task1",
        "CONTENT_LENGTH": str(len(payload)),
        "wsgi.input": io.BytesIO(payload),
    }


def deliver(payload: bytes) -> tuple[str, HTTPStatus]:
    """Have the sample's handler run a task; return what the queue then sees."""
    text, status, _ = CustomDeferredHandler().post(request_of(payload))
    return text, status


DONE = ("Success", HTTPStatus.OK)
DROPPED = ("PermanentTaskFailure", HTTPStatus.OK)


def test_python2_runs_the_tasks_of_a_sample(
    name: str, increment: Increment, python2: Python2
) -> None:
    """The tasks that app.yaml's variable makes count in Python 2; texts are unicode."""
    payloads = increment(name)

    counts, types = python2.run(*payloads)

    assert counts == {"v1": 2 * 3 * 10}  # under either of its pickle modules
    assert types == [["unicode", "int"]] * 6


@pytest.mark.parametrize(
    ("value", "number"), [(None, 5), ("", 5), ("True", 0), ("False", 0), ("0", 0)]
)
def test_protocol(value: str | None, number: int, increment: Increment) -> None:
    """Any text switches the variable on, "False" too; without it, it is protocol 5."""
    payloads = increment("plain_wsgi_app", **{VARIABLE: value})

    assert [protocol(payload) for payload in payloads] == [number] * 3


def test_table_of_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has a row for each kind of value, with the protocol that it gives."""
    table = re.findall(r"^\| ([a-z].*) \| (?:.*: )?(\d).* \|$", TEXT, re.MULTILINE)
    for kind, number in table:
        others = ["True", *re.findall(r'`"(\w+)"`', kind)]
        for value in [""] if kind == "not set, or empty" else others:
            monkeypatch.setenv(VARIABLE, value)
            assert protocol(deferred.serialize(print)) == int(number), value
    assert len(table) == 2


def test_protocols_of_python2(python2: Python2) -> None:
    """It loads 0, 1 and 2, and says of the others that it does not know them."""
    task: tuple[Any, ...] = (print, ("x",), {})
    payloads = [pickle.dumps(task, x) for x in range(pickle.HIGHEST_PROTOCOL + 1)]

    answers = python2.load(*payloads)

    loaded = [x for x, answer in enumerate(answers) if "unsupported" not in answer]
    assert loaded == [0, 1, 2]
    assert answers[-1] == "ValueError: unsupported pickle protocol: 5"


def test_without_the_variable_python2_loads_nothing(
    increment: Increment, python2: Python2
) -> None:
    """Python 2 refuses protocol 5, and says so."""
    payloads = increment("plain_wsgi_app", **{VARIABLE: None})

    assert [payload[:2] for payload in payloads] == [b"\x80\x05"] * 3
    error = "ValueError: unsupported pickle protocol: 5"
    assert python2.load(*payloads) == [error] * 3


def test_the_text_false_serves_python2_too(
    increment: Increment, python2: Python2
) -> None:
    """Who writes "False" gets what "True" gives."""
    payloads = increment("plain_wsgi_app", **{VARIABLE: "False"})

    assert python2.load(*payloads) == ["u'v1'"] * 3


def test_variable_is_read_for_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK does not remember it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert protocol(deferred.serialize(do_something_later)) == pickle.HIGHEST_PROTOCOL

    monkeypatch.setenv(VARIABLE, "True")
    assert protocol(deferred.serialize(do_something_later)) == 0


def test_variable_is_set_before_the_app_is_made() -> None:
    """What the app sets after wrap_wsgi_app is not seen by its requests."""
    shown = subprocess.run(
        [sys.executable, "-c", LATE],
        env=environment("standard"),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout

    assert shown == "early\n"


@pytest.mark.parametrize("number", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", ["", "True"])
def test_python3_runs_every_protocol(
    value: str,
    number: int,
    received: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Running a task does not depend on the variable."""
    monkeypatch.setenv(VARIABLE, value)
    task: tuple[Any, ...] = (do_something_later, ("key", 10), {})

    assert deliver(pickle.dumps(task, protocol=number)) == DONE
    assert received == [("key", 10)]


@pytest.mark.parametrize(("letter", "factor"), [("a", 1), ("中", 2)])
def test_texts_grow(letter: str, factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With protocol 0, ASCII takes as much as with 5, and Chinese twice as much."""
    text = letter * 10_000
    monkeypatch.setenv(VARIABLE, "")
    newest = len(deferred.serialize(print, text))
    monkeypatch.setenv(VARIABLE, "True")
    compatible = len(deferred.serialize(print, text))

    assert compatible / newest == pytest.approx(factor, abs=0.01)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_python3_runs_the_tasks_of_python2(
    number: int, python2: Python2, services: testbed.Testbed
) -> None:
    """What Python 2 has pickled, in any of its protocols, counts in Python 3."""
    for task in (
        "(do_something_later, ('key', 10), {})",
        "(do_something_later, (u'key',), {'amount': 10L})",
        "(do_something_later, (), {'key': 'key', 'amount': 10})",
    ):
        for payload in python2.dump(task, number):
            deferred.run(payload)

    assert Counter.get_by_id("key").count == 3 * 2 * 10


def rows(title: str) -> list[tuple[str, str]]:
    """Return the cells of the table in a section of the page."""
    _, found, section = TEXT.partition(f"\n### {title}\n")
    assert found
    section = re.split(r"^##", section, maxsplit=1, flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| `(.*?)` \| (.*) \|$", section, re.MULTILINE)
    assert cells
    return cells


@pytest.mark.parametrize("number", [0, 1, 2])
def test_arguments_from_python2(
    number: int, python2: Python2, received: list[tuple[Any, ...]]
) -> None:
    """Arguments arrive in Python 3 as the page's table says, or the task is dropped."""
    for argument, outcome in rows("Queued by Python 2, run by Python 3"):
        for payload in python2.dump(
            f"(do_something_later, ({argument},), {{}})", number
        ):
            received.clear()
            answer = deliver(payload)

            if "dropped" in outcome:
                assert (answer, received) == (DROPPED, []), argument
                assert outcome == f"dropped: `{error_of(payload)}`"
            else:
                assert answer == DONE
                assert repr(received) == repr([(value_of(outcome),)]), argument


def error_of(payload: bytes) -> str:
    """Return the name of the error that the SDK has made a PermanentTaskFailure of."""
    with pytest.raises(deferred.PermanentTaskFailure) as caught:
        deferred.run(payload)
    return type(caught.value.args[0]).__name__


def value_of(expression: str) -> Any:
    """Return the value of what the page shows between backticks."""
    names = {"datetime": datetime, "decimal": decimal, "pathlib": pathlib}
    return eval(expression.strip("`"), {**names, "Decimal": decimal.Decimal})


@pytest.mark.usefixtures("compatible")
def test_arguments_from_python3(python2: Python2) -> None:
    """Arguments arrive in Python 2 as the page's table says, or not at all."""
    table = rows("Queued by Python 3, run by Python 2")
    payloads = [
        deferred.serialize(do_something_later, value_of(argument))
        for argument, _ in table
    ]

    for (argument, outcome), shown in zip(table, python2.load(*payloads), strict=True):
        if outcome.startswith("not loaded"):
            error = outcome.removeprefix("not loaded: ").strip("`")
            assert shown.startswith(f"{error}: "), argument
        else:
            assert outcome == f"`{shown}`", argument


def test_dates_that_are_dropped(python2: Python2) -> None:
    """Those of the years 1920 to 2047: their second byte is not ASCII."""
    dropped = range(1920, 2047 + 1)
    for year in (dropped.start - 1, dropped.start, dropped.stop - 1, dropped.stop):
        task = f"(do_something_later, (datetime.datetime({year}, 1, 1),), {{}})"
        for payload in python2.dump(task):
            if year not in dropped:
                assert pickle.loads(payload)[1] == (datetime.datetime(year, 1, 1),)
            else:
                assert error_of(payload) == "UnicodeDecodeError"


def test_entity_of_python2_is_dropped(
    python2: Python2, services: testbed.Testbed
) -> None:
    """The bytes of an entity are a str in Python 2, and never all ASCII."""
    for state in (
        Counter(id="key", count=10).__getstate__(),
        Counter(count=1).__getstate__(),
    ):
        task = f"(do_something_later, (Counter({state!r}),), {{}})"
        for payload in python2.dump(task):
            assert error_of(payload) == "UnicodeDecodeError"


def test_key_of_python2() -> None:
    """A key that Python 2 has pickled, in a test of the SDK, is a key."""
    spec = importlib.util.find_spec("google.appengine.ext.ndb.key_test")
    assert spec
    assert spec.origin
    source = ast.parse(pathlib.Path(spec.origin).read_text())
    [payload] = [
        ast.literal_eval(node.value)
        for node in ast.walk(source)
        if isinstance(node, ast.Assign) and ast.unparse(node).startswith("pickle_bytes")
    ]

    key = pickle.loads(payload)

    assert protocol(payload) == 2
    assert isinstance(key, ndb.Key)
    assert key.pairs() == (("Class", "id"),)


@pytest.mark.usefixtures("compatible")
def test_large_task_for_python2(
    services: testbed.Testbed, python2: Python2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both the reference and what is stored can be loaded by Python 2."""
    monkeypatch.setenv("HTTP_HOST", HOST["standard"])
    deferred.defer(do_something_later, "x" * 102_400, 1)

    stub = services.get_stub(testbed.TASKQUEUE_SERVICE_NAME)
    [task] = stub.get_filtered_tasks()
    [entity] = sdk_deferred._DeferredTaskEntity.all()
    assert [protocol(task.payload), protocol(entity.data)] == [0, 0]
    name = b"google.appengine.ext.deferred.deferred\nrun_from_datastore\n"
    assert name in task.payload
    assert python2.load(task.payload, entity.data) == [
        f"u'{entity.key()}'",
        f"u'{'x' * 102_400}'",
    ]


def test_large_task_of_python2(services: testbed.Testbed, python2: Python2) -> None:
    """The SDK of Python 3 runs what Python 2 has stored, and deletes it."""
    key = "x" * 400
    for stored in python2.dump(f"(do_something_later, ({key!r}, 10), {{}})"):
        entity = sdk_deferred._DeferredTaskEntity(data=stored).put()
        [payload, _] = python2.dump(f"(run_from_datastore, ('{entity}',), {{}})")

        assert deliver(payload) == DONE

    assert Counter.get_by_id(key).count == 2 * 10
    assert not list(sdk_deferred._DeferredTaskEntity.all())


def test_functions_of_main(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They have one name when main is imported, and another when it is run."""
    (tmp_path / "main.py").write_text(
        "from google.appengine.ext import deferred\n"
        "def later(): pass\n"
        "print(deferred.serialize(later).decode())\n"
    )

    def payload(*arguments: str) -> bytes:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment("standard", PYTHONPATH=".", **{VARIABLE: "True"}),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout

    assert payload("-c", "import main").startswith(b"(cmain\nlater\n")
    as_program = payload("main.py")
    assert as_program.startswith(b"(c__main__\nlater\n")
    with caplog.at_level("INFO"):
        assert deliver(as_program) == DROPPED
    assert "Permanent failure attempting to execute task" in caplog.text
    assert "200 PermanentTaskFailure" in caplog.text


def test_payload_can_be_read_once(received: list[tuple[Any, ...]]) -> None:
    """Where something has read it before the handler does, the task is dropped."""
    request = request_of(deferred.serialize(do_something_later, "key", 10))
    request["wsgi.input"].read()

    text, status, _ = CustomDeferredHandler().post(request)

    assert (text, status) == DROPPED
    assert received == []


class Kept(ndb.Model):  # type: ignore[misc]
    """An entity with a pickle."""

    value = ndb.PickleProperty()


@pytest.mark.parametrize(("value", "number"), [("", 5), ("True", 2), ("False", 2)])
def test_pickle_property_has_its_own_variable(
    value: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable of the tasks is not that of entities, nor the other way round."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("NDB_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL", value)
    assert protocol(Kept.value._to_base_type("x")) == number
    assert protocol(deferred.serialize(print)) == 5

    monkeypatch.setenv(VARIABLE, "True")
    assert protocol(Kept.value._to_base_type("x")) == number


def test_pickle_property_of_python2(
    python2: Python2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A date needs NDB_PY2_UNPICKLE_COMPAT, under which str becomes bytes with it."""
    for stored in python2.dump("[datetime.date(2026, 11, 22), 'a', u'b']"):
        monkeypatch.delenv("NDB_PY2_UNPICKLE_COMPAT", raising=False)
        with pytest.raises(UnicodeDecodeError):
            Kept.value._from_base_type(stored)

        monkeypatch.setenv("NDB_PY2_UNPICKLE_COMPAT", "1")
        day = datetime.date(2026, 11, 22)
        assert Kept.value._from_base_type(stored) == [day, b"a", "b"]


@pytest.mark.parametrize(("value", "number"), [("", 5), ("True", 2)])
def test_memcache_has_its_own_variable(
    value: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memcache reads a third one when a client is made."""
    monkeypatch.setenv(VARIABLE, "True")
    monkeypatch.setenv("MEMCACHE_USE_CROSS_COMPATIBLE_PROTOCOL", value)

    assert protocol(memcache.Client()._do_pickle(())) == number


Block = tuple[str, str, str]


def blocks() -> list[Block]:
    """Return each block of the page: the line above it, its language and its text."""
    # [^`]: a block ends at the next fence, and none of them has a backtick inside
    found = re.findall(r"^(.+)\n\n```(\w+)\n([^`]*)^```$", TEXT, re.MULTILINE)
    assert len(found) == TEXT.count("```") / 2
    return found


def test_new_blocks_are_python3() -> None:
    """What the page shows of the samples is Python 3, and what it defines is there."""
    new = [x for x in blocks() if x[1] == "python" and not x[0].startswith("Python 2")]

    for above, _, text in new:
        file = file_of(above)
        compile(text, file, "exec")
        if file.startswith("shared/"):
            module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
            for name in re.findall(r"^(?:def|class) (\w+)", text, re.MULTILINE):
                assert hasattr(module, name)
    assert len(new) == 9


def test_settings_that_the_page_shows() -> None:
    """They are those of the samples."""
    (text,) = (
        x for above, _, x in blocks() if above.startswith("[flask_app/app.yaml]")
    )
    yaml = YAML(typ="safe", pure=True)

    assert yaml.load(text) == yaml.load(REPOSITORY / "flask_app" / "app.yaml")


def file_of(line: str) -> str:
    """Return the file that the line above a block links to."""
    [(shown, link)] = re.findall(r"^\[(.*?)\]\((.*?)\)", line)
    assert link == f"../{shown}"
    return str(shown)


def test_old_blocks_are_python2(python2: Python2) -> None:
    """The code that the page starts from is Python 2's."""
    old = [text for above, _, text in blocks() if above.startswith("Python 2")]
    programs = [text for text in old if "runtime:" not in text and "- " not in text]

    assert len(programs) == 4
    python2.compile(programs)


def test_files_that_the_page_names() -> None:
    """The SDK has the files that the page cites."""
    sdk = pathlib.Path(sdk_deferred.__file__).parents[4]
    cited = set(re.findall(r"`(google/appengine/[\w/]+\.py)`", TEXT))

    assert cited
    assert [file for file in cited if not (sdk / file).is_file()] == []


def test_variables_that_the_page_names() -> None:
    """They are those that the tests above set: a misspelt one would do nothing."""
    named = set(re.findall(r"\b[A-Z0-9]+_[A-Z0-9_]{8,}\b", TEXT))

    assert {name for name in named if not name.startswith("HTTP_")} == {
        VARIABLE,
        "MEMCACHE_USE_CROSS_COMPATIBLE_PROTOCOL",
        "NDB_PY2_UNPICKLE_COMPAT",
        "NDB_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL",
    }

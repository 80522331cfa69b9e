"""What docs/python2-to-python3.md says about payloads and code of Python 2 and 3."""

import ast
import base64
import datetime
import decimal
import importlib.util
import pathlib
import pickle
import pickletools
import re
from http import HTTPStatus
from typing import Any

import pytest
from google.appengine.api import memcache
from google.appengine.ext import deferred, ndb, testbed
from google.appengine.ext.deferred import deferred as sdk_deferred
from ruamel.yaml import YAML

from shared.counter import Counter, do_something_later
from shared.deferred_handler import CustomDeferredHandler
from tests.apps.payloads import request_of
from tests.apps.plain_gunicorn import environment, run_python
from tests.apps.python2 import Python2
from tests.apps.views import visit
from tests.servers.staging import REPOSITORY

VARIABLE = "DEFERRED_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL"
PAGE = REPOSITORY / "docs" / "python2-to-python3.md"
TEXT = PAGE.read_text()

# Prints the variable as a request sees it if the app sets it before and after.
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

received: list[Any] = []


def note(argument: Any) -> None:
    """Record what a task calls it with."""
    received.append(argument)


@pytest.fixture(autouse=True)
def forget() -> None:
    """Begin each test with nothing received."""
    received.clear()


@pytest.fixture(scope="module")
def python2(tmp_path_factory: pytest.TempPathFactory) -> Python2:
    """A Python 2.7 with modules of its own."""
    return Python2(tmp_path_factory.mktemp("python2"))


@pytest.fixture
def compatible(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process pickles for Python 2 too."""
    monkeypatch.setenv(VARIABLE, "True")


def payloads_of(
    name: str, folder: pathlib.Path, **variables: str | None
) -> list[bytes]:
    """Return the payloads of the three tasks that an app defers."""
    tasks = visit(name, folder, **variables)["tasks"]
    return [base64.b64decode(task["payload"]) for task in tasks]


def protocol(payload: bytes) -> int:
    """Return the protocol that a pickle names; 0 and 1 are not named."""
    opcode, number, _ = next(iter(pickletools.genops(payload)))
    return int(number or 0) if opcode.name == "PROTO" else 0


def deliver(payload: bytes) -> tuple[str, HTTPStatus]:
    """Run a task with the samples' handler; return what the queue then sees."""
    text, status, _ = CustomDeferredHandler().post(request_of(payload))
    return text, status


DONE = ("Success", HTTPStatus.OK)
DROPPED = ("PermanentTaskFailure", HTTPStatus.OK)


def test_python2_loads_the_tasks_of_a_sample(
    name: str, tmp_path: pathlib.Path, python2: Python2
) -> None:
    """With app.yaml's variable, Python 2 loads an app's tasks; texts are unicode."""
    payloads = payloads_of(name, tmp_path)

    assert python2.load(*payloads) == ["u'v1', 10"] * 3


def test_without_the_variable_python2_loads_nothing(
    tmp_path: pathlib.Path, python2: Python2
) -> None:
    """Python 2 refuses protocol 5 with an error that names it."""
    payloads = payloads_of("plain_wsgi", tmp_path, **{VARIABLE: None})

    error = "ValueError: unsupported pickle protocol: 5"
    assert python2.load(*payloads) == [error] * 3


def test_table_of_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page names the protocol for each value; the SDK reads it for each task."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert protocol(deferred.serialize(print)) == 5

    table = re.findall(r"^\| ([a-z].*) \| (?:.*: )?(\d).* \|$", TEXT, re.MULTILINE)
    for kind, number in table:
        others = ["True", *re.findall(r'`"(\w+)"`', kind)]
        for value in [""] if kind == "not set, or empty" else others:
            monkeypatch.setenv(VARIABLE, value)
            assert protocol(deferred.serialize(print)) == int(number), value
    assert len(table) == 2


def test_protocols_of_python2(python2: Python2) -> None:
    """Python 2 loads protocols 0, 1 and 2."""
    task: tuple[Any, ...] = (print, ("x",), {})
    payloads = [pickle.dumps(task, x) for x in range(pickle.HIGHEST_PROTOCOL + 1)]

    answers = python2.load(*payloads)

    assert [x for x, answer in enumerate(answers) if answer == "u'x'"] == [0, 1, 2]


def test_variable_is_set_before_the_app_is_made(tmp_path: pathlib.Path) -> None:
    """A request does not see what the app sets after wrap_wsgi_app."""
    shown = run_python(tmp_path, environment("standard"), "-c", LATE)

    assert shown == "early\n"


@pytest.mark.parametrize("number", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", ["", "True"])
def test_python3_runs_every_protocol(
    value: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3 runs a task of any protocol, whatever the variable says."""
    monkeypatch.setenv(VARIABLE, value)
    task: tuple[Any, ...] = (note, ("key",), {})

    assert deliver(pickle.dumps(task, protocol=number)) == DONE
    assert received == ["key"]


@pytest.mark.parametrize(("letter", "factor"), [("a", 1), ("中", 2)])
def test_texts_grow(letter: str, factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """ASCII takes as much space in protocol 0 as in 5, Chinese twice as much."""
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
    """Tasks that Python 2 pickled, in any of its protocols, count in Python 3."""
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
def test_arguments_from_python2(number: int, python2: Python2) -> None:
    """Arguments arrive in Python 3 as the page's table says, or the task is dropped."""
    for argument, outcome in rows("Queued by Python 2, run by Python 3"):
        for payload in python2.dump(f"(note, ({argument},), {{}})", number):
            received.clear()
            answer = deliver(payload)

            if "dropped" in outcome:
                assert (answer, received) == (DROPPED, []), argument
                assert outcome == f"dropped: `{error_of(payload)}`"
            else:
                assert answer == DONE
                assert repr(received) == repr([value_of(outcome)]), argument


def error_of(payload: bytes) -> str:
    """Return the name of the error that the SDK turned into a PermanentTaskFailure."""
    with pytest.raises(deferred.PermanentTaskFailure) as caught:
        deferred.run(payload)
    return type(caught.value.args[0]).__name__


def value_of(expression: str) -> Any:
    """Return the value of an expression that the page shows."""
    names = {"datetime": datetime, "decimal": decimal, "pathlib": pathlib}
    return eval(expression.strip("`"), {**names, "Decimal": decimal.Decimal})


@pytest.mark.usefixtures("compatible")
def test_arguments_from_python3(python2: Python2) -> None:
    """Arguments arrive in Python 2 as the page's table says, or not at all."""
    table = rows("Queued by Python 3, run by Python 2")
    payloads = [deferred.serialize(note, value_of(argument)) for argument, _ in table]

    for (argument, outcome), shown in zip(table, python2.load(*payloads), strict=True):
        if outcome.startswith("not loaded"):
            error = outcome.removeprefix("not loaded: ").strip("`")
            assert shown.startswith(f"{error}: "), argument
        else:
            assert outcome == f"`{shown}`", argument


def test_dates_that_are_dropped(python2: Python2) -> None:
    """Dates from 1920 to 2047 are dropped: the year's second byte is not ASCII."""
    dropped = range(1920, 2047 + 1)
    for year in (dropped.start - 1, dropped.start, dropped.stop - 1, dropped.stop):
        task = f"(note, (datetime.datetime({year}, 1, 1),), {{}})"
        for payload in python2.dump(task):
            if year not in dropped:
                assert pickle.loads(payload)[1] == (datetime.datetime(year, 1, 1),)
            else:
                assert error_of(payload) == "UnicodeDecodeError"


def test_entity_of_python2_is_dropped(
    python2: Python2, services: testbed.Testbed
) -> None:
    """The bytes of an entity are a str in Python 2, and never all ASCII."""
    for entity in (Counter(id="key", count=10), Counter(count=1)):
        task = f"(note, (Counter({entity.__getstate__()!r}),), {{}})"
        for payload in python2.dump(task):
            assert error_of(payload) == "UnicodeDecodeError"


def test_key_of_python2() -> None:
    """The key that Python 2 pickled for a test of the SDK loads as a key."""
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
    """Python 2 can load both the reference and the stored payload."""
    monkeypatch.setenv("HTTP_HOST", "example.appspot.com")
    deferred.defer(do_something_later, "x" * 102_400, 1)

    stub = services.get_stub(testbed.TASKQUEUE_SERVICE_NAME)
    [task] = stub.get_filtered_tasks()
    [entity] = sdk_deferred._DeferredTaskEntity.all()
    assert [protocol(task.payload), protocol(entity.data)] == [0, 0]
    name = b"google.appengine.ext.deferred.deferred\nrun_from_datastore\n"
    assert name in task.payload
    assert python2.load(task.payload, entity.data) == [
        f"u'{entity.key()}'",
        f"u'{'x' * 102_400}', 1",
    ]


def test_large_task_of_python2(services: testbed.Testbed, python2: Python2) -> None:
    """The SDK of Python 3 runs a payload that Python 2 stored, and deletes it."""
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
    """They have one name if main is imported, and another if it runs as a program."""
    (tmp_path / "main.py").write_text(
        "from google.appengine.ext import deferred\n"
        "def later(): pass\n"
        "print(deferred.serialize(later).decode())\n"
    )

    variables = environment("standard", **{VARIABLE: "True"})

    imported = run_python(tmp_path, variables, "-c", "import main")
    as_program = run_python(tmp_path, variables, "main.py")

    assert imported.startswith("(cmain\nlater\n")
    assert as_program.startswith("(c__main__\nlater\n")
    with caplog.at_level("INFO"):
        assert deliver(as_program.encode()) == DROPPED
    assert "Permanent failure attempting to execute task" in caplog.text
    assert "200 PermanentTaskFailure" in caplog.text


def test_payload_can_be_read_once() -> None:
    """If something has read it before the handler does, the task is dropped."""
    request = request_of(deferred.serialize(note, "key"))
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
    """The variables for tasks and for entities do not affect each other."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("NDB_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL", value)
    assert protocol(Kept.value._to_base_type("x")) == number
    assert protocol(deferred.serialize(print)) == 5

    monkeypatch.setenv(VARIABLE, "True")
    assert protocol(Kept.value._to_base_type("x")) == number


def test_pickle_property_of_python2(
    python2: Python2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A date needs NDB_PY2_UNPICKLE_COMPAT, which also turns each str into bytes."""
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
    """Memcache reads a third variable when a client is made."""
    monkeypatch.setenv(VARIABLE, "True")
    monkeypatch.setenv("MEMCACHE_USE_CROSS_COMPATIBLE_PROTOCOL", value)

    assert protocol(memcache.Client()._do_pickle(())) == number


Block = tuple[str, str, str]


def blocks() -> list[Block]:
    """Return each block of the page: the line above it, its language and its text."""
    # [^`]: no block contains a backtick, so each ends at the next fence
    found = re.findall(r"^(.+)\n\n```(\w+)\n([^`]*)^```$", TEXT, re.MULTILINE)
    assert len(found) == TEXT.count("```") / 2
    return found


def test_new_blocks_are_python3() -> None:
    """The blocks from the samples are Python 3, and their names exist in shared."""
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
    """The page shows the settings of the samples' app.yaml."""
    (text,) = (x for above, _, x in blocks() if "(../flask_app/app.yaml)" in above)
    yaml = YAML(typ="safe", pure=True)

    assert yaml.load(text) == yaml.load(REPOSITORY / "flask_app" / "app.yaml")


def file_of(line: str) -> str:
    """Return the file that the line above a block links to."""
    [(shown, link)] = re.findall(r"^\[(.*?)\]\((.*?)\)", line)
    assert link == f"../{shown}"
    return str(shown)


def test_old_blocks_are_python2(python2: Python2) -> None:
    """The blocks under "Python 2" are programs of Python 2."""
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
    """The page names the variables that these tests set: a typo would do nothing."""
    named = set(re.findall(r"\b[A-Z0-9]+_[A-Z0-9_]{8,}\b", TEXT))

    assert {name for name in named if not name.startswith("HTTP_")} == {
        VARIABLE,
        "MEMCACHE_USE_CROSS_COMPATIBLE_PROTOCOL",
        "NDB_PY2_UNPICKLE_COMPAT",
        "NDB_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL",
    }

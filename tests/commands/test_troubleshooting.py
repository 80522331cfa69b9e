"""docs/troubleshooting.md quotes what you see: most mistakes are made here."""

import io
import pathlib
import re
import shutil
import socket
import sys
from collections.abc import Iterator

import pytest
from gae_devserver.testing import wait_until
from google.appengine.ext import deferred

from tests.commands.pages import code, page, rows
from tests.commands.running import own_commands, run
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY
from tools import cloud_sdk
from tools.cloud_sdk import NotInstalledError

TABLE = rows(page("docs/troubleshooting.md"))
APIS = "app_engine_apis: true\n"


def quotes(part: str) -> list[str]:
    """Return the quotes of the row whose first cell has a part, `...` cut out."""
    (cell,) = (cell for cell, _ in TABLE if part in cell)
    return [x.strip() for quote in code(cell) for x in quote.split("...") if x.strip()]


# --- tasks and requests ---


@pytest.mark.parametrize(
    ("headers", "sender"), [({}, "0.1.0.2"), ({"TASKNAME": "task1"}, "127.0.0.1")]
)
def test_refused_by_the_sdk(headers: dict[str, str], sender: str) -> None:
    """The page has the status of a request that is no task, and its text."""
    environ = {f"HTTP_X_APPENGINE_{name}": value for name, value in headers.items()}
    text, status, _ = deferred.Handler().post(
        {
            "SERVER_SOFTWARE": "gunicorn",
            "REMOTE_ADDR": sender,
            "wsgi.input": io.BytesIO(),
            **environ,
        }
    )

    shown = [cell for cell, _ in TABLE]
    assert [x for x in shown if x.startswith(f"{status:d}, ") and code(x)[0] in text]


def test_refused_by_django(tmp_path: pathlib.Path) -> None:
    """Without the decorator that the page names, Django logs the quoted line."""
    ((quoted, meaning),) = (row for row in TABLE if "CSRF" in row[0])
    app = tmp_path / "app"
    shutil.copytree(REPOSITORY / "django_app", app)
    main = app / "main.py"
    (decorator,) = code(meaning)
    lines = main.read_text().splitlines(keepends=True)
    main.write_text("".join(x for x in lines if not x.startswith(decorator)))

    server = Embedded(app, tmp_path)
    try:
        server.get("/counter/increment")
        server.advance(130)
        log = server.log()
    finally:
        server.stop()

    (line,) = code(quoted)
    assert line in log
    assert quoted.startswith("403, ")


def test_function_of_main(tmp_path: pathlib.Path) -> None:
    """A task that names __main__ fails as the page quotes."""
    before, after, *_ = quotes("__main__'")
    (tmp_path / "main.py").write_text(
        "import pickle\ndef later(): pass\nprint(pickle.dumps(later, 0).decode())"
    )
    payload = run(sys.executable, "main.py", folder=tmp_path).stdout
    load = "import pickle, sys; pickle.loads(sys.argv[1].encode())"
    loaded = run(sys.executable, "-c", load, payload)

    assert before in loaded.stderr
    assert after in loaded.stderr


MISTAKES = """\
import tasks
from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import deferred
from google.cloud import ndb


@ndb.transactional
def without_parentheses():
    pass


def two_contexts():
    client = ndb.Client(project="sample-project")
    with client.context(), client.context():
        pass


def queue():
    deferred.defer(tasks.repeated, _queue="missing")


def pickled():
    deferred.defer(without_parentheses)


def route():
    deferred.defer(tasks.repeated, _url="/missing")


def task():
    deferred.defer(tasks.repeated)


def application(environ, start_response):
    mistake = globals().get(environ["PATH_INFO"][1:])
    if mistake is None:
        start_response("404 Not Found", [])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        mistake()
    except Exception as error:
        return [f"{type(error).__name__}: {error}".encode()]
    return []


app = wrap_wsgi_app(application, use_deferred=True)
"""
TASKS = """\
import logging

from google.appengine.ext import ndb

from shared.once import first_delivery

logging.basicConfig(level=logging.INFO)


class FinishedTask(ndb.Model):
    expires = ndb.DateTimeProperty(indexed=False)


def repeated():
    parent = ndb.Key("Thing", 1)
    record = first_delivery(FinishedTask, parent)
    if record:
        record.put()
        raise ValueError("again")
"""


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """An app with a mistake at each path."""
    work = tmp_path_factory.mktemp("mistakes")
    folder = work / "app"
    (folder / "shared").mkdir(parents=True)
    shutil.copy(REPOSITORY / "shared" / "once.py", folder / "shared")
    (folder / "app.yaml").write_text(f"runtime: python313\n{APIS}")
    (folder / "main.py").write_text(MISTAKES)
    (folder / "tasks.py").write_text(TASKS)
    server = Embedded(folder, work)
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("/queue", "UnknownQueueError"),
        ("/pickled", "Can't pickle"),
        ("/two_contexts", "already created"),
    ],
)
def test_error_of_a_call(mistakes: Embedded, path: str, quoted: str) -> None:
    """The quoted error is the one that the call raises."""
    assert quotes(quoted)[0] in mistakes.get(path).text


@pytest.mark.parametrize(
    ("path", "quoted"), [("/route", "`404` for a task"), ("/task", "delivered before")]
)
def test_line_of_a_task(mistakes: Embedded, path: str, quoted: str) -> None:
    """The quoted text is in the log when the task has run, or was tried again."""
    mistakes.get(path)
    mistakes.advance(5)

    mistakes.wait_for_log(rf"(?i)task \S+ {quotes(quoted)[0]}\b")


# --- calls of the SDK ---


CALLS = """\
import threading
from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import ndb

errors = {}
ended = threading.Event()


def call(when):
    try:
        ndb.Key("Thing", 1).get()
    except Exception as error:
        errors[when] = str(error)


call("before the line")


def later():
    ended.wait()
    call("later")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"]
    if path == "/now":
        call("now")
    elif path == "/start":
        threading.Thread(target=later).start()
    elif path == "/end":
        ended.set()
    return [errors.get(environ["QUERY_STRING"].replace("+", " "), "").encode()]


app = wrap_wsgi_app(application)
call("on import")
"""


@pytest.fixture
def calling(tmp_path: pathlib.Path) -> pathlib.Path:
    """An app that makes API calls at the wrong time."""
    folder = tmp_path / "calling"
    folder.mkdir()
    entrypoint = "entrypoint: gunicorn --threads 8 main:app\n"
    (folder / "app.yaml").write_text(f"runtime: python313\n{entrypoint}{APIS}")
    (folder / "main.py").write_text(CALLS)
    return folder


def test_call_outside_a_request(calling: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The errors of a call before and after the line, and after a request's end."""
    server = Embedded(calling, tmp_path)
    try:
        before = server.get("/?before+the+line").text
        on_import = server.get("/?on+import").text
        server.get("/start")
        server.get("/end")
        later = wait_until(lambda: server.get("/?later").text, "the thread's error")
    finally:
        server.stop()

    assert quotes("api proxy")[0] in before
    assert quotes("security ticket")[0] in on_import
    assert quotes("after its end")[0] in str(later)


def test_call_without_the_setting(
    calling: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The error of a call of an app that does not ask for the bundled services."""
    settings = calling / "app.yaml"
    settings.write_text(settings.read_text().replace(APIS, ""))
    server = Embedded(calling, tmp_path)
    try:
        answer = server.get("/now?now").text
    finally:
        server.stop()

    assert quotes("app_engine_apis")[0] in answer


# --- starting an app ---


def test_gunicorn_without_its_settings(tmp_path: pathlib.Path) -> None:
    """What gunicorn says if `shared` was not copied; it names the same file."""
    started = run(
        own_commands() / "gunicorn",
        *("--config", "shared/gunicorn_conf.py", "main:app"),
        folder=tmp_path,
    )

    assert quotes("gunicorn's `")[-1] in started.stderr


@pytest.mark.parametrize("app", APPS)
def test_app_is_no_program(app: str) -> None:
    """`python main.py` ends at once and prints nothing."""
    assert quotes("`python main.py` ends")[0] == "python main.py"
    done = run(
        *(sys.executable, "main.py"),
        folder=REPOSITORY / APPS[app],
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONWARNINGS="ignore",  # of the SDK's own code
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_port_in_use() -> None:
    """The server names the port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run(
            *(sys.executable, "-m", "gae_devserver", "flask_app", "--port", port)
        )

    assert quotes("in use")[0].replace("8080", port) in ended.stderr


def test_shared_is_missing(tmp_path: pathlib.Path) -> None:
    """A broken link and a text file in its place are called so."""
    link, text, _ = quotes("gunicorn's `")
    app = tmp_path / "my_app"
    shutil.copytree(REPOSITORY / "flask_app", app, symlinks=True)
    for wanted in (link, text):
        ended = run(
            *(sys.executable, "noxfile.py", "--no-venv"),
            *("-s", "serve", "--", app, "--port", "0"),
            PATH=f"{own_commands()}:/usr/bin:/bin",
        )
        assert wanted in ended.stderr
        (app / "shared").unlink(missing_ok=True)
        (app / "shared").write_text("../shared")


# --- dev_appserver.py ---


def dev_appserver(*python: str, **variables: str) -> str:
    """Return the last line of what dev_appserver.py prints, started on a Python."""
    command = (*python, str(find()), "--help")
    started = run(*command, folder=REPOSITORY, PYTHONWARNINGS="ignore", **variables)
    return (started.stderr or started.stdout).strip().rpartition("\n")[2]


def find() -> pathlib.Path:
    """Return the path of dev_appserver.py, or skip the test."""
    try:
        return cloud_sdk.find_dev_appserver()
    except NotInstalledError as error:
        pytest.skip(str(error))


def certificates() -> dict[str, str]:
    """Return the variable that the page names, with the path that it names."""
    ((_, remedy),) = (row for row in TABLE if "'resources'" in row[0])
    name, path = code(remedy)
    return {name: str(find().parent / path)}


def test_dev_appserver_without_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with the quoted error, and does not with the remedy."""
    python = cloud_sdk.python_for(find())
    monkeypatch.delenv(next(iter(certificates())), raising=False)
    ended = dev_appserver(*python)
    remedied = dev_appserver(*python, **certificates())

    assert [ended.partition(": ")[2]] == quotes("'resources'")
    assert pathlib.Path(*certificates().values()).is_file()
    assert "Error" not in remedied


def test_dev_appserver_on_a_new_python() -> None:
    """It ends with the quoted error, on the Python that the row names."""
    find()
    ((_, reason),) = (row for row in TABLE if "'cgi'" in row[0])
    (version,) = re.findall(r"Python (3\.\d+) or newer", reason)
    python = shutil.which(f"python{version}")
    if python is None or run(python, "--version").returncode:
        pytest.skip(f"there is no python{version}")

    ended = dev_appserver(python, "-S", **certificates())

    assert [ended] == [f"ModuleNotFoundError: {x}" for x in quotes("'cgi'")]


def test_dev_appserver_with_packages() -> None:
    """On a Python with packages it ends with one of the errors that are named."""
    plain, attribute, package = quotes("ImportError")
    ended = dev_appserver(sys.executable, **certificates())

    name, _, said = ended.partition(": ")
    assert name in (plain, attribute, "ModuleNotFoundError")
    assert name != attribute or package in said

"""docs/troubleshooting.md quotes real errors: each test makes the mistake of a row."""

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
from tests.commands.running import nox, reason, run
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY, change

TABLE = rows(page("docs/troubleshooting.md"))
APIS = "app_engine_apis: true\n"


def quotes(part: str) -> list[str]:
    """Return the quotes in the first cell that contains a text, split at `...`."""
    (cell,) = (cell for cell, _ in TABLE if part in cell)
    return [x.strip() for quote in code(cell) for x in quote.split("...") if x.strip()]


# --- tasks, requests and calls of the SDK ---------------------------------------------

MAIN = """\
import os, threading

import tasks
from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import deferred
from google.appengine.ext import ndb as bundled
from google.cloud import ndb


def error_of(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def call():
    bundled.Key("Thing", 1).get()


errors = {"before": error_of(call)}
ended = threading.Event()


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


def start():
    def later():
        ended.wait()
        errors["later"] = error_of(call)

    threading.Thread(target=later).start()


def application(environ, start_response):
    if environ["PATH_INFO"] == "/missing":
        start_response("404 Not Found", [])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    name = environ["PATH_INFO"][1:]
    if name in globals():
        return [str(error_of(globals()[name])).encode()]
    ended.set()
    return [errors.get(name, "").encode()]


app = wrap_wsgi_app(application, use_deferred=True)
errors["on_import"] = error_of(call)
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of an app with a mistake at each path."""
    folder = tmp_path_factory.mktemp("mistakes") / "app"
    (folder / "shared").mkdir(parents=True)
    shutil.copy(REPOSITORY / "shared" / "once.py", folder / "shared")
    entrypoint = "entrypoint: gunicorn --threads 8 main:app\n"  # one process
    (folder / "app.yaml").write_text(f"runtime: python313\n{entrypoint}{APIS}")
    (folder / "main.py").write_text(MAIN)
    (folder / "tasks.py").write_text(TASKS)
    return folder


@pytest.fixture(scope="module")
def server(folder: pathlib.Path) -> Iterator[Embedded]:
    """The server with that app."""
    with Embedded(folder, folder.parent) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("/queue", "UnknownQueueError"),
        ("/pickled", "Can't pickle"),
        ("/two_contexts", "already created"),
        ("/before", "api proxy"),
        ("/on_import", "security ticket"),
    ],
)
def test_error_of_a_call(server: Embedded, path: str, quoted: str) -> None:
    """The quoted error is the one that the call raises."""
    assert quotes(quoted)[0] in server.get(path).text


def test_call_after_a_request(server: Embedded) -> None:
    """The quoted error is raised in a thread that outlives its request."""
    server.get("/start")

    error = wait_until(lambda: server.get("/later").text, "the thread's error")

    assert quotes("after its end")[0] in error


@pytest.mark.parametrize(
    ("path", "quoted"), [("/route", "`404` for a task"), ("/task", "delivered before")]
)
def test_line_of_a_task(server: Embedded, path: str, quoted: str) -> None:
    """The log has the quoted text when the task has run."""
    server.get(path)
    server.advance(5)

    server.wait_for_log(rf"(?i)task \S+ {quotes(quoted)[0]}\b")


@pytest.mark.parametrize("headers", [{}, {"HTTP_X_APPENGINE_TASKNAME": "task1"}])
def test_request_that_is_no_task(headers: dict[str, str]) -> None:
    """The SDK's handler refuses it with a status and a text that the page quotes."""
    sender = {"SERVER_SOFTWARE": "gunicorn", "REMOTE_ADDR": "127.0.0.1"}
    environ = {**sender, "wsgi.input": io.BytesIO(), **headers}
    text, status, _ = deferred.Handler().post(environ)

    shown = [cell for cell, _ in TABLE if cell.startswith(f"{status:d}, ")]
    assert [x for x in shown if code(x)[0] in text]


def test_call_without_the_setting(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """An app without app_engine_apis gets the quoted error of a call."""
    app = tmp_path / "app"
    shutil.copytree(folder, app)
    change(app / "app.yaml", APIS, "")
    with Embedded(app, tmp_path) as server:
        assert quotes("app_engine_apis")[0] in server.get("/call").text


def test_refused_by_django(tmp_path: pathlib.Path) -> None:
    """Without the decorator that the page names, Django logs the quoted line."""
    ((quoted, meaning),) = (row for row in TABLE if "CSRF" in row[0])
    app = tmp_path / "app"
    shutil.copytree(REPOSITORY / "django_app", app)
    (decorator,) = code(meaning)
    main = app / "main.py"
    main.write_text(re.sub(rf"(?m)^{decorator}.*\n", "", main.read_text()))

    with Embedded(app, tmp_path) as server:
        server.get("/counter/increment")
        server.advance(130)
        assert code(quoted)[0] in server.log()


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


# --- starting an app ------------------------------------------------------------------


def test_gunicorn_without_its_settings(tmp_path: pathlib.Path) -> None:
    """Without `shared`, gunicorn prints the quoted error about the same file."""
    command = ("gunicorn", "--config", "shared/gunicorn_conf.py", "main:app")
    started = run(*command, folder=tmp_path)

    assert quotes("gunicorn's `")[-1] in started.stderr


@pytest.mark.parametrize("app", APPS)
def test_app_is_no_program(app: str) -> None:
    """`python main.py` ends at once and prints nothing."""
    assert quotes("`python main.py` ends")[0] == "python main.py"
    # -B: write no compiled modules; -W: the warnings are about the SDK's own code
    program = (sys.executable, "-B", "-W", "ignore", "main.py")
    done = run(*program, folder=REPOSITORY / APPS[app])

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_port_in_use() -> None:
    """The server names the port that another program uses."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run(sys.executable, "-m", "gae_devserver", "flask_app", "--port", port)

    assert quotes("in use")[0].replace("8080", port) in ended.stderr


def test_link_without_its_folder(tmp_path: pathlib.Path) -> None:
    """The quoted errors name a broken link, and a text file in its place."""
    broken, text_file, _ = quotes("gunicorn's `")
    app = tmp_path / "my_app"
    shutil.copytree(REPOSITORY / "flask_app", app, symlinks=True)  # as `cp -r` does
    for quoted in (broken, text_file):
        ended = nox("-s", "serve", "--", app, "--port", "0")

        assert f"{app}/{quoted}" in reason(ended)
        assert "python3 noxfile.py -s copy -- flask" in reason(ended)
        (app / "shared").unlink()
        (app / "shared").write_bytes(b"../shared\r\n")  # as git on Windows does

"""docs/cloud-tasks.md: the move, the way back, and the app without bundled services."""

import itertools
import json
import pathlib
import re
import shlex
import sys
from typing import Any

import pytest
from gae_devserver.testing import DevServer
from google.cloud import tasks_v2

from tests.commands.pages import blocks, commands, files, page, section
from tests.commands.running import nox, run
from tests.servers.differences import NEEDS_CALLS
from tests.servers.embedded import Embedded
from tests.servers.staging import REPOSITORY, change
from tools.copy_app import copy_app

PAGE = page("docs/cloud-tasks.md")
TRY = section(PAGE, "Try it")


@pytest.fixture
def copy(tmp_path: pathlib.Path) -> pathlib.Path:
    """The copy that the page makes."""
    copy, serve = (shlex.split(command) for command in commands(TRY))
    assert copy[5:] == ["flask", serve[-1], "--tasks", "cloud"]
    copied = nox(*copy[2:6], tmp_path / "copy", *copy[7:])
    assert copied.returncode == 0, copied.stderr
    return tmp_path / "copy"


def test_copy_has_the_settings_of_the_page(copy: pathlib.Path) -> None:
    """The page shows what the copy has and the sample does not."""
    variable, cron = blocks(TRY, "yaml")
    (pin,) = blocks(TRY, "text")
    sample = REPOSITORY / "flask_app"

    assert (copy / "cron.yaml").read_text().endswith(f"\n{cron}")
    runtime, _, added = variable.partition("env_variables:\n")
    _, _, rest = (sample / "app.yaml").read_text().partition("\n")
    assert (copy / "app.yaml").read_text() == runtime + rest + added
    pins = (sample / "requirements.txt").read_text()
    assert (copy / "requirements.txt").read_text() == pins + pin
    assert (copy / "main.py").read_bytes() == (sample / "main.py").read_bytes()


@NEEDS_CALLS
def test_there_and_back(copy: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Tasks that wait run after the move and count once; the log names the service."""
    options = (f"--storage={tmp_path / 'storage'}", "--log-level", "debug")
    calls = re.findall(r"`(API call [^`]+)`", TRY)
    bundled = REPOSITORY / "flask_app"

    # each increment defers tasks that add 10 now, after 60 s and after 120 s
    for number, app in enumerate((bundled, copy, bundled)):
        with Embedded(app, tmp_path, *options) as server:
            assert len(server.tasks()) == 2 * number
            assert server.get("/counter/increment").status == 200
            called = [call for call in calls if call in server.log()]
            assert called == [calls[app is bundled]]
            server.run_due()
            assert server.get("/counter/get").text == str(10 * (number + 1))
            if number == 2:
                server.advance(130)
                assert server.get("/counter/get").text == "90"
                assert server.tasks() == []


(RECIPE,) = blocks(section(PAGE, "If you stay with the bundled service"), "python")
LIBRARY = "google.cloud.tasks_v2"
IN_PRODUCTION = f"""
from google.appengine.ext import deferred
assert "{LIBRARY}" not in sys.modules
os.environ["APPENGINE_USE_CLOUDTASK_PUSH_QUEUE"] = "true"
deferred.defer(print)
"""
VIEWS = f"""

@app.route("/loaded")
def loaded():
    return str("{LIBRARY}" in sys.modules)


@app.route("/own")
def own_task():
    from google.cloud import tasks_v2

    client = tasks_v2.CloudTasksClient()
    queue = client.queue_path("sample-project", "us-central1", "default")
    target = {{"relative_uri": "/own/done", "http_method": "GET"}}
    client.create_task(parent=queue, task={{"app_engine_http_request": target}})
    return loaded()

"""


def app_with_recipe(folder: pathlib.Path, tasks: str) -> pathlib.Path:
    """Copy the Flask sample, with the lines that keep the client library out."""
    copy_app("flask", folder / "app", "bundled", tasks)
    main = folder / "app" / "main.py"
    main.write_text(RECIPE + main.read_text() + VIEWS)
    return folder / "app"


@pytest.mark.parametrize("preload", [True, False])
def test_client_library_is_kept_out(tmp_path: pathlib.Path, *, preload: bool) -> None:
    """Tasks run without the library, and the app itself can still import it."""
    app = app_with_recipe(tmp_path, "bundled")
    if not preload:
        change(app / "shared" / "gunicorn_conf.py", "preload_app = True", "")

    with Embedded(app, tmp_path) as server:
        assert server.get("/loaded").text == "False"
        assert server.get("/counter/increment").status == 200
        server.advance(130)
        assert server.get("/counter/get").text == "30"
        assert server.get("/loaded").text == "False"
        assert server.get("/own").text == "True"
        server.run_due()
        server.wait_for_log("GET /own/done")


def test_variable_that_is_set_too_late() -> None:
    """Without the dev server too, the library is kept out; the SDK then misses it."""
    script = RECIPE + IN_PRODUCTION
    done = run(sys.executable, "-W", "ignore", "-c", script, HTTP_HOST="localhost")
    *_, last = done.stderr.splitlines()
    assert last.startswith("ImportError: APPENGINE_USE_CLOUDTASK_PUSH_QUEUE is set")


@NEEDS_CALLS
def test_client_library_is_used_if_the_variable_is_set(tmp_path: pathlib.Path) -> None:
    """The same lines do nothing in an app that sends its tasks to Cloud Tasks."""
    app = app_with_recipe(tmp_path, "cloud")

    with Embedded(app, tmp_path, "--log-level", "debug") as server:
        assert server.get("/loaded").text == "True"
        assert server.get("/counter/increment").status == 200
        server.advance(130)
        assert server.get("/counter/get").text == "30"
        assert "API call CloudTasks.CreateTask" in server.log()


@pytest.fixture
def server(tmp_path: pathlib.Path) -> DevServer:
    """The app that uses no bundled service, in an environment with what it lists."""
    folder = tmp_path / "my_app"
    folder.mkdir()
    for name, content in files(section(PAGE, "Without the bundled services")).items():
        (folder / name).write_text(content)
    return DevServer(folder, log_file=tmp_path / "server.log")


FORGED = {
    "X-CloudTasks-TaskName": "forged",
    "X-CloudTasks-QueueName": "default",
    "X-AppEngine-TaskName": "forged",
    "X-AppEngine-User-IP": "0.1.0.2",
}


def body(function: str) -> bytes:
    """Return what the app's own `defer` sends."""
    return json.dumps({"function": function, "args": ["/"], "kwargs": {}}).encode()


def add(server: DevServer, payload: bytes) -> None:
    """Add a task as another program with the role could, connected as documented."""
    connecting = section(page("devserver/README.md"), "How the app reaches it")
    (example,) = blocks(connecting, "python")
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUD_TASKS_EMULATOR_HOST", server.cloud_tasks_host)
        exec(example, names)
    client: tasks_v2.CloudTasksClient = names["client"]
    queue = client.queue_path("sample-project", "us-central1", "default")
    target = tasks_v2.AppEngineHttpRequest(
        relative_uri="/deferred",
        headers={"Content-Type": "application/json"},
        body=payload,
    )
    task = tasks_v2.Task(app_engine_http_request=target)
    client.create_task(parent=queue, task=task)


def test_app_without_bundled_services(server: DevServer) -> None:
    """It counts visits in tasks, refuses visitors, and drops what is not registered."""
    with server:
        assert server.get("/").text == "0 visits\n"
        server.advance(0)
        assert server.get("/").text == "1 visits\n"
        server.advance(0)

        for number in range(len(FORGED) + 1):
            for headers in itertools.combinations(FORGED.items(), number):
                sent = [("Content-Type", "application/json"), *headers]
                answer = server.request("POST", "/deferred", sent, body("record_visit"))
                assert answer.status == 403
        add(server, body("abort"))
        server.advance(0)
        server.wait_for_log("dropped task .*: no function abort")
        assert server.get("/").text == "2 visits\n"

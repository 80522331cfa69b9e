"""docs/troubleshooting.md quotes the errors of this project as they are."""

import http.client
import json
import pathlib
import re
import shutil
import socket
import sys
from typing import Any

import pytest

from tests.commands.pages import code, page, rows
from tests.commands.running import nox, reason, run
from tests.servers.contract_app import CaseError, ContractApp
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY, change, stage

TABLE = rows(page("docs/troubleshooting.md"))


def quotes(part: str) -> list[str]:
    """Return the quotes in the first cell that contains a text, split at `...`."""
    (cell,) = (cell for cell, _ in TABLE if part in cell)
    return [x.strip() for quote in code(cell) for x in quote.split("...") if x.strip()]


@pytest.mark.parametrize(
    ("app", "file", "missing", "part", "line"),
    [
        (
            "plain_wsgi_app",
            "main.py",
            ", use_deferred=True",
            "`404`",
            r"(?i)task \S+ \S+: {} in .*use_deferred=True",
        ),
        ("django_app", "main.py", "@csrf_exempt", "CSRF", "{}"),
        ("flask_app", "app.yaml", "app_engine_apis: true", "app_engine_apis", "{}"),
    ],
)
def test_mistake_in_an_app(
    app: str, file: str, missing: str, part: str, line: str, tmp_path: pathlib.Path
) -> None:
    """Without what the page names, the log has the quoted text."""
    shutil.copytree(REPOSITORY / app, tmp_path / app)
    change(tmp_path / app / file, missing, "")
    (meaning,) = (meaning for quoted, meaning in TABLE if part in quoted)
    assert missing.strip(", ") in meaning or missing in quotes(part)[0]

    with Embedded(tmp_path / app, tmp_path) as server:
        server.get("/counter/increment")
        server.advance(130)
        server.wait_for_log(line.format(re.escape(quotes(part)[0])))


def test_task_that_was_delivered_before(tmp_path: pathlib.Path) -> None:
    """The log has the quoted text when a task is delivered twice."""
    with Embedded(REPOSITORY / "flask_app", tmp_path, "--faults", "twice=1") as server:
        server.get("/counter/increment")
        server.run_due()
        server.wait_for_log(rf"Task \S+ {quotes('delivered before')[0]}")


NO_LIBRARY = """\
import os, sys
sys.modules["google.cloud.tasks_v2"] = None
os.environ["APPENGINE_USE_CLOUDTASK_PUSH_QUEUE"] = "true"
from google.appengine.api import taskqueue
taskqueue.add(url="/")
"""


def test_cloud_tasks(tmp_path: pathlib.Path) -> None:
    """With tasks on Cloud Tasks, the SDK's errors are those that the page quotes."""
    without = run(sys.executable, "-W", "ignore", "-c", NO_LIBRARY)
    assert quotes("could not be imported")[0] in without.stderr

    app = stage("plain_wsgi", tmp_path, tasks="cloud")
    with Embedded(app, tmp_path) as server:
        contract = ContractApp(server, tmp_path)
        with pytest.raises(CaseError, match=quotes("cross-groups")[0]):
            contract.call("commit", "no xg", xg=False)
        with pytest.raises(CaseError, match=quotes("_to_pb")[0]):
            contract.call("commit", "large", 1, 200_000)
        contract.call("commit", "lost", _queue="nowhere")
        server.wait_for_log(quotes("Failed to dispatch")[0])
        swept = server.get("/_ah/cloudtask/sweep")
        assert quotes("Access denied")[0] in swept.text


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
        server = (sys.executable, "-m", "gae_devserver", f"--python={sys.executable}")
        ended = run(*server, "flask_app", "--port", port)

    assert quotes("in use")[0].replace("8080", port) in ended.stderr


def test_no_environment(tmp_path: pathlib.Path) -> None:
    """The quoted errors are about the app's list, its Python and the cache."""
    (tmp_path / "app.yaml").write_text("runtime: python38\n")
    (tmp_path / "requirements.txt").write_text("./missing\n")
    searched = ("PATH", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR")
    nowhere = {name: str(tmp_path) for name in searched}
    server = (sys.executable, "-m", "gae_devserver", tmp_path, "--port", "0")
    said = ""
    for cache in ("", "app.yaml"):
        nowhere["XDG_CACHE_HOME"] = str(tmp_path / cache)
        ended = run(*server, folder=tmp_path, **nowhere)
        assert ended.returncode == 1
        said += ended.stderr

    for part in ("could not be installed", "PATH, pyenv", "cannot be stored"):
        (quoted,) = quotes(part)[:1]
        assert quoted.replace("3.12", "3.8") in said


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


def call(
    server: Embedded,
    rpc: str,
    project: str = "sample-project",
    media_type: str = "application/json",
    /,
    **fields: object,
) -> dict[str, Any]:
    """Call an RPC of the datastore over HTTP; return the answer, or the error."""
    connection = http.client.HTTPConnection(server.datastore_host, timeout=20)
    path = f"/v1/projects/{project}:{rpc}"
    connection.request("POST", path, json.dumps(fields), {"Content-Type": media_type})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def test_errors_of_the_datastore(tmp_path: pathlib.Path) -> None:
    """A client that makes the mistakes of the table gets the quoted errors."""
    key = {"path": [{"kind": "A", "id": "1"}]}
    put = {"mutations": [{"upsert": {"key": key}}]}
    outside = {"mode": "NON_TRANSACTIONAL", **put}
    keys = {"keys": [key]}
    old = {"readOptions": {"readTime": "2020-01-01T00:00:00Z"}}
    with Embedded(REPOSITORY / "flask_app", tmp_path) as server:
        transaction = call(server, "beginTransaction")
        call(server, "lookup", **keys, readOptions=transaction)
        call(server, "commit", **outside)
        refused = {
            "contention": call(server, "commit", **put, **transaction),
            "expired": call(server, "commit", **put, **transaction),
            "too old": call(server, "lookup", **keys, **old),
            "serves only": call(server, "lookup", "other-project", **keys),
            "`the dev server does not implement`": call(
                server, "runQuery", gqlQuery={"queryString": "SELECT * FROM A"}
            ),
            "x-www": call(
                server, "lookup", "sample-project", "application/x-www-form-urlencoded"
            ),
            "requires a transaction": call(server, "commit", **put),
        }

    for part, answer in refused.items():
        error = answer["error"]
        assert quotes(part)[-1].removeprefix("409 ") in error["message"], part
    assert refused["contention"]["error"]["code"] == 409

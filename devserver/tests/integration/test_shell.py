"""`gae-devserver shell` and `gae-devserver run`: programs with the app's services."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gae_devserver.app.python import OWN
from gae_devserver.environments import interpreters
from gae_devserver.environments.cache import Cache
from gae_devserver.environments.installer import find_uv
from gae_devserver.storage.storage import FILE_NAME
from gae_devserver.testing import DevServer, wait_until
from tests.helpers.app_folder import make_app
from tests.helpers.command import MODULE, PATIENCE, Running
from tests.helpers.several_services import copy_services, services_of

PYTHON = f"--python={sys.executable}"
APP = """\
from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import ndb

class Counter(ndb.Model):
    count = ndb.IntegerProperty(default=0)

@ndb.transactional
def add(number):
    counter = Counter.get_or_insert("a")
    counter.count += number
    counter.put()
    return counter.count

def show(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(Counter.get_or_insert("a").count).encode()]

app = wrap_wsgi_app(show, use_deferred=True)
"""
# Makes calls in the main thread and in others, before and after the app is imported.
CALLING = """\
import threading
from concurrent.futures import ThreadPoolExecutor
from google.appengine.api import app_identity, memcache, taskqueue, users
from google.appengine.ext import deferred, ndb

def call(number):
    memcache.set("a", number)
    taskqueue.add(url="/")
    ndb.transaction(lambda: deferred.defer(print, _transactional=True))
    assert users.get_current_user() is None
    assert app_identity.get_application_id() == "my-project"
    assert memcache.get("a") is not None
    print("called", flush=True)

call(1)
ThreadPoolExecutor(1).submit(call, 2).result()
import main
main.add(3)

@ndb.tasklet
def count():
    found = yield main.Counter.query().fetch_async()
    raise ndb.Return(sum(counter.count for counter in found))

thread = threading.Thread(target=lambda: (call(4), print(count().get_result())))
thread.start()
thread.join()
answer = main.app(
    {"PATH_INFO": "/", "wsgi.url_scheme": "http"}, lambda status, headers: print(status)
)
print(answer)
call(5)
"""


def run(
    *arguments: str | Path,
    python: str | Path = sys.executable,
    cwd: Path | None = None,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command of the server on a Python, to its end."""
    command, *others = map(str, arguments)
    return subprocess.run(
        [*MODULE, command, f"--python={python}", *others],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )


@pytest.fixture
def app(folder: Path) -> Path:
    """An app with a counter."""
    return make_app(folder, APP, "app_engine_apis: true\n")


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., Path]:
    """Make an environment with packages; return its interpreter."""

    def make(*packages: str, version: tuple[int, int] = OWN.version) -> Path:
        base = interpreters.find(version)
        if base is None:
            pytest.skip("this machine has no Python {}.{}".format(*version))
        file = tmp_path / "requirements.txt"
        file.write_text("\n".join(packages))
        cache = Cache(tmp_path / "cache", uv=find_uv())
        return cache.environment(base, file, gunicorn=False).executable

    return make


@pytest.mark.parametrize(
    ("version", "packages", "legacy"),
    [
        (OWN.version, [], "true"),
        # the SDK's own way with threads ends before this Python
        ((3, 13), ["appengine-python-standard==3.1.0"], "false"),
        ((3, 8), ["appengine-python-standard==0.3.1", "protobuf==3.20.3"], "true"),
    ],
    ids=["own", "3.1.0", "0.3.1"],
)
def test_calls(
    app: Path,
    environment: Callable[..., Path],
    version: tuple[int, int],
    packages: list[str],
    legacy: str,
) -> None:
    """Every call works in a script, its threads, and a call of the app itself."""
    with (app / "app.yaml").open("a") as file:
        file.write(f"env_variables: {{READ_GAE_CONTEXT_FROM_OS_ENVIRON: '{legacy}'}}\n")
    (app / "calling.py").write_text(CALLING)
    python = environment(*packages, version=version) if packages else sys.executable

    done = run("run", app, "--project=my-project", "calling.py", python=python)

    called = ["called"] * 3
    assert done.stdout.splitlines() == [*called, "3", "200 OK", "[b'3']", "called"]
    assert done.returncode == 0
    assert re.search(r"warning: 8 .* --storage", done.stderr.splitlines()[-1])


DEFERRING = """\
from google.appengine.ext import deferred

def mine(): pass
class Mine: pass

for arguments in ((mine,), (print, Mine()), (lambda: 0,)):
    try:
        deferred.defer(*arguments)
    except Exception as error:
        print(type(error).__name__, error)
"""
SCRIPT = """\
import os, sys
print(sys.argv, __name__, __file__, os.getcwd(), sys.path[0], type(os.environ))
print(sys.stdin.read(), [name for name in globals() if "__" not in name], flush=True)
"""


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        (("tools/script.py", "-x", "--port=1"), "sys.exit(3)"),
        (("tools/script.py",), "1 / 0"),
        (("tools/script.py",), "1 +"),
        (("-m", "tools.script", "-x"), "1 / 0"),
    ],
)
def test_a_script_runs_as_with_python(
    app: Path, tmp_path: Path, words: tuple[str, ...], ending: str
) -> None:
    """Arguments, folders, stdin, output, traceback and exit status are the same."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "script.py").write_text(SCRIPT + ending)

    done = run("run", app, *words, cwd=tmp_path, stdin="typed")
    native = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        input="typed",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == native.stdout
    assert done.stderr == native.stderr
    assert done.returncode == native.returncode


def test_several_services(tmp_path: Path) -> None:
    """The program runs in the main service, and can add tasks for each of them."""
    apps = copy_services(tmp_path)
    script, storage = tmp_path / "script.py", f"--storage={tmp_path / 'data'}"
    script.write_text("import jobs\nprint(jobs.defer('a', _target='worker'))")
    done = run("run", *apps, storage, script)
    assert done.stdout == "None\n", done.stderr
    with DevServer(apps, PYTHON, storage) as server:
        server.advance(0)
        assert services_of(server, "a") == ["worker"]


def test_what_the_app_cannot_run(app: Path) -> None:
    """What a script defines itself cannot be deferred, and the error names it."""
    (app / "script.py").write_text(DEFERRING)

    done = run("run", app, "script.py")

    assert done.returncode == 0
    errors = done.stdout.splitlines()
    for error, name in zip(errors, ("mine", "Mine", "<lambda>"), strict=True):
        assert error.startswith(f"PicklingError {name} ")


def test_a_query_without_its_index(app: Path) -> None:
    """A script is refused it with --require-indexes; the error has the entry."""
    (app / "query.py").write_text(
        "import main\n"
        "main.Counter.query().order(main.Counter.count, -main.Counter._key).fetch()\n"
    )
    assert run("run", app, "query.py").returncode == 0
    result = run("run", "--require-indexes", app, "query.py")
    assert result.returncode == 1
    assert "NeedIndexError: no matching index found" in result.stderr
    assert "- kind: Counter\n" in result.stderr


def test_what_is_piped_into_a_shell(app: Path) -> None:
    """It runs in the app's folder, with names that are ready; nothing else is printed.

    An error is its exit status.
    """
    text = "import main, os\nprint(ndb.__name__, os.getcwd(), main.add(2))\n1 / 0\n"

    done = run("shell", app, stdin=text)

    assert done.stdout == f"google.appengine.ext.ndb {app} 2\n"
    assert re.search(r'File "<stdin>", line 3', done.stderr)
    assert done.returncode == 1


# Gives a command a terminal, to which it copies its own stdin.
TERMINAL = """\
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


def test_a_shell_on_a_terminal(
    app: Path, tmp_path: Path, start: Callable[..., Running]
) -> None:
    """Ctrl-C stops what runs in it; a task that it adds is run by the next server."""
    storage = f"--storage={tmp_path / 'storage'}"
    printed = tmp_path / "printed"
    # the shell of Python 3.13 paints a line again for each key
    variables = {"TERM": "dumb", "HOME": str(tmp_path)}

    def type_and_see(keys: str, shown: str) -> None:
        assert shell.stdin is not None
        shell.stdin.write(keys.encode())
        shell.stdin.flush()
        wait_until(lambda: shown in printed.read_text(), shown, 4 * PATIENCE)

    with (
        printed.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-c", TERMINAL, *MODULE, "shell", PYTHON, storage, app],
            stdin=subprocess.PIPE,
            stdout=output,
            env=os.environ | variables,
        ) as shell,
    ):
        try:
            type_and_see("", ">>> ")
            assert "sample-project" in printed.read_text()
            type_and_see("import main; main.add(2) * 1000\n", "\n2000")
            type_and_see("deferred.defer(main.add, 40).was_enqueued\n", "\nTrue")
            type_and_see("print('so far'); import time; time.sleep(999)\n", "\nso far")
            in_use = run("run", app, storage, "-m", "this")
            type_and_see("\x03", "KeyboardInterrupt")
            type_and_see("exit(5)\n", "exit(5)")
            assert shell.wait(4 * PATIENCE) == 5
        finally:
            shell.kill()

    assert in_use.returncode == 2
    assert FILE_NAME in in_use.stderr
    server = start("--no-reload", storage)
    server.answers("42")


def test_apps_without_the_sdk(app: Path, environment: Callable[..., Path]) -> None:
    """A script runs with no package at all; a shell has the ndb that there is."""
    python = environment()
    assert run("shell", app, python=python, stdin="print(2)").stdout == "2\n"
    python = environment("google-cloud-ndb==2.7.1")
    text = "with client.context(): print(ndb.Model(id='a').put().id())"
    assert run("shell", app, python=python, stdin=text).stdout == "a\n"


@pytest.mark.parametrize("words", [("missing.py",), ()])
def test_a_script_that_is_not_there(app: Path, words: tuple[str, ...]) -> None:
    """The exit status is 2, and the error is one line that names the script."""
    done = run("run", app, *words)

    assert done.returncode == 2
    (error,) = done.stderr.splitlines()
    assert (words or ("SCRIPT",))[0] in error


def test_a_signal_ends_the_script(app: Path) -> None:
    """SIGTERM for the server ends the script, whose status is that of the command."""
    (app / "script.py").write_text("import time; print(1, flush=True); time.sleep(99)")
    process = subprocess.Popen(
        [*MODULE, "run", PYTHON, app, "script.py"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        process.terminate()
        assert process.stdout.read() == b""  # the script has ended
    assert process.wait(4 * PATIENCE) == 128 + 15

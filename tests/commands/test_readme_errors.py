"""What the README's troubleshooting quotes is what one sees, as far as one can ask."""

import io
import pathlib
import re
import shutil
import sys

import pytest
from django.http import HttpResponseForbidden
from django.middleware import csrf
from google.appengine.ext import deferred

from tests.commands.running import own_commands, run
from tests.commands.test_readme import README, first_cells, section
from tests.commands.test_readme_tables import PATHS, code, rows
from tests.servers.staging import APPS, REPOSITORY
from tools import cloud_sdk
from tools.cloud_sdk import NotInstalledError


def answer_to(headers: dict[str, str], sender: str) -> tuple[str, int]:
    """Return what the SDK's handler answers to a request."""
    environ = {
        "SERVER_SOFTWARE": "gunicorn",
        "REMOTE_ADDR": sender,
        "wsgi.input": io.BytesIO(),
        **headers,
    }
    text, status, _ = deferred.Handler().post(environ)
    return text, status


@pytest.mark.parametrize(
    ("headers", "sender"), [({}, "0.1.0.2"), ({"TASKNAME": "task1"}, "127.0.0.1")]
)
def test_refused_by_the_sdk(headers: dict[str, str], sender: str) -> None:
    """The troubleshooting has the status of a request that is no task, and its text."""
    environ = {f"HTTP_X_APPENGINE_{name}": value for name, value in headers.items()}
    text, status = answer_to(environ, sender)

    shown = [cell for cell, _ in rows("Troubleshooting")]
    assert [x for x in shown if x.startswith(f"{status:d}, ") and code(x)[0] in text]


def test_refused_by_django() -> None:
    """The line is Django's, with the status of its answer."""
    ((quoted, meaning),) = (x for x in rows("Troubleshooting") if "CSRF cookie" in x[0])
    template = "Forbidden (%s): %s"
    line = template % (csrf.REASON_NO_CSRF_COOKIE, PATHS[2])

    assert template in pathlib.Path(csrf.__file__).read_text()
    assert quoted == f"{HttpResponseForbidden.status_code}, `{line}`"
    assert code(meaning)[0] in (REPOSITORY / "django_app" / "main.py").read_text()


def test_gunicorn_without_its_settings(tmp_path: pathlib.Path) -> None:
    """What gunicorn says where `shared` was not copied; it names the same file."""
    started = run(
        own_commands() / "gunicorn",
        *("--config", "shared/gunicorn_conf.py", "main:app"),
        folder=tmp_path,
    )
    (quoted,) = (x for x, _ in rows("Troubleshooting") if "gunicorn's `" in x)

    assert code(quoted)[-1] in started.stderr


@pytest.mark.parametrize("app", APPS)
def test_app_is_no_program(app: str) -> None:
    """`python main.py` ends at once and says nothing."""
    assert "`python main.py` ends at once and says nothing" in first_cells(
        section(README, "Troubleshooting")
    )
    done = run(
        *(sys.executable, "main.py"),
        folder=REPOSITORY / APPS[app],
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONWARNINGS="ignore",  # of the SDK's own code
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def dev_appserver(*python: str, **variables: str) -> str:
    """Return the last line of what dev_appserver.py says, started on a Python."""
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
    """Return the variable that the README names, with the path that it names."""
    ((_, remedy),) = (x for x in rows("Troubleshooting") if "'resources'" in x[0])
    name, path = code(remedy)
    return {name: str(find().parent / path)}


def test_dev_appserver_without_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with what the README quotes, and does not with what that says to do."""
    python = cloud_sdk.python_for(find())
    monkeypatch.delenv(next(iter(certificates())), raising=False)
    ended = dev_appserver(*python)
    remedied = dev_appserver(*python, **certificates())

    quoted = [code(x)[-1] for x, _ in rows("Troubleshooting") if "'resources'" in x]
    assert [ended.partition(": ")[2]] == quoted
    assert pathlib.Path(*certificates().values()).is_file()
    assert "Error" not in remedied


def test_dev_appserver_on_a_new_python() -> None:
    """It ends with what the README quotes, on Python 3.13."""
    find()
    ((quoted, reason),) = (x for x in rows("Troubleshooting") if "'cgi'" in x[0])
    (version,) = re.findall(r"Python (3\.\d+) or newer", reason)
    python = shutil.which(f"python{version}")
    if python is None or run(python, "--version").returncode:
        pytest.skip(f"there is no python{version}")

    ended = dev_appserver(python, "-S", **certificates())

    assert ended == f"ModuleNotFoundError: {code(quoted)[-1]}"


def test_dev_appserver_with_packages() -> None:
    """On a Python with packages it ends with one of the errors that are named."""
    ((shown, _),) = (x for x in rows("Troubleshooting") if "ImportError" in x[0])
    _, plain, attribute, package = code(shown)
    ended = dev_appserver(sys.executable, **certificates())

    name, _, said = ended.partition(": ")
    assert name in (plain, attribute, "ModuleNotFoundError")
    assert name != attribute or package in said


def test_dev_appserver_installs() -> None:
    """The line about pip is that of its source."""
    factory = "google/appengine/tools/devappserver2/python/instance_factory.py"
    source = (find().parent / factory).read_text()
    (quoted,) = (code(x)[-1] for x, _ in rows("Troubleshooting") if "pip install" in x)
    before, after = quoted.split("...")[:2]

    assert f"sys.exit('{before}" in source
    assert after.split() == ["/pip", "install", "-r"]
    assert all(f"'{word}'" in source for word in ("install", "-r"))

"""What to do about an app that has ended before it was ready."""

import dataclasses
import sys
import traceback as tracebacks
from pathlib import Path

import pytest

from gae_devserver.app.advice import entrypoints, failed_start
from gae_devserver.app.advice.hints import Hints
from gae_devserver.app.advice.installation import Installation
from gae_devserver.app.python import OWN
from gae_devserver.config.app_yaml import AppConfig
from tests.helpers.calls import app_config

HINTS = Hints({"common": "Copy the links."})
GUIDE = "docs/python2-to-python3.md"


@pytest.fixture
def app(tmp_path: Path) -> AppConfig:
    """An app of one file."""
    (tmp_path / "main.py").touch()
    return app_config(folder=tmp_path, entrypoint="gunicorn main:ap")


def traceback(app: AppConfig, error: str, file: str = "main.py") -> str:
    """Return what Python and gunicorn print."""
    return (
        f'  File "{app.folder / file}", line 7, in <module>\n'
        "    start()\n"
        '  File "/python/lib/somewhere.py", line 70, in start\n'
        "    raise error\n"
        f"{error}\n"
        "[2026-11-26 04:00:00 +0000] [7] [INFO] Worker exiting (pid: 7)\n"
    )


def say(
    app: AppConfig, printed: str, status: int = 1, *, reloading: bool = False
) -> str:
    """Return the advice for an app that has printed this."""
    summary = f"The app ended with exit status {status} before it was ready."
    reason = f"{summary}\n\n{printed}"
    installation = Installation(
        app.folder, OWN, server_installs=True, reloading=reloading
    )
    return failed_start.what_to_do(reason, app, installation, HINTS)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("a.b.ImproperlyConfigured: no luck.", "a.b.ImproperlyConfigured: no luck. "),
        ("SyntaxError: what?", "SyntaxError: what? "),
        ("Stop", "Stop. "),
    ],
)
@pytest.mark.parametrize("reloading", [False, True])
def test_the_error_and_the_apps_own_line(
    app: AppConfig, error: str, shown: str, reloading: bool
) -> None:
    """The line is the app's, not a library's; a reload needs no restart."""
    printed = traceback(app, "KeyError: 'earlier'") + traceback(app, error)
    said = say(app, printed, reloading=reloading)
    assert said.startswith(f"main.py, line 7: {shown}")
    assert ("restart the server" in said) is not reloading


def test_gunicorns_own_error(app: AppConfig) -> None:
    """An error that gunicorn raises because of the app's error is not the reason."""
    printed = traceback(app, "ValueError: 1") + traceback(
        app, "gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>"
    )
    assert "ValueError: 1" in say(app, printed)


@pytest.mark.parametrize("file", ["/elsewhere/other.py", "env/site-packages/other.py"])
def test_an_error_elsewhere(app: AppConfig, file: str) -> None:
    """Without a line of the app's own, the advice begins with the error."""
    printed = traceback(app, "ValueError: b", file=file)
    assert say(app, printed).startswith("ValueError: b. ")


@pytest.mark.parametrize(
    ("printed", "status", "facts"),
    [
        ("bye\n", 1, [" above"]),
        ("", 1, [" nothing"]),
        ("bye\n", 0, [" $PORT,", ": gunicorn main:ap"]),
        ("Address already in use\n", 1, [" $PORT,", "os.environ['PORT']"]),
    ],
)
def test_without_a_traceback(
    app: AppConfig, printed: str, status: int, facts: list[str]
) -> None:
    """The advice points to the output; without an error, the app needs a server."""
    assert all(fact in say(app, printed, status) for fact in facts)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ('print "hi"', True),
        pytest.param(
            "try: pass\nexcept A, b: pass",
            True,
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 14), reason="Python 3.14 allows it"
            ),
        ),
        ("deferred.TaskHandler", True),
        ("x =", False),
    ],
)
def test_code_of_python_2(app: AppConfig, statement: str, named: bool) -> None:
    """Python's messages about it are recognized, and the guide is named."""
    with pytest.raises((SyntaxError, AttributeError)) as error:
        exec("from google.appengine.ext import deferred\n" + statement)
    printed = "".join(tracebacks.format_exception(error.value))
    assert (GUIDE in say(app, printed)) is named


@pytest.mark.parametrize(
    ("printed", "facts"),
    [
        ("Failed to find attribute 'ap' in 'main'.\n", ["main.py ", "'ap'"]),
        ('ERROR: Attribute "ap" not found in module "main".\n', ["main.py ", "'ap'"]),
        ("1. module 'main' has no attribute 'ap'\n", ["main.py ", "'ap'"]),
        (
            (
                "hypercorn.utils.NoAppError: Cannot load application from 'main:ap', "
                "application not found.\n"
            ),
            ["main.py ", "'ap'"],
        ),
        ("Application object must be callable.\n", ["callable"]),
        ("python3: can't open file '/x/mian.py': [Errno 2]\n", ["/x/mian.py,"]),
    ],
)
def test_no_such_application(app: AppConfig, printed: str, facts: list[str]) -> None:
    """The advice has the file, the name, and the entrypoint."""
    said = say(app, printed)
    assert all(fact in said for fact in [*facts, "gunicorn main:ap"])


def test_no_gunicorn(app: AppConfig) -> None:
    """Without an entrypoint, the app needs gunicorn."""
    default = dataclasses.replace(app, entrypoint=None)
    said = say(default, "sh: 1: exec: gunicorn: not found\n", 127)
    assert f"{app.folder / 'requirements.txt'}: gunicorn." in said


@pytest.mark.parametrize(
    ("printed", "status", "fact"),
    [
        ("sh: 1: exec: guncorn: not found\n", 127, " guncorn,"),
        ("sh: line 0: exec: guncorn: not found\n", 127, " guncorn,"),
        ("bash: line 1: guncorn: command not found\n", 127, " guncorn,"),
        ("env: \u2018guncorn\u2019: No such file or directory\n", 127, " guncorn,"),
        ("cat: a.txt: No such file or directory\nsh: 2: ls: not found\n", 127, " ls,"),
        ("", 127, "a program,"),
        ("sh: 1: exec: waitress-serve: not found\n", 127, "requirements.txt: waitress"),
        ("sh: 1: exec: /env/bin/gunicorn: not found\n", 127, " /env/bin/gunicorn,"),
        ("sh: 1: exec: ./run.sh: Permission denied\n", 126, "chmod +x"),
    ],
)
def test_no_program_of_the_entrypoint(
    app: AppConfig, printed: str, status: int, fact: str
) -> None:
    """The program is named, and its package where that is certain."""
    assert fact in say(app, printed, status)


@pytest.mark.parametrize(
    ("entrypoint", "printed", "port"),
    [
        ("uvicorn main:app --port 8081", "", "8081"),
        ("waitress-serve --port=8081 main:app", "", "8081"),
        ("hypercorn -b 0.0.0.0:8081 main:app", "", "8081"),
        ("uvicorn main:app", "Uvicorn running on http://127.0.0.1:8000 (…)\n", "8000"),
        ("python main.py", " * Running on http://127.0.0.1:5000\n", "5000"),
        ("waitress-serve main:app", "Serving on http://[::]:8080\n", "8080"),
        ("uvicorn main:app --port $PORT", "running on http://127.0.0.1:7000", None),
        ("python main.py", "Fetching http://localhost:9200/\n", None),
    ],
)
def test_a_fixed_port(entrypoint: str, printed: str, port: str | None) -> None:
    """An app that listens elsewhere is told where, and that $PORT is required."""
    said = entrypoints.not_listening(entrypoint, 7000, printed)
    assert ("$PORT" in said and f"port {port}" in said) if port else said == ""


WERKZEUG = "'url_quote' from 'werkzeug.urls' (/env/lib/site-packages/werkzeug/urls.py)"
FLASK = "/env/lib/site-packages/flask/helpers.py"
NDB = "/env/lib/site-packages/google/cloud/ndb/key.py"
MAPPING = "'Mapping' from 'collections' (/python/lib/collections/__init__.py)"


@pytest.mark.parametrize(
    ("file", "error", "facts"),
    [
        (
            FLASK,
            f"ImportError: cannot import name {WERKZEUG}",
            ["older one of werkzeug", "newer release of flask", "requirements.txt"],
        ),
        (
            FLASK,
            f"ImportError: cannot import name {MAPPING}",
            ["of flask", "earlier Python", "earlier runtime"],
        ),
        (
            NDB,
            "AttributeError: module 'inspect' has no attribute 'getargspec'",
            ["of google.cloud.ndb", "earlier Python", "earlier runtime"],
        ),
        (
            FLASK,
            "ModuleNotFoundError: No module named 'cgi'",
            ["flask imports cgi", "earlier Python", "earlier runtime"],
        ),
    ],
)
def test_a_package_for_other_releases(
    app: AppConfig, file: str, error: str, facts: list[str]
) -> None:
    """The packages are named whose releases do not fit; the app is not to change."""
    said = say(app, f'  File "{file}", line 9, in <module>\n    import x\n{error}\n')
    assert all(fact in said for fact in facts)
    assert "Change the import" not in said


@pytest.mark.parametrize(
    "error",
    [
        "AttributeError: module 'settings' has no attribute 'A'",
        "ImportError: cannot import name 'A' from 'settings' (/app/settings.py)",
    ],
)
def test_a_package_that_uses_the_app(app: AppConfig, error: str) -> None:
    """What the app's own module lacks is no question of releases."""
    printed = f'  File "{FLASK}", line 9, in load\n    x.A\n{error}\n'
    assert "release" not in say(app, printed)


def test_credentials(app: AppConfig) -> None:
    """App Engine has credentials; here the user provides them, or does without."""
    error = "google.auth.exceptions.DefaultCredentialsError: none were found."
    said = say(app, traceback(app, error))
    assert said.startswith("main.py, line 7: ")
    assert "`start()`" in said
    assert "gcloud auth application-default login" in said


@pytest.mark.parametrize(
    ("error", "certificate"),
    [
        ("MalformedError: Certificate for key id 1 not found.", True),
        ("TransportError: www.googleapis.com does not answer", True),
        ("MalformedError: Wrong number of segments in token: b'x'", False),
    ],
)
def test_a_token(app: AppConfig, error: str, certificate: bool) -> None:
    """It needs this server's certificates, or is bad; no credentials help."""
    verify = '  File "/lib/google/oauth2/id_token.py", line 8, in verify_token\n'
    said = say(app, verify + traceback(app, f"google.auth.exceptions.{error}"))
    assert ("certs_url" in said) is certificate
    assert "gcloud auth" not in said


def test_a_missing_module(app: AppConfig) -> None:
    """The advice about modules, with the hints, comes first."""
    printed = traceback(app, "ModuleNotFoundError: No module named 'common'")
    assert say(app, printed).endswith("Copy the links.")

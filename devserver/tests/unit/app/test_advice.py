"""What to do about an app that has ended before it was ready."""

import dataclasses
import sys
from pathlib import Path

import pytest

from gae_devserver.app import advice
from gae_devserver.app.hints import Hints
from gae_devserver.config.app_yaml import AppConfig
from tests.helpers.calls import app_config

HINTS = Hints(
    install="The start script installs it.", modules={"common": "Copy the links."}
)
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
    return advice.what_to_do(f"{summary}\n\n{printed}", app, HINTS, reloading=reloading)


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


def test_an_error_elsewhere(app: AppConfig) -> None:
    """Without a line of the app's own, the advice begins with the error."""
    printed = traceback(app, "ValueError: b", file="/elsewhere/other.py")
    assert say(app, printed).startswith("ValueError: b. ")


@pytest.mark.parametrize(
    ("printed", "status", "facts"),
    [
        ("bye\n", 1, [" above"]),
        ("", 1, [" nothing"]),
        ("bye\n", 0, [" $PORT,", ": gunicorn main:ap"]),
    ],
)
def test_without_a_traceback(
    app: AppConfig, printed: str, status: int, facts: list[str]
) -> None:
    """The advice points to the output; without an error, the app needs a server."""
    assert all(fact in say(app, printed, status) for fact in facts)


@pytest.mark.parametrize(
    "error",
    [
        "RPCFailedError: Attempted RPC call without active security ticket",
        'AssertionError: No api proxy found for service "memcache"',
    ],
)
def test_a_call_on_import(app: AppConfig, error: str) -> None:
    """The SDK's message is explained, after the app's own line."""
    said = say(app, traceback(app, error))
    assert said.startswith(f"main.py, line 7: {error}. ")
    assert "on import" in said
    assert "on import" not in say(app, traceback(app, "KeyError: 'a'"))


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
    printed = traceback(app, f"{error.type.__name__}: {error.value}")
    assert (GUIDE in say(app, printed)) is named


@pytest.mark.parametrize(
    ("module", "named"), [("main", "main.py"), ("web.site", "web.site")]
)
@pytest.mark.parametrize("prefix", ["", "gunicorn.errors.AppImportError: "])
def test_no_such_application(
    app: AppConfig, module: str, named: str, prefix: str
) -> None:
    """The advice has the file or module, the name, and the entrypoint."""
    said = say(app, f"{prefix}Failed to find attribute 'ap' in '{module}'.\n")
    assert said.startswith(f"{named} ")
    assert "'ap'" in said
    assert "gunicorn main:ap" in said


def test_no_gunicorn(app: AppConfig) -> None:
    """Without an entrypoint, the app needs gunicorn."""
    default = dataclasses.replace(app, entrypoint=None)
    said = say(default, "sh: 1: exec: gunicorn: not found\n", 127)
    assert f"add gunicorn to {app.folder / 'requirements.txt'}" in said
    assert said.endswith("The start script installs it.")


@pytest.mark.parametrize(
    ("printed", "named"),
    [
        ("sh: 1: exec: guncorn: not found\n", " guncorn,"),
        ("sh: line 0: exec: guncorn: not found\n", " guncorn,"),
        ("bash: line 1: guncorn: command not found\n", " guncorn,"),
        ("env: \u2018guncorn\u2019: No such file or directory\n", " guncorn,"),
        ("cat: a.txt: No such file or directory\nsh: 2: ls: not found\n", " ls,"),
        ("", "a program,"),
    ],
)
def test_no_program_of_the_entrypoint(app: AppConfig, printed: str, named: str) -> None:
    """The program is named; it may need a package of another name."""
    said = say(app, printed, 127)
    assert named in said
    assert "gunicorn main:ap" in said
    assert str(app.folder / "requirements.txt") in said


def test_a_missing_module(app: AppConfig) -> None:
    """The advice about modules, with the hints, comes first."""
    printed = traceback(app, "ModuleNotFoundError: No module named 'common'")
    assert say(app, printed).endswith("Copy the links.")

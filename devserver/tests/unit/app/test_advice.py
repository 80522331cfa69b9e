"""What is said of an app that has ended before it was ready."""

import dataclasses
import sys
from pathlib import Path

import pytest

from gae_devserver.app import advice
from gae_devserver.app.hints import Hints
from gae_devserver.config.app_yaml import AppConfig, load_app_yaml
from tests.helpers.app_folder import make_app

ENDED = "The app ended with exit status 1 before it was ready."
NOT_FOUND = "The app ended with exit status 127 before it was ready."
NO_HINTS = Hints()


@pytest.fixture
def app(tmp_path: Path) -> AppConfig:
    """An app of one file."""
    return load_app_yaml(make_app(tmp_path / "app"))


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
    app: AppConfig, printed: str, summary: str = ENDED, hints: Hints = NO_HINTS
) -> str:
    """Return what is said of an app that has printed this."""
    return advice.what_to_do(f"{summary}\n\n{printed}", app, hints, reloading=False)


@pytest.mark.parametrize(
    "error", ["RuntimeError: no luck", "a.b.ImproperlyConfigured: no luck.", "Stop"]
)
def test_the_error_and_the_apps_own_line(app: AppConfig, error: str) -> None:
    """The last line of the app's own that the traceback names, and not a library's."""
    said = say(app, traceback(app, error))
    assert said.startswith(f"main.py, line 7: {error.rstrip('.')}. ")
    assert "restart the server" in said


def test_while_reloading(app: AppConfig) -> None:
    """The server keeps running, so the user need not start it again."""
    reason = f"{ENDED}\n\n{traceback(app, 'ValueError: b')}"
    said = advice.what_to_do(reason, app, NO_HINTS, reloading=True)
    assert said.startswith("main.py, line 7: ValueError: b. ")
    assert "server" not in said


def test_the_last_error_counts(app: AppConfig) -> None:
    """The one before was handled, or led to it."""
    printed = traceback(app, "KeyError: 'a'") + traceback(app, "ValueError: b")
    assert "ValueError: b." in say(app, printed)


def test_an_error_elsewhere(app: AppConfig) -> None:
    """Without a line of the app's own, the error alone is said."""
    printed = traceback(app, "ValueError: b", file="/elsewhere/other.py")
    assert say(app, printed).startswith("ValueError: b. ")


@pytest.mark.parametrize(("printed", "shown"), [("bye\n", True), ("", False)])
def test_without_a_traceback(app: AppConfig, printed: str, shown: bool) -> None:
    """Then what was printed is all there is, if anything was."""
    assert ("above" in say(app, printed)) is shown


@pytest.mark.parametrize("end", [".", "?", "!"])
def test_an_error_that_ends_a_sentence(app: AppConfig, end: str) -> None:
    """It gets no second full stop."""
    said = say(app, traceback(app, f"SyntaxError: what{end}"))
    assert f" what{end} " in said


@pytest.mark.parametrize(
    "error",
    [
        "RPCFailedError: Attempted RPC call without active security ticket",
        'AssertionError: No api proxy found for service "memcache"',
    ],
)
def test_a_call_on_import(app: AppConfig, error: str) -> None:
    """The SDK's words for it are explained, beside the app's own line."""
    said = say(app, traceback(app, error))
    assert said.startswith(f"main.py, line 7: {error}. ")
    assert "on import" in said
    assert "on import" not in say(app, traceback(app, "KeyError: 'a'"))


def test_no_server(app: AppConfig) -> None:
    """A program that just ends has started none; the entrypoint is shown."""
    own = dataclasses.replace(app, entrypoint="python main.py")
    ended = ENDED.replace("status 1", "status 0")
    for printed in ("", "hello\n"):
        text = say(own, printed, ended)
        assert "$PORT" in text
        assert text.endswith("python main.py")


@pytest.mark.parametrize(
    "printed",
    [
        "Failed to find attribute 'ap' in 'main'.\n",
        "gunicorn.errors.AppImportError: Failed to find attribute 'ap' in 'main'.\n",
    ],
)
def test_no_such_application(app: AppConfig, printed: str) -> None:
    """The file, the name and the entrypoint that asks for it."""
    own = dataclasses.replace(app, entrypoint="gunicorn main:ap")
    text = say(own, printed)
    assert text.startswith("main.py ")
    assert "'ap'" in text
    assert "gunicorn main:ap" in text


def test_no_such_application_in_a_package(app: AppConfig) -> None:
    """A module that is no file is named as it is."""
    printed = "Failed to find attribute 'app' in 'web.site'.\n"
    assert say(app, printed).startswith("web.site ")


@pytest.mark.parametrize(
    "statement", ['print "hi"', "try: pass\nexcept A, b: pass", "deferred.TaskHandler"]
)
def test_what_is_of_python_2(app: AppConfig, statement: str) -> None:
    """Python's own words for it are known, and the guide is named."""
    try:
        exec("from google.appengine.ext import deferred\n" + statement)
    except (SyntaxError, AttributeError) as error:
        printed = traceback(app, f"{type(error).__name__}: {error}")
    other = traceback(app, "SyntaxError: invalid syntax")
    assert "docs/python2-to-python3.md" in say(app, printed)
    assert "docs/python2-to-python3.md" not in say(app, other)


def test_no_gunicorn(app: AppConfig) -> None:
    """Without an entrypoint the app needs gunicorn, which the default one starts."""
    default = dataclasses.replace(app, entrypoint=None)
    text = say(default, "sh: 1: exec: gunicorn: not found\n", NOT_FOUND)
    assert f"add gunicorn to {app.folder / 'requirements.txt'}" in text
    assert f"{sys.executable} -m pip install -r " in text

    hints = Hints(install="The start script installs it.")
    text = say(default, "", NOT_FOUND, hints)
    assert f"add gunicorn to {app.folder / 'requirements.txt'}" in text
    assert text.endswith("The start script installs it.")


def test_no_program_of_the_entrypoint(app: AppConfig) -> None:
    """An entrypoint of the app's own may need a package of any name."""
    own = dataclasses.replace(app, entrypoint="uvicorn main:app")
    text = say(own, "", NOT_FOUND)
    assert "uvicorn main:app" in text
    assert str(app.folder / "requirements.txt") in text


@pytest.mark.parametrize(
    "printed",
    [
        "sh: 1: exec: guncorn: not found\n",
        "sh: line 0: exec: guncorn: not found\n",
        "bash: line 1: guncorn: command not found\n",
        "env: \u2018guncorn\u2019: No such file or directory\n",
        "env: guncorn: No such file or directory\n",
        "cat: notes.txt: No such file or directory\nsh: 2: guncorn: not found\n",
    ],
)
def test_the_program_that_is_missing(app: AppConfig, printed: str) -> None:
    """It is named, whichever program misses it."""
    own = dataclasses.replace(app, entrypoint="COLOUR=blue run.sh")
    assert " guncorn," in say(own, printed, NOT_FOUND)


def test_a_hint_for_a_module(app: AppConfig) -> None:
    """A module that the app does not find is looked up in the hints."""
    hints = Hints(modules={"common": "Copy the app with its links."})
    printed = traceback(app, "ModuleNotFoundError: No module named 'common'")
    assert say(app, printed, hints=hints).endswith("Copy the app with its links.")

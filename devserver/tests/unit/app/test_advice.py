"""What is said of an app that has ended before it was ready."""

import dataclasses
from pathlib import Path

import pytest
from gae_devserver.app import advice
from gae_devserver.config import app_yaml as config

from tests.devserver.processes import make_app

ENDED = "The app ended with exit status 1 before it was ready."


@pytest.fixture
def app(tmp_path: Path) -> config.AppConfig:
    """An app of one file."""
    return config.load_app_yaml(make_app(tmp_path / "app"))


def traceback(app: config.AppConfig, error: str, file: str = "main.py") -> str:
    """Return what Python and gunicorn print."""
    return (
        f'  File "{app.folder / file}", line 7, in <module>\n'
        "    start()\n"
        '  File "/python/lib/somewhere.py", line 70, in start\n'
        "    raise error\n"
        f"{error}\n"
        "[2026-11-26 04:00:00 +0000] [7] [INFO] Worker exiting (pid: 7)\n"
    )


def say(app: config.AppConfig, printed: str, summary: str = ENDED) -> str:
    """Return what is said of an app that has printed this."""
    return advice.what_to_do(f"{summary}\n\n{printed}", app, reloading=False)


@pytest.mark.parametrize(
    "error", ["RuntimeError: no luck", "a.b.ImproperlyConfigured: no luck.", "Stop"]
)
def test_the_error_and_the_apps_own_line(app: config.AppConfig, error: str) -> None:
    """The last line of the app's own that the traceback names, and not a library's."""
    assert say(app, traceback(app, error)) == (
        f"main.py, line 7: {error.rstrip('.')}. Mend that, and start the server again."
    )


def test_while_reloading(app: config.AppConfig) -> None:
    """The server goes on: nobody has to start it again."""
    reason = f"{ENDED}\n\n{traceback(app, 'ValueError: b')}"
    said = advice.what_to_do(reason, app, reloading=True)
    assert said == "main.py, line 7: ValueError: b. Mend that."


def test_the_last_error_counts(app: config.AppConfig) -> None:
    """The one before was handled, or led to it."""
    printed = traceback(app, "KeyError: 'a'") + traceback(app, "ValueError: b")
    assert "ValueError: b." in say(app, printed)


def test_an_error_elsewhere(app: config.AppConfig) -> None:
    """Without a line of the app's own, the error alone is said."""
    printed = traceback(app, "ValueError: b", file="/elsewhere/other.py")
    assert say(app, printed).startswith("ValueError: b. Mend")


def test_without_a_traceback(app: config.AppConfig) -> None:
    """Then what was printed is all there is."""
    assert say(app, "bye\n").startswith("What it printed is above.")


@pytest.mark.parametrize(
    "statement", ['print "hi"', "try: pass\nexcept A, b: pass", "deferred.TaskHandler"]
)
def test_what_is_of_python_2(app: config.AppConfig, statement: str) -> None:
    """Python's own words for it are known, and the guide is named."""
    try:
        exec("from google.appengine.ext import deferred\n" + statement)
    except (SyntaxError, AttributeError) as error:
        printed = traceback(app, f"{type(error).__name__}: {error}")
    assert "of Python 2: see docs/python2-to-python3.md" in say(app, printed)
    assert "of Python 2" not in say(app, traceback(app, "SyntaxError: invalid syntax"))


def test_no_gunicorn(app: config.AppConfig) -> None:
    """Who wrote no entrypoint hears what the default one needs."""
    missing = "The app ended with exit status 127 before it was ready."
    default = dataclasses.replace(app, entrypoint=None)
    text = say(default, "sh: 1: exec: gunicorn: not found\n", missing)
    assert f"name gunicorn in {app.folder / 'requirements.txt'}" in text
    own = dataclasses.replace(app, entrypoint="uvicorn main:app")
    assert "The entrypoint's program is not there" in say(own, "", missing)

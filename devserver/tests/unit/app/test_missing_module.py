"""What to do about a module that the app does not find."""

import sys
from pathlib import Path

import pytest

from gae_devserver.app import missing_module
from gae_devserver.app.hints import Hints

ENTRYPOINT = "gunicorn --bind :8080 -w 2 main:app"
HINTS = Hints(
    install="The start script installs it.",
    modules={"common": "Copy the links.", "parts": "Copy the links."},
)
GUIDE = "docs/python2-to-python3.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An app with main.py and a folder of modules."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "one.py").touch()
    (tmp_path / "main.py").touch()
    return tmp_path


def advice(
    folder: Path, printed: str, entrypoint: str = ENTRYPOINT, hints: Hints | None = None
) -> str | None:
    """Return what to do about an app that has printed this."""
    return missing_module.advice(printed, folder, entrypoint, hints or Hints())


def missing(name: str) -> str:
    """Return what Python prints about a module that it does not find."""
    return f"  import {name}\nModuleNotFoundError: No module named '{name}'\n"


@pytest.mark.parametrize("name", ["parts.two", "parts.two.three", "main.two"])
def test_a_submodule_of_the_app(folder: Path, name: str) -> None:
    """A module below a name in the app's folder is the app's own, despite a hint."""
    message = advice(folder, missing(name), hints=HINTS) or ""
    assert f" {name} in {folder}." in message
    assert "requirements.txt" not in message
    assert "Copy the links." not in message


@pytest.mark.parametrize(
    ("name", "entrypoint"),
    [
        ("start", "gunicorn start:app"),
        ("web", "gunicorn -w 2 'web.wsgi:make_app()'"),
        ("web.wsgi", "gunicorn web.wsgi:app"),
    ],
)
def test_a_module_of_the_entrypoint(folder: Path, name: str, entrypoint: str) -> None:
    """A module that the entrypoint names is the app's own, too."""
    message = advice(folder, missing(name), entrypoint) or ""
    assert f" {name} in {folder}," in message
    assert message.endswith(entrypoint)


@pytest.mark.parametrize("name", ["common", "common.text"])
def test_a_module_that_a_hint_names(folder: Path, name: str) -> None:
    """The hint replaces the general advice, also for modules below that name."""
    message = advice(folder, missing(name), hints=HINTS) or ""
    assert message.endswith(f" {name} in {folder}. Copy the links.")


@pytest.mark.parametrize("name", ["tasks", "yaml", "google.cloud.storage"])
def test_any_other_module(folder: Path, name: str) -> None:
    """For an unknown module, the advice names the app's folder and requirements.txt."""
    message = advice(folder, missing(name)) or ""
    assert f" {name} in {folder} " in message
    assert f"{sys.executable} -m pip install -r {folder}/requirements.txt" in message

    message = advice(folder, missing(name), hints=HINTS) or ""
    assert f"{folder}/requirements.txt" in message
    assert message.endswith(" The start script installs it.")
    assert sys.executable not in message


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("urllib2", " urllib.request."),
        ("email.MIMEText", " email.mime.text."),
        ("popen2", " subprocess."),
        ("imp", " importlib."),
        ("distutils", " no replacement"),
        ("webapp2_extras.json", ""),
        ("google.appengine.ext.webapp", ""),
    ],
)
def test_a_module_that_python_3_lacks(
    folder: Path, name: str, replacement: str
) -> None:
    """The message has the replacement and the migration guide, but no package."""
    message = advice(folder, missing(name)) or ""
    assert name in message
    assert replacement in message
    assert GUIDE in message
    assert "requirements.txt" not in message


@pytest.mark.parametrize(
    ("printed", "fact"),
    [
        # part of a namespace package
        (
            "ImportError: cannot import name 'webapp' from 'google.appengine.ext' (x)",
            " google.appengine.ext.webapp",
        ),
        (
            "ImportError: cannot import name 'ndb' from 'google.cloud' (unknown)",
            "add google-cloud-ndb to ",
        ),
        # only the last error ended the app
        (missing("first") + missing("second"), " second "),
        ("/usr/bin/python3.13: No module named nowhere\n", " nowhere "),
        (
            "python: Error … (ModuleNotFoundError: No module named 'nowhere')",
            " nowhere ",
        ),
    ],
)
def test_ways_to_say_it(folder: Path, printed: str, fact: str) -> None:
    """Python reports a missing module in several ways."""
    assert fact in (advice(folder, printed) or "")


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "SyntaxError: invalid syntax\n",
        "Tip: No module named 'speedups', going on\n",
        # the app has it
        missing("parts.one"),
        # the package exists, but of another version, or the name is misspelled
        "ImportError: cannot import name 'runtime' from 'google.protobuf' (x.py)",
        "ImportError: cannot import name 'Clint' from 'google.cloud.ndb' (x.py)",
        "ImportError: cannot import name 'Int' from 'google.appengine.ext.ndb' (x.py)",
    ],
)
def test_something_else(folder: Path, printed: str) -> None:
    """Another error ended the app, so there is no advice about a module."""
    assert advice(folder, printed) is None

"""What is said of a module that the app does not find."""

import importlib.util
import sys
from pathlib import Path

import pytest

from gae_devserver.app import missing_module
from gae_devserver.app.hints import Hints

ENTRYPOINT = "gunicorn --bind :8080 -w 2 main:app"
NO_HINTS = Hints()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An app with main.py and a folder of modules."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "one.py").touch()
    (tmp_path / "main.py").touch()
    return tmp_path


def say(
    folder: Path, name: str, entrypoint: str = ENTRYPOINT, hints: Hints = NO_HINTS
) -> str:
    """Return what is said of a module of this name."""
    printed = f"  import {name}\nModuleNotFoundError: No module named '{name}'\n"
    return missing_module.advice(printed, folder, entrypoint, hints) or ""


@pytest.mark.parametrize("name", ["parts.two", "parts.two.three", "main.two"])
def test_a_submodule_of_the_app(folder: Path, name: str) -> None:
    """What begins with a name in the app's folder is the app's own."""
    message = say(folder, name)
    assert f" {name} in {folder}." in message
    assert "requirements.txt" not in message


@pytest.mark.parametrize(
    ("name", "entrypoint"),
    [
        ("start", "gunicorn start:app"),
        ("web", "gunicorn -w 2 'web.wsgi:make_app()'"),
        ("web.wsgi", "gunicorn web.wsgi:app"),
    ],
)
def test_a_module_of_the_entrypoint(folder: Path, name: str, entrypoint: str) -> None:
    """The entrypoint names what is the app's own, too, and is shown."""
    message = say(folder, name, entrypoint)
    assert f" {name} in {folder}," in message
    assert message.endswith(entrypoint)


@pytest.mark.parametrize("name", ["common", "common.text"])
def test_a_module_that_a_hint_names(folder: Path, name: str) -> None:
    """The hint replaces the general advice, for the modules below that name too."""
    hints = Hints(modules={"common": "Copy the app with its links."})
    message = say(folder, name, hints=hints)
    assert message.endswith(f" {name} in {folder}. Copy the app with its links.")
    assert "Copy the app" not in say(folder, name)


def test_the_app_comes_before_a_hint(folder: Path) -> None:
    """A hint is for a module that is missing as a whole, not for a part of it."""
    hints = Hints(modules={"parts": "Copy the app with its links."})
    assert "Copy the app" not in say(folder, "parts.two", hints=hints)


def test_a_hint_says_who_installs_packages(folder: Path) -> None:
    """Without one, the user installs them, in the environment that the app runs in."""
    hints = Hints(install="The start script installs it.")
    message = say(folder, "flask", hints=hints)
    assert message.endswith(" The start script installs it.")
    assert sys.executable not in message

    message = say(folder, "flask")
    assert f"{sys.executable} -m pip install -r " in message


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("urllib2", " urllib.request."),
        ("email.MIMEText", " email.mime.text."),
        ("sets", "Python {}.{} has no".format(*sys.version_info)),
    ],
)
def test_a_module_of_python_2(folder: Path, name: str, instead: str) -> None:
    """The message has what there is today, warns of packages, and names the guide."""
    message = say(folder, name)
    assert message.startswith(f"{name} ")
    assert instead in message
    assert "package" in message
    assert "docs/python2-to-python3.md" in message


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("imp", " importlib."),
        ("distutils", "Python {}.{} has no".format(*sys.version_info)),
    ],
)
def test_a_module_of_an_earlier_python_3(folder: Path, name: str, instead: str) -> None:
    """The same, without the guide, which is about Python 2."""
    message = say(folder, name)
    assert message.startswith(f"{name} ")
    assert instead in message
    assert "package" in message
    assert "docs/" not in message


@pytest.mark.parametrize(
    "table", [missing_module.OF_PYTHON_2, missing_module.OF_EARLIER_PYTHON_3]
)
def test_what_there_is_instead(table: dict[str, str]) -> None:
    """Each module that a table offers is one of Python's own."""
    for name in filter(None, table.values()):
        assert importlib.util.find_spec(name), name


@pytest.mark.parametrize(
    "name", ["webapp2", "webapp2_extras.json", "google.appengine.ext.webapp"]
)
def test_a_module_of_the_sdk_of_python_2(folder: Path, name: str) -> None:
    """The guide is named, and no package."""
    message = say(folder, name)
    assert name in message
    assert "docs/python2-to-python3.md" in message


def test_a_part_of_the_sdk_of_python_2(folder: Path) -> None:
    """What is imported from a package that is there is treated as a module."""
    printed = "ImportError: cannot import name 'webapp' from 'google.appengine.ext' (x)"
    message = missing_module.advice(printed, folder, ENTRYPOINT, NO_HINTS)
    assert message is not None
    assert " google.appengine.ext.webapp" in message
    assert "docs/python2-to-python3.md" in message


@pytest.mark.parametrize(
    "printed",
    [
        "ImportError: cannot import name 'ndb' from 'google.cloud' (unknown location)",
        "ModuleNotFoundError: No module named 'google.cloud.ndb'",
    ],
)
def test_no_cloud_ndb(folder: Path, printed: str) -> None:
    """Its package is named."""
    message = missing_module.advice(printed, folder, ENTRYPOINT, NO_HINTS)
    assert message is not None
    assert f"add google-cloud-ndb to {folder / 'requirements.txt'}" in message


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("runtime_version", "google.protobuf"),  # of another version
        ("Clint", "google.cloud.ndb"),  # misspelt
        ("IntProperty", "google.appengine.ext.ndb"),
    ],
)
def test_a_name_that_a_package_lacks(folder: Path, name: str, package: str) -> None:
    """It is no module that is missing: the error itself says more."""
    printed = f"ImportError: cannot import name '{name}' from '{package}' (x.py)"
    assert missing_module.advice(printed, folder, ENTRYPOINT, NO_HINTS) is None


@pytest.mark.parametrize("name", ["tasks", "yaml", "google.cloud.storage"])
def test_any_other_module(folder: Path, name: str) -> None:
    """It may be the app's or of a package: both ways are told, and where to name it."""
    message = say(folder, name)
    assert f" {name} in {folder} " in message
    assert str(folder / "requirements.txt") in message


def test_the_last_one_counts(folder: Path) -> None:
    """One that the app has caught is not what it has died of."""
    printed = "ModuleNotFoundError: No module named 'first'\n"
    printed += "ModuleNotFoundError: No module named 'second'\n"
    message = missing_module.advice(printed, folder, ENTRYPOINT, NO_HINTS)
    assert message is not None
    assert "second" in message
    assert "first" not in message


@pytest.mark.parametrize(
    "printed",
    [
        "/usr/bin/python3.13: No module named nowhere",
        "python: Error while ... (ModuleNotFoundError: No module named 'nowhere')",
        "ModuleNotFoundError: No module named 'nowhere'; 'nowhere' is not a package",
    ],
)
def test_other_ways_to_say_it(folder: Path, printed: str) -> None:
    """What python -m prints is understood as a traceback is."""
    message = missing_module.advice(f"{printed}\n", folder, ENTRYPOINT, NO_HINTS)
    assert message is not None
    assert " nowhere " in message


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "SyntaxError: invalid syntax\n",
        "Tip: No module named 'speedups', going on\n",
        "ModuleNotFoundError: No module named 'parts.one'\n",
    ],
)
def test_something_else(folder: Path, printed: str) -> None:
    """Where no module is missing, or the app has it, nothing is said."""
    assert missing_module.advice(printed, folder, ENTRYPOINT, NO_HINTS) is None

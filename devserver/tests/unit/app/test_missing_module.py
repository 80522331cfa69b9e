"""What to do about a module that the app does not find."""

from pathlib import Path

import pytest

from gae_devserver.app.advice import missing_module
from gae_devserver.app.advice.installation import Installation
from gae_devserver.app.gunicorn_options import DEFAULT_ENTRYPOINT
from gae_devserver.app.python import Python

ENTRYPOINT = "gunicorn --bind :8080 -w 2 main:app"
HINTS = {"common": "Copy the links.", "parts": "Copy the links."}
SDK = "appengine-python-standard"
GUIDE = "docs/python2-to-python3.md"
PYTHON = Python(Path("/env/bin/python"), (3, 10))
PIP = "/env/bin/python -m pip install -r {}/requirements.txt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An app with main.py and a folder of modules."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "one.py").touch()
    (tmp_path / "main.py").touch()
    return tmp_path


def advice(
    folder: Path,
    printed: str,
    entrypoint: str = ENTRYPOINT,
    *,
    server_installs: bool = False,
) -> str:
    """Return what to do about an app that has printed this; "" for None."""
    installation = Installation(folder, PYTHON, server_installs)
    return missing_module.advice(printed, entrypoint, installation, HINTS) or ""


def missing(name: str, statement: str | None = None) -> str:
    """Return what Python prints about a module that it does not find."""
    statement = statement or f"import {name}"
    return f"    {statement}\nModuleNotFoundError: No module named '{name}'\n"


@pytest.mark.parametrize("name", ["parts.two", "parts.two.three", "main.two"])
def test_a_submodule_of_the_app(folder: Path, name: str) -> None:
    """A module below a name in the app's folder is the app's own, despite a hint."""
    message = advice(folder, missing(name))
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
    message = advice(folder, missing(name), entrypoint)
    assert f" {name} in {folder}," in message
    assert message.endswith(entrypoint)


def test_an_app_without_main_and_entrypoint(tmp_path: Path) -> None:
    """The message says what App Engine starts then, and how to name another module."""
    message = advice(tmp_path, missing("main"), DEFAULT_ENTRYPOINT)
    assert "without an entrypoint App Engine starts main:app" in message
    assert "gunicorn -b :$PORT MODULE:app" in message


@pytest.mark.parametrize("name", ["common", "common.text"])
def test_a_module_that_a_hint_names(folder: Path, name: str) -> None:
    """The hint replaces the general advice, also for modules below that name."""
    message = advice(folder, missing(name))
    assert message.endswith(f" {name} in {folder}. Copy the links.")


@pytest.mark.parametrize("server_installs", [False, True])
@pytest.mark.parametrize("name", ["tasks", "google.cloud.strange"])
def test_any_other_module(folder: Path, name: str, server_installs: bool) -> None:
    """For an unknown module, no package is named, because it may be a stranger's."""
    message = advice(folder, missing(name), server_installs=server_installs)
    assert f" {name} in {folder} " in message
    assert f"name may differ) to {folder}/requirements.txt" in message
    assert (PIP.format(folder) in message) is not server_installs


@pytest.mark.parametrize(
    ("printed", "package"),
    [
        (missing("yaml"), "PyYAML"),
        (missing("PIL"), "Pillow"),
        (missing("flask"), "flask"),
        (missing("google.cloud.tasks_v2"), "google-cloud-tasks"),
        (missing("google.cloud.ndb"), "google-cloud-ndb"),
        # without any package below google.cloud, and below google
        (missing("google.cloud", "from google.cloud import storage"), None),
        (missing("google", "from google.cloud import storage\n    ^^^^"), None),
        ("ImportError: cannot import name 'storage' from 'google.cloud' (x)", None),
        # without the SDK
        (missing("google", "from google.appengine.ext import ndb"), SDK),
        (missing("google.appengine", "import google.appengine.api"), SDK),
        ("ImportError: cannot import name 'appengine' from 'google' (x)", SDK),
        # from gunicorn, before it starts
        ("RuntimeError: gevent worker requires gevent 24 or higher\n]\n", "gevent"),
    ],
)
def test_a_package(folder: Path, printed: str, package: str | None) -> None:
    """The line for requirements.txt is named, and who installs it."""
    line = f"{folder}/requirements.txt: {package or 'google-cloud-storage'}"
    message = advice(folder, printed)
    assert f"{line} and run {PIP.format(folder)}" in message
    assert "App Engine" in message

    message = advice(folder, printed, server_installs=True)
    assert f"{line}. The server installs it" in message
    assert "pip" not in message


def test_a_package_that_is_listed(folder: Path) -> None:
    """Only the installation is missing."""
    (folder / "requirements.txt").write_text("# web\nFlask>=3 # the app\npyyaml==6\n")
    message = advice(folder, missing("yaml"))
    assert "lists PyYAML" in message
    assert PIP.format(folder) in message


def test_a_package_of_pyproject_toml(folder: Path) -> None:
    """The file is named that has the list; requirements.txt would replace it."""
    (folder / "pyproject.toml").write_text('[project]\ndependencies = ["flask"]\n')
    message = advice(folder, missing("yaml"))
    assert "requirements.txt" not in message
    assert f"PyYAML to the dependencies in {folder / 'pyproject.toml'}" in message
    assert f"pip install {folder}." in message


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("urllib2", " urllib.request."),
        ("email.MIMEText", " email.mime.text."),
        ("popen2", " subprocess."),
        ("imp", " importlib."),
        ("distutils", "Python 3.10 has no"),
        ("webapp2_extras.json", ""),
        ("google.appengine.ext.webapp", ""),
    ],
)
def test_a_module_that_python_3_lacks(
    folder: Path, name: str, replacement: str
) -> None:
    """The message has the replacement and the migration guide, but no package."""
    message = advice(folder, missing(name))
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
            "/requirements.txt: google-cloud-ndb",
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
    assert fact in advice(folder, printed)


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
    assert advice(folder, printed) == ""

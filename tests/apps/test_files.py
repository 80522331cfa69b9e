"""The files of the three apps: complete, and parallel to each other."""

import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.apps.plain_gunicorn import APPS, REPOSITORY, environment

FRAMEWORK = {"flask_app": {"flask"}, "django_app": {"django"}, "plain_wsgi_app": set()}
SHARED = sorted(path.stem for path in (REPOSITORY / "shared").glob("*.py"))


def read(name: str, file: str) -> str:
    """Return the text of an app's file."""
    return (REPOSITORY / name / file).read_text()


def test_shared_is_a_relative_link(name: str) -> None:
    """An app's folder is complete for a program that follows its link, in any clone."""
    link = (REPOSITORY / name / "shared").readlink()

    assert link == pathlib.Path("../shared")


def test_no_other_files(name: str) -> None:
    """An app is five things, a page to read in one sitting."""
    files = {path.name for path in (REPOSITORY / name).iterdir()}
    # hidden files are those of an editor or the system
    seen = {file for file in files if not file.startswith((".", "__"))}

    assert (REPOSITORY / name / ".gcloudignore").is_file()
    assert seen == {
        "app.yaml",
        "main.py",
        "requirements.txt",
        "shared",
    }


def test_requirements(name: str) -> None:
    """What the app uses is pinned exactly, and nothing else is in the list."""
    pins = re.findall(
        r"^([\w-]+)==(?:\d+\.)+\d+(?:  # .*)?$",
        read(name, "requirements.txt"),
        re.MULTILINE,
    )
    own = {"appengine-python-standard", "google-cloud-ndb", "gunicorn"}

    assert set(pins) == own | FRAMEWORK[name]
    assert len(read(name, "requirements.txt").splitlines()) == len(pins)


def app_yaml(name: str) -> dict[str, Any]:
    """Return an app's app.yaml, parsed."""
    return dict(YAML(typ="safe", pure=True).load(read(name, "app.yaml")))


def test_app_yaml(name: str) -> None:
    """What App Engine needs to know of a sample that uses its bundled services."""
    settings = app_yaml(name)

    assert settings["runtime"] == "python313"
    assert settings["app_engine_apis"] is True
    # App Engine puts exec in front itself, and "exec exec" fails
    assert settings["entrypoint"].split()[0] == "gunicorn"
    assert settings["env_variables"] == {
        "DEFERRED_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL": "True",
    }


@pytest.mark.parametrize("file", ["app.yaml", ".gcloudignore"])
def test_same_in_all(file: str) -> None:
    """What need not differ does not."""
    assert len({read(name, file) for name in APPS}) == 1


@pytest.mark.parametrize("module", SHARED)
def test_shared_imports_no_framework(module: str) -> None:
    """What is shared works with any framework, and with none."""
    program = f"import sys, shared.{module}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=environment("localdev"),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    imported = set(result.stdout.split())
    assert f"shared.{module}" in imported
    assert not imported & {"flask", "django", "gae_devserver"}

"""The files of the three apps: complete, and parallel to each other."""

import pathlib
import re

import pytest
from ruamel.yaml import YAML

from tests.apps.plain_gunicorn import environment, run_python
from tests.servers.staging import APPS, REPOSITORY

FRAMEWORK = {"flask": {"flask"}, "django": {"django"}, "plain_wsgi": set()}
SHARED = sorted(path.stem for path in (REPOSITORY / "shared").glob("*.py"))


def read(name: str, file: str) -> str:
    """Return the text of an app's file."""
    return (REPOSITORY / APPS[name] / file).read_text()


def test_shared_is_a_relative_link(name: str) -> None:
    """In any clone, a program that follows the link finds all of an app."""
    link = (REPOSITORY / APPS[name] / "shared").readlink()

    assert link == pathlib.Path("../shared")


def test_no_other_files(name: str) -> None:
    """An app consists of five files, counting the link."""
    files = {path.name for path in (REPOSITORY / APPS[name]).iterdir()}
    # an editor or the system may add hidden files
    seen = {file for file in files if not file.startswith((".", "__"))}

    assert ".gcloudignore" in files
    assert seen == {"app.yaml", "main.py", "requirements.txt", "shared"}


def test_requirements(name: str) -> None:
    """The list has exact pins of what the app uses, and nothing else."""
    lines = read(name, "requirements.txt").splitlines()
    pins = [re.fullmatch(r"([\w-]+)==(?:\d+\.)+\d+(?:  # .*)?", line) for line in lines]
    own = {"appengine-python-standard", "google-cloud-ndb", "gunicorn"}

    assert {pin and pin[1] for pin in pins} == own | FRAMEWORK[name]


def test_app_yaml(name: str) -> None:
    """app.yaml tells App Engine what an app with bundled services needs."""
    settings = YAML(typ="safe", pure=True).load(read(name, "app.yaml"))

    assert settings == {
        "runtime": "python313",
        "app_engine_apis": True,
        # App Engine adds exec in front, and "exec exec" fails
        "entrypoint": "gunicorn --config shared/gunicorn_conf.py main:app",
        "env_variables": {"DEFERRED_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL": "True"},
    }


def test_gcloudignore() -> None:
    """The same files are not uploaded, whatever the framework is."""
    assert len({read(name, ".gcloudignore") for name in APPS}) == 1


@pytest.mark.parametrize("module", SHARED)
def test_shared_imports_no_framework(module: str) -> None:
    """What is shared works with any framework, and with none."""
    program = f"import sys, shared.{module}; print(*sys.modules)"
    printed = run_python(REPOSITORY, environment("localdev"), "-c", program)

    imported = set(printed.split())
    assert f"shared.{module}" in imported
    assert not imported & {"flask", "django", "gae_devserver"}

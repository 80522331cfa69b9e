"""The files of the three apps: complete, and parallel to each other."""

import pathlib
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.apps.plain_gunicorn import APPS, REPOSITORY

FRAMEWORK = {"flask_app": {"flask"}, "django_app": {"django"}, "plain_wsgi_app": set()}


def read(name: str, file: str) -> str:
    """Return the text of an app's file."""
    return (REPOSITORY / name / file).read_text()


def test_shared_is_a_relative_link(name: str) -> None:
    """An app's folder is complete for whoever follows its link, in any clone."""
    link = (REPOSITORY / name / "shared").readlink()

    assert link == pathlib.Path("../shared")


def test_no_other_files(name: str) -> None:
    """An app is five things, a page to read in one sitting."""
    files = {path.name for path in (REPOSITORY / name).iterdir()}
    # what an editor or a system leaves is nobody's mistake
    seen = {file for file in files if not file.startswith((".", "__"))}

    assert (REPOSITORY / name / ".gcloudignore").is_file()
    assert seen == {
        "app.yaml",
        "main.py",
        "requirements.txt",
        "shared",
    }


def test_requirements_are_what_is_imported(name: str) -> None:
    """What the app uses is pinned exactly, and nothing else is in the list."""
    imported = set(re.findall(r"^from (\w+)", read(name, "main.py"), re.MULTILINE))
    frameworks = imported & {"flask", "django"}
    pins = re.findall(
        r"^([\w-]+)==(?:\d+\.)+\d+(?:  # .*)?$",
        read(name, "requirements.txt"),
        re.MULTILINE,
    )
    own = {"appengine-python-standard", "google-cloud-ndb", "gunicorn"}

    assert frameworks == FRAMEWORK[name]
    assert set(pins) == {*own, *frameworks}
    assert len(read(name, "requirements.txt").splitlines()) == len(pins)


def test_cloud_ndb_is_marked(name: str) -> None:
    """What can be deleted with shared/cloud_ndb.py says so, once in each file."""
    for file in ("requirements.txt", "shared/counter.py"):
        assert len(re.findall("cloud_ndb", read(name, file))) == 1


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
        "COUNTER_NDB": "bundled",
    }


@pytest.mark.parametrize("file", ["app.yaml", ".gcloudignore"])
def test_same_in_all(file: str) -> None:
    """What need not differ does not."""
    assert len({read(name, file) for name in APPS}) == 1


def regions(text: str) -> list[str]:
    """Return the names of the regions; each ends before the next one starts."""
    tags = re.findall(r"^# \[(START|END) (\w+)\]$", text, re.MULTILINE)
    names = [name for _, name in tags[::2]]
    assert tags == [(tag, name) for name in names for tag in ("START", "END")]
    return names


def test_regions() -> None:
    """The same regions stand in the same order in all three apps."""
    first, *others = [regions(read(name, "main.py")) for name in APPS]

    assert first[-1] == "deferred_wrap_wsgi_app"
    assert [first, first] == others


def test_shared_regions() -> None:
    """The regions of the shared modules are closed."""
    for module in (REPOSITORY / "shared").glob("*.py"):
        regions(module.read_text())


@pytest.mark.parametrize(
    "pattern",
    [
        r"^def ((?:view|increment|custom)\w+)",
        r"^ +# .*\n.*(?:defer\(|get_by_id).*",
        r"^# use_deferred.*",
        r"^from (?:google|shared).*",
    ],
    ids=["views", "calls and their comments", "wrapping", "imports"],
)
def test_parallel(pattern: str) -> None:
    """What does the same in the three apps reads the same, in the same order."""
    first, *others = [
        re.findall(pattern, read(name, "main.py"), re.MULTILINE) for name in APPS
    ]

    assert first
    assert [first, first] == others


def test_shared_imports_no_framework() -> None:
    """What is shared can be used with any framework, and with none."""
    for module in (REPOSITORY / "shared").glob("*.py"):
        assert not re.search(
            r"\b(flask|django|(gae_)?devserver|main)\b", module.read_text()
        )

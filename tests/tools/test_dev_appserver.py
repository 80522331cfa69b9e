"""dev_appserver.py is found and started, or one line says what is wrong."""

import functools
import pathlib
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.servers.staging import REPOSITORY
from tools import cloud_sdk, dev_appserver

EMULATOR = "platform/cloud-datastore-emulator/cloud_datastore_emulator"


find_firestore = functools.partial(cloud_sdk.find_emulator, "firestore")


@pytest.mark.parametrize(
    ("find", "installed", "missing"),
    [
        (cloud_sdk.find_dev_appserver, {}, "install app-engine-python"),
        (
            cloud_sdk.find_dev_appserver,
            {"bin/dev_appserver.py": ""},
            "install app-engine-python",
        ),
        (cloud_sdk.find_emulator, {}, "Cloud CLI"),
        (cloud_sdk.find_emulator, {"bin/gcloud": ""}, "install cloud-datastore"),
        (cloud_sdk.find_emulator, {"bin/gcloud": "", EMULATOR: ""}, "needs Java"),
        (find_firestore, {"bin/gcloud": ""}, "install cloud-firestore-emulator"),
        # macOS has a command of that name that only says how to install Java
        (
            cloud_sdk.find_emulator,
            {"bin/gcloud": "", EMULATOR: "", "bin/java": "exit 1"},
            "needs Java",
        ),
    ],
)
def test_absence_is_explained(
    find: Callable[[], pathlib.Path],
    installed: dict[str, str],
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> None:
    """One line says which part of the Cloud SDK, or that Java, must be installed."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA", raising=False)
    for name, text in installed.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    with pytest.raises(cloud_sdk.NotInstalledError, match=missing) as error:
        find()

    assert "\n" not in str(error.value)


def serve(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Serve an app until that fails."""
    return subprocess.run(
        [sys.executable, "-m", "tools.dev_appserver", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_port_in_use() -> None:
    """One line reports it, before dev_appserver.py starts, which would fail late."""
    cloud_sdk.need_dev_appserver(pytest.skip)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        served = serve("flask_app", "--port", str(port))

    assert served.returncode == 1
    (line,) = served.stderr.splitlines()
    assert line.startswith(f"Port {port} ")
    assert "--port 0" in line
    assert served.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["flask_app", "--port=99999"], ["--port: '99999' ", "--port 8080"]),
        (["flask_app", "--port=http"], ["--port: 'http' ", "--port 8080"]),
        (["flask_app", "--storage=folder"], ["--port", " --storage."]),
        (["tests", "--port=0"], ["app.yaml", " tests"]),
    ],
)
def test_mistake_in_the_arguments(arguments: list[str], facts: list[str]) -> None:
    """A wrong port, another server's option or a folder without an app is named."""
    cloud_sdk.need_dev_appserver(pytest.skip)

    served = serve(*arguments)

    assert served.returncode == 2
    (line,) = served.stderr.splitlines()
    assert [fact for fact in facts if fact not in line] == []


def test_python_that_is_too_new(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """If there is no other Python, a line says what to set."""
    monkeypatch.delenv("CLOUDSDK_PYTHON", raising=False)
    script = tmp_path / "google_appengine" / "dev_appserver.py"

    with pytest.raises(cloud_sdk.NotInstalledError, match="CLOUDSDK_PYTHON"):
        cloud_sdk.python_for(script, (3, 13))


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the SDK needs an older Python")
def test_python_with_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """If the SDK has no Python of its own, the packages of another one are ignored."""
    cloud_sdk.need_dev_appserver(pytest.skip)
    monkeypatch.setenv("CLOUDSDK_PYTHON", sys.executable)
    python = cloud_sdk.python_for(tmp_path / "google_appengine" / "dev_appserver.py")

    started = subprocess.run(
        [*python, cloud_sdk.find_dev_appserver(), "--help"],
        env=dev_appserver.environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert python[0] == sys.executable
    assert started.returncode == 0, started.stderr
    assert "--runtime_python_path" in started.stdout


def test_apps_that_are_served_keep_their_packages(tmp_path: pathlib.Path) -> None:
    """Two Pythons with other packages that serve at once have a folder each."""
    folders = set()
    for installed in ("a", "b"):
        # not nested: in one folder, the second would wait for the first one's lock
        with dev_appserver.kept_venv(installed, tmp_path) as folder:
            folders.add(folder)

    assert len(folders) == 2

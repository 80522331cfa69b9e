"""dev_appserver.py is found, or its absence is explained."""

import os
import pathlib
import socket
import subprocess
import sys
import sysconfig
from typing import Any

import pytest

from tests.servers.staging import REPOSITORY
from tools import cloud_sdk, dev_appserver


def test_absence_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Without the Cloud SDK, one line says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(cloud_sdk.NotInstalledError) as error:
        cloud_sdk.find_dev_appserver()

    assert "app-engine-python" in str(error.value)
    assert "\n" not in str(error.value)


def test_component_that_is_missing_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """A Cloud SDK without its App Engine component is no better than none."""
    wrapper = tmp_path / "bin" / "dev_appserver.py"
    wrapper.parent.mkdir()
    wrapper.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(wrapper.parent))

    with pytest.raises(cloud_sdk.NotInstalledError, match="gcloud components install"):
        cloud_sdk.find_dev_appserver()


def test_serving_without_it_fails_in_one_line(tmp_path: pathlib.Path) -> None:
    """Serving an app without the Cloud SDK prints that line and exits with 1."""
    served = subprocess.run(
        [sys.executable, "-m", "tools.dev_appserver", str(tmp_path)],
        env={"PATH": str(tmp_path)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert served.returncode == 1
    assert served.stderr == cloud_sdk.INSTALL_DEV_APPSERVER + "\n"


def start(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Serve an app with the Cloud SDK, if there is one, until it fails."""
    try:
        cloud_sdk.find_dev_appserver()
    except cloud_sdk.NotInstalledError as error:
        pytest.skip(str(error))
    return subprocess.run(
        [sys.executable, "-m", "tools.dev_appserver", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_port_in_use(family: socket.AddressFamily) -> None:
    """One line says so before dev_appserver.py, which fails late, is started."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    try:
        other = socket.create_server((host, 0), family=family)
    except OSError as error:
        pytest.skip(f"there is no {host}: {error}")
    with other:
        port = other.getsockname()[1]

        served = start("flask_app", "--port", str(port))

    assert served.returncode == 1
    (line,) = served.stderr.splitlines()
    assert line.startswith(f"Port {port} ")
    assert "--port 0" in line
    assert served.stdout == ""


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_wrong_port(port: str) -> None:
    """A port that there cannot be is a mistake in the command line."""
    served = start("flask_app", f"--port={port}")

    assert served.returncode == 2
    (line,) = served.stderr.splitlines()
    assert f"--port: '{port}' " in line
    assert "--port 8080" in line


def test_option_of_the_embedded_server() -> None:
    """It is named, and so is the one that there is."""
    served = start("flask_app", "--storage=folder")

    assert served.returncode == 2
    (line,) = served.stderr.splitlines()
    assert "--port" in line
    assert line.endswith(" --storage.")


def test_folder_without_app_yaml(tmp_path: pathlib.Path) -> None:
    """What the embedded server says of a folder is said here too."""
    served = start(str(tmp_path), "--port", "0")

    assert served.returncode == 2
    (line,) = served.stderr.splitlines()
    assert "app.yaml" in line
    assert str(tmp_path) in line


def test_python_that_is_too_new(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Where there is no other one, a line says what to set."""
    monkeypatch.delenv("CLOUDSDK_PYTHON", raising=False)
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    elsewhere = tmp_path / "google_appengine" / "dev_appserver.py"

    with pytest.raises(cloud_sdk.NotInstalledError, match="CLOUDSDK_PYTHON"):
        cloud_sdk.python_for(elsewhere)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the SDK needs an older Python")
def test_python_with_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Where the SDK has no Python of its own, another one's packages do no harm."""
    try:
        script = cloud_sdk.find_dev_appserver()
    except cloud_sdk.NotInstalledError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("CLOUDSDK_PYTHON", sys.executable)
    elsewhere = tmp_path / "google_appengine" / "dev_appserver.py"
    python = cloud_sdk.python_for(elsewhere)

    started = subprocess.run(
        [*python, script, "--help"],
        env=dev_appserver.environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert python[0] == sys.executable
    assert started.returncode == 0, started.stderr
    assert "--runtime_python_path" in started.stdout


def test_ports_are_free() -> None:
    """Each start gets a port of its own."""
    assert dev_appserver.free_port() != dev_appserver.free_port()


def test_apps_that_are_served_keep_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Two environments that serve at once have a folder each; tests share one."""
    monkeypatch.setattr(dev_appserver, "CACHE", tmp_path)
    with (
        dev_appserver.kept_venv(apart=True) as own,
        dev_appserver.kept_venv() as common,
    ):
        pass
    get_path = sysconfig.get_path

    def elsewhere(name: str, *scheme: Any) -> str:
        return get_path(name, *scheme) if scheme else str(tmp_path / name)

    monkeypatch.setattr(sysconfig, "get_path", elsewhere)
    with (
        dev_appserver.kept_venv(apart=True) as other,
        dev_appserver.kept_venv() as again,
    ):
        pass

    assert common == again
    assert len({own, common, other}) == 3

"""dev_appserver.py is found, or its absence is explained."""

import pathlib
import subprocess
import sys
import sysconfig
from typing import Any

import pytest

from tests.servers import dev_appserver_command as google


def test_absence_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Without the Cloud SDK, one line says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(google.NotInstalledError) as error:
        google.find()

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

    with pytest.raises(google.NotInstalledError, match="gcloud components install"):
        google.find()


def test_serving_without_it_fails_in_one_line(tmp_path: pathlib.Path) -> None:
    """Serving an app without the Cloud SDK prints that line and exits with 1."""
    served = subprocess.run(
        [sys.executable, "-m", "tests.servers.dev_appserver_command", str(tmp_path)],
        env={"PATH": str(tmp_path)},
        cwd=pathlib.Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert served.returncode == 1
    assert served.stderr == google.INSTALL + "\n"


def test_python_with_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Where the SDK has no Python of its own, another one's packages do no harm."""
    try:
        script = google.find()
    except google.NotInstalledError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("CLOUDSDK_PYTHON", sys.executable)
    elsewhere = tmp_path / "google_appengine" / "dev_appserver.py"
    python = google.find_python(elsewhere)

    started = subprocess.run(
        [*python, script, "--help"], capture_output=True, text=True, check=False
    )

    assert python[0] == sys.executable
    assert started.returncode == 0, started.stderr
    assert "--runtime_python_path" in started.stdout


def test_ports_are_free() -> None:
    """Each start gets a port of its own."""
    assert google.free_port() != google.free_port()


def test_apps_that_are_served_keep_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Two environments that serve at once have a folder each; tests share one."""
    monkeypatch.setattr(google, "CACHE", tmp_path)
    with google.kept_venv(apart=True) as own, google.kept_venv() as common:
        pass
    get_path = sysconfig.get_path

    def elsewhere(name: str, *scheme: Any) -> str:
        return get_path(name, *scheme) if scheme else str(tmp_path / name)

    monkeypatch.setattr(sysconfig, "get_path", elsewhere)
    with google.kept_venv(apart=True) as other, google.kept_venv() as again:
        pass

    assert common == again
    assert len({own, common, other}) == 3

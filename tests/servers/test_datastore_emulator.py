"""Google's Datastore emulator: found or not, and stopped with all its processes."""

import os
import pathlib
import subprocess
import sys

import pytest
from google.cloud import ndb

from tests.servers.datastore_emulator import DatastoreEmulator
from tests.servers.staging import REPOSITORY
from tools import cloud_sdk
from tools.cloud_sdk import NotInstalledError


class Thing(ndb.Model):  # type: ignore[misc]
    """Something to store."""


def make_executable(path: pathlib.Path, text: str = "") -> None:
    """Make a shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def sdk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty folder for a Cloud SDK, whose commands are the only ones to be found."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA", raising=False)
    return tmp_path


def test_without_gcloud(sdk: pathlib.Path) -> None:
    """Where there is no Cloud SDK, the error says what to install."""
    with pytest.raises(NotInstalledError, match="Cloud CLI"):
        cloud_sdk.find_emulator()


def test_without_the_component(sdk: pathlib.Path) -> None:
    """A Cloud SDK without the emulator is not enough."""
    make_executable(sdk / "bin" / "gcloud")

    with pytest.raises(NotInstalledError, match="components install cloud-datastore"):
        cloud_sdk.find_emulator()


@pytest.mark.parametrize("java", [None, "exit 1"], ids=["no command", "a stub"])
def test_without_java(sdk: pathlib.Path, java: str | None) -> None:
    """The emulator needs Java, and not only macOS's command of that name."""
    component = sdk / "platform" / "cloud-datastore-emulator"
    make_executable(sdk / "bin" / "gcloud")
    make_executable(component / "cloud_datastore_emulator")
    if java is not None:
        make_executable(sdk / "bin" / "java", java)

    with pytest.raises(NotInstalledError, match="needs Java"):
        cloud_sdk.find_emulator()


def test_contract_is_skipped_with_the_reason() -> None:
    """Without Java the contract of Cloud NDB is skipped on dev_appserver.py only."""
    try:
        cloud_sdk.find_dev_appserver()
        cloud_sdk.find_emulator()
    except NotInstalledError as error:
        pytest.skip(str(error))
    test = "tests/contract/test_routes.py::test_head_never_defers"
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test),
            *("--server=dev_appserver", "--ndb=cloud"),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "JAVA": "no-java"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 skipped" in result.stdout
    assert "Google's Datastore emulator needs Java" in result.stdout


@pytest.mark.parametrize("by_gcloud", [False, True], ids=["script", "gcloud"])
def test_starts_forgets_and_stops(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, by_gcloud: bool
) -> None:
    """It serves Cloud NDB, forgets entities when told, and is gone at its end."""
    try:
        emulator = DatastoreEmulator(tmp_path, by_gcloud=by_gcloud)
    except NotInstalledError as error:
        pytest.skip(str(error))
    try:
        monkeypatch.setenv("DATASTORE_EMULATOR_HOST", emulator.host)
        client = ndb.Client(project="sample")
        with client.context(cache_policy=False):
            key = Thing(id="x").put()
            assert key.get() is not None
            emulator.reset()
            assert key.get() is None
        client.stub.close()
    finally:
        emulator.stop()

    # -ww: with no terminal, ps may cut lines off after 80 characters
    listed = subprocess.run(["ps", "-Awwo", "args"], capture_output=True, check=True)
    assert str(tmp_path).encode() not in listed.stdout

"""Google's Datastore emulator is found, serves Cloud NDB, and leaves no process."""

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


SCRIPT = "platform/cloud-datastore-emulator/cloud_datastore_emulator"


@pytest.mark.parametrize(
    ("installed", "missing"),
    [
        ({}, "Cloud CLI"),
        ({"bin/gcloud": ""}, "components install cloud-datastore"),
        ({"bin/gcloud": "", SCRIPT: ""}, "needs Java"),
        # macOS has a command of that name that only says how to install Java
        ({"bin/gcloud": "", SCRIPT: "", "bin/java": "exit 1"}, "needs Java"),
    ],
    ids=["nothing", "no component", "no Java", "no real Java"],
)
def test_not_installed(
    installed: dict[str, str],
    missing: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names what to install."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA", raising=False)
    for name, text in installed.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    with pytest.raises(NotInstalledError, match=missing):
        cloud_sdk.find_emulator()


def test_contract_is_skipped_with_the_reason() -> None:
    """On dev_appserver.py, the contract with Cloud NDB is skipped without Java."""
    try:
        cloud_sdk.find_dev_appserver()
        cloud_sdk.find_emulator()
    except NotInstalledError as error:
        pytest.skip(str(error))
    test = "tests/contract/test_routes.py::TestRoutes::test_head_never_defers"
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-pno:cacheprovider",
            "--server=dev_appserver",
            "--ndb=cloud",
            test,
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
    """It serves Cloud NDB, drops all entities on reset, and leaves no process."""
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

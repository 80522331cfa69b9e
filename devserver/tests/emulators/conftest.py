"""Fixtures: clients of the dev server's datastore and of Google's two emulators.

`nox -s emulators` starts the emulators. To use running ones, put their
addresses into GOOGLE_DATASTORE_EMULATOR_HOST and DATASTORE_FIRESTORE_HOST.
"""

import os
from collections.abc import Iterator

import pytest

from tests.helpers.datastore_v1 import RawClient
from tests.helpers.running_datastore import RunningDatastore


@pytest.fixture(scope="module")
def raw() -> Iterator[RawClient]:
    """A client of the dev server's datastore."""
    running = RunningDatastore()
    client = RawClient(running.host)
    yield client
    client.close()
    running.stop()


@pytest.fixture(scope="module")
def emulator() -> Iterator[RawClient]:
    """A client of Google's Datastore emulator."""
    yield from _client("GOOGLE_DATASTORE_EMULATOR_HOST")


@pytest.fixture(scope="module")
def firestore() -> Iterator[RawClient]:
    """A client of Google's Firestore emulator in Datastore mode."""
    yield from _client("DATASTORE_FIRESTORE_HOST")


@pytest.fixture(params=["emulator", "firestore"])
def google(request: pytest.FixtureRequest) -> RawClient:
    """A client of each of Google's emulators in turn."""
    client: RawClient = request.getfixturevalue(request.param)
    return client


def _client(variable: str) -> Iterator[RawClient]:
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set; nox -s emulators sets it")
    client = RawClient(os.environ[variable])
    yield client
    client.close()

"""Fixtures: a server with an empty datastore, and clients of it."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import ndb
from google.cloud.ndb import _retry

from gae_devserver.datastore_v1.limits import DEFAULT_LIMITS
from tests.helpers.datastore_v1 import RawClient
from tests.helpers.running_datastore import RunningDatastore


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[RunningDatastore]:
    """A server for the tests of a module; a test may pass it Limits."""
    running = RunningDatastore(limits=getattr(request, "param", DEFAULT_LIMITS))
    yield running
    running.stop()


@pytest.fixture
def empty(running: RunningDatastore) -> None:
    """Delete what earlier tests have stored."""
    running.clear()


@pytest.fixture
def raw(running: RunningDatastore, empty: None) -> Iterator[RawClient]:
    """A client for bare requests."""
    client = RawClient(running.host)
    yield client
    client.close()


@pytest.fixture
def client(
    running: RunningDatastore, empty: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ndb.Client]:
    """A Cloud NDB client; at the end of a test nothing is open or locked."""
    # Cloud NDB's own default is a second.
    monkeypatch.setattr(_retry, "_DEFAULT_INITIAL_DELAY", 0.001)
    client = running.client()
    yield client
    client.stub.close()
    assert running.is_idle()


@pytest.fixture
def context(client: ndb.Client) -> Iterator[Any]:
    """A context of Cloud NDB without cache."""
    with client.context(cache_policy=False) as context:
        yield context

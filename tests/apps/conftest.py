"""Fixtures: each app under plain gunicorn, and the SDK's services in this process."""

from collections.abc import Iterator

import pytest
from google.appengine.datastore import datastore_stub_util
from google.appengine.ext import testbed

from tests.apps.plain_gunicorn import PlainGunicorn, environment, running, stage
from tests.servers.staging import APPS


@pytest.fixture(scope="session", params=APPS)
def name(request: pytest.FixtureRequest) -> str:
    """The name of each app."""
    return str(request.param)


@pytest.fixture(scope="session", params=["standard", "localdev"])
def gae_env(request: pytest.FixtureRequest) -> str:
    """GAE_ENV: on App Engine, and on a dev server."""
    return str(request.param)


@pytest.fixture(scope="session")
def app(
    name: str, gae_env: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PlainGunicorn]:
    """An app under gunicorn, started once for all tests."""
    staged = stage(name, tmp_path_factory.mktemp(gae_env))
    with running(staged, environment(gae_env)) as server:
        yield server


@pytest.fixture
def services() -> Iterator[testbed.Testbed]:
    """The SDK's own stubs of the datastore, memcache and the task queue, empty."""
    services = testbed.Testbed()
    services.activate()
    # a probability of 1: each write can be read at once, as in Firestore's mode
    policy = datastore_stub_util.PseudoRandomHRConsistencyPolicy(probability=1)
    services.init_datastore_v3_stub(consistency_policy=policy)
    services.init_memcache_stub()
    services.init_taskqueue_stub()
    yield services
    services.deactivate()

"""Random inputs for hypothesis, fixtures of several folders, the end of a test run."""

import os
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
import pytest_asyncio
from google.appengine.api import apiproxy_stub_map

from gae_devserver.http.limits import Limits
from gae_devserver.testing import ending
from tests.helpers.app_folder import RECORDER
from tests.helpers.site import Site, running

# tests/fuzz makes 100 inputs for most tests, or with --hypothesis-profile many 2,000.
hypothesis.settings.register_profile(
    "usual",
    deadline=None,
    derandomize="CI" in os.environ,  # a fault found by chance must not stop a change
    print_blob=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("usual")
hypothesis.settings.register_profile("many", derandomize=False, max_examples=2000)
hypothesis.settings.register_profile("same", derandomize=True)


def pytest_configure(config: pytest.Config) -> None:
    """Stop everything that the run started when nox ends it."""
    ending.end_as_with_ctrl_c()
    if "NOX_CURRENT_SESSION" in os.environ:
        ending.end_with_parent()
    config.addinivalue_line(
        "markers", "reaches(**shares): how many inputs of a fuzz test must get how far"
    )


@pytest.fixture
def sdk_state() -> Iterator[None]:
    """Undo what `Services` sets for the whole process: the stubs and the app id."""
    environment, stubs = dict(os.environ), apiproxy_stub_map.apiproxy
    yield
    apiproxy_stub_map.apiproxy = stubs
    os.environ.clear()
    os.environ.update(environment)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Site]:
    """A site whose app records the bytes of every request."""
    folder = tmp_path_factory.mktemp("recorder")
    # its answer repeats the request
    limits = Limits(answer_head=2**16)
    start = running(folder, RECORDER, entrypoint="python main.py", limits=limits)
    async with start as site:
        yield site

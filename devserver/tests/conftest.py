"""Options of the tests, and the end of a test run."""

import os
import random
from collections.abc import Iterator

import pytest
from google.appengine.api import apiproxy_stub_map

from gae_devserver.testing import ending


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of tests/fuzz."""
    group = parser.getgroup("fuzz")
    group.addoption(
        "--fuzz-inputs",
        type=int,
        default=2000,
        help="how many inputs tests/fuzz makes in all (a long run: 50000)",
    )
    group.addoption(
        "--fuzz-seed",
        type=int,
        default=random.randrange(2**32),
        help="repeat the run of tests/fuzz whose report begins with this seed",
    )


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to repeat the run."""
    return f"fuzz seed: --fuzz-seed={config.getoption('--fuzz-seed')}"


def pytest_configure() -> None:
    """Stop everything that the run started when nox ends it."""
    ending.end_as_with_ctrl_c()
    if "NOX_CURRENT_SESSION" in os.environ:
        ending.end_with_parent()


@pytest.fixture
def sdk_state() -> Iterator[None]:
    """Undo what `Services` sets for the whole process: the stubs and the app id."""
    environment, stubs = dict(os.environ), apiproxy_stub_map.apiproxy
    yield
    apiproxy_stub_map.apiproxy = stubs
    os.environ.clear()
    os.environ.update(environment)
